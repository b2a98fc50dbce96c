"""Databases of participants: which one a step works on, and the barrier that guards it."""
