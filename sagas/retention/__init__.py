"""Deletion of what is over, and the archive of what was deleted."""
