"""Participants: harmless when called twice, out of order, or concurrently."""
