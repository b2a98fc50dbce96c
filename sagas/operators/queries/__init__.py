"""Queries for people and programs: filters, search, pages, groups and statistics."""
