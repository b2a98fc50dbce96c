"""Operators' side of the engine: what they may do, find and see. No page and no command."""
