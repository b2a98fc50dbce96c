"""Parts that every page of the console uses."""
