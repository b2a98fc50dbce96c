"""Formats of the project, by language."""
