"""Accounts of the project's own."""
