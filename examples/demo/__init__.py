"""Demo of the shop: servers on this machine, checkouts, and a report."""
