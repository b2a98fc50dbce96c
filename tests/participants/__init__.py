"""Prove that each participant is harmless when called twice, out of order, or beside itself."""
