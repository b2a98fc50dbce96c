"""Queries for operators and programs: filters, search, pages, groups and statistics."""
