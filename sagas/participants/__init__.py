"""Databases of participants: the one that a step works on, and the barrier that guards it."""
