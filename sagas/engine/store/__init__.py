"""Rows of one saga: read as a snapshot, and written as one unit of work."""
