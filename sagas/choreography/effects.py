"""Effects that a choreographed saga would leave behind if it were abandoned now."""

from collections.abc import Collection
from typing import Any

from ..core.states import Effect, StepState
from ..engine import effects_left
from ..engine.store.draft import SagaDraft
from ..engine.store.snapshot import SagaSnapshot
from .definition import ChoreographyDefinition
from .owed import has_effect


def list_effects(snapshot: SagaSnapshot) -> list[dict[str, Any]]:
    """Return the steps whose effect is yes, because it was reported and not undone, or maybe, because it is owed.

    Shape: that of ``engine.effects_left``.
    """
    found = [(step, _effect_of(StepState(step.state))) for step in snapshot.steps]
    return [effects_left.describe(snapshot, step, effect) for step, effect in found if effect is not None]


def add_late(draft: SagaDraft, definition: type[ChoreographyDefinition], seen: Collection[str]) -> None:
    """Add effects that were reported after the saga was abandoned to those left behind."""
    known = {effect["step"] for effect in draft.saga.effects_left or () if effect["effect"] == Effect.YES}
    for expected in definition.steps:
        if expected.name not in known and has_effect(expected.rule, seen):
            late = {**effects_left.describe(draft, draft.step(expected.name), Effect.YES), "late": True}
            others = [one for one in draft.saga.effects_left or () if one["step"] != expected.name]
            draft.saga.effects_left = [*others, late]
            draft.bump_revision()


def _effect_of(state: StepState) -> Effect | None:
    if state in (StepState.SUCCEEDED, StepState.COMPENSATING):
        return Effect.YES
    return Effect.MAYBE if state is StepState.WAITING else None
