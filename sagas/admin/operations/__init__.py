"""Pages of operations on one saga."""
