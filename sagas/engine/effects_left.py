"""Effects that a saga would leave behind if it were abandoned now."""

from typing import Any

from ..core.definition.context import step_key
from ..core.states import UNDOABLE_EFFECTS, Effect
from ..models import SagaStep
from .store.snapshot import SagaSnapshot


def list_effects(snapshot: SagaSnapshot) -> list[dict[str, Any]]:
    """Return the steps whose effect is yes or maybe, in order.

    Shape: ``[{"step", "effect", "state", "key", "result"}]``; an effect found after the end has ``"late": true``.
    """
    effects = snapshot.effects()
    return [
        describe(snapshot, step, effects[step.name])
        for step in snapshot.steps
        if effects[step.name] in UNDOABLE_EFFECTS
    ]


def describe(snapshot: SagaSnapshot, step: SagaStep, effect: Effect) -> dict[str, Any]:
    """Return the entry of one step."""
    return {
        "step": step.name,
        "effect": effect.value,
        "state": step.state,
        "key": step_key(snapshot.saga.pk, step.name),
        "result": step.result,
    }
