"""The engine's decisions as pure functions and values: no Django, no database."""
