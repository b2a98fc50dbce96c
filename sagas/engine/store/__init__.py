"""Rows of one saga: read as a snapshot, written as one unit of work."""
