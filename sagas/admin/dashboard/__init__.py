"""Front page of the console."""
