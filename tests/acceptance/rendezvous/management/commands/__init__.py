"""Hold one command."""
