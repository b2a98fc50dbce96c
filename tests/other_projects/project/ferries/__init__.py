"""App that sells crossings by a saga."""
