"""Make steps slow and clocks wrong, in processes whose environment says so."""
