"""List what a saga would leave behind in the world if it were given up now."""

from __future__ import annotations

from typing import Any

from .context import step_key
from .journal import Journal
from .states import UNDOABLE_EFFECTS


def list_effects(journal: Journal) -> list[dict[str, Any]]:
    """Return the steps whose effect is yes or maybe, in order.

    Shape: ``[{"step", "effect", "state", "key", "result"}]``.
    """
    effects = journal.effects()
    return [
        {
            "step": step.name,
            "effect": effects[step.name].value,
            "state": step.state,
            "key": step_key(journal.saga.pk, step.name),
            "result": step.result,
        }
        for step in journal.steps
        if effects[step.name] in UNDOABLE_EFFECTS
    ]
