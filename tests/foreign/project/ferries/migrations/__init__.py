"""Migrations of the ferries."""
