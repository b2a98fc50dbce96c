"""Numbers of the project in each language."""
