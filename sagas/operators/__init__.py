"""Operators' side of the engine: operations, queries and records. Contains no page and no command."""
