"""Decisions of the engine as pure functions and values: no Django, no database."""
