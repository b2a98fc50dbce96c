"""Book seats, by a saga."""
