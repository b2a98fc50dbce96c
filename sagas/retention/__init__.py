"""Deletion of closed sagas and expired records, and the archive of what was deleted."""
