"""Work out how a saga would stand after an action of a person, before anything is claimed.

The planner answers for states that are not stored yet: the action is applied to a copy of the view, and the engine's
own reaction (deadlines, abort requests, the end) follows. Nothing is changed; tests compare it with what then happens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import planner, rules
from .planner import SagaView, StepView
from .rules import Operation
from .snapshot import SagaSnapshot
from .states import (
    FORWARD_STATES,
    PASSED_STATES,
    AbortRequest,
    Effect,
    Hold,
    Kind,
    Outcome,
    SagaState,
    StepState,
)


@dataclass(frozen=True, kw_only=True)
class Prospect:
    """Hold a saga as it would stand after an action."""

    view: SagaView
    """Saga and steps."""
    effects: Mapping[str, Effect]
    """What each step has done to the world, by name."""
    notes: tuple[str, ...] = ()
    """What the person should know who acts."""


def foresee(snapshot: SagaSnapshot, operation: Operation, step: str | None) -> Prospect:
    """Return how the saga would stand; not for *abandon*, after which nothing happens."""
    return _settle(snapshot, _apply(snapshot, operation, step))


def is_bound_back(prospect: Prospect) -> bool:
    """Tell whether compensations are all that is left: now, or for a remembered request as soon as no hold is left."""
    view = prospect.view
    if view.state in FORWARD_STATES and view.abort_request is not None:
        return planner.is_pivot_open(view, prospect.effects)
    return view.state is SagaState.COMPENSATING


def find_undecided_pivot(prospect: Prospect) -> str:
    """Return the pivot for whose outcome a request to turn back waits; an empty text when none does."""
    view = prospect.view
    if view.state not in FORWARD_STATES or view.abort_request is None or is_bound_back(prospect):
        return ""
    return next((step.name for step in view.steps if step.kind is Kind.PIVOT), "")


def suppose_pivot(prospect: Prospect, *, happened: bool) -> Prospect:
    """Return how the saga would stand once it is known whether its undecided pivot happened."""
    name = find_undecided_pivot(prospect)
    state, effect = (StepState.SUCCEEDED, Effect.YES) if happened else (StepState.REFUSED, Effect.NONE)
    changed = {name: {"state": state, "hold": None, "due_at": None, "lease_until": None}}
    view = replace(_change_steps(prospect.view, changed), abort_request=None)
    effects = {**prospect.effects, name: effect}
    return replace(prospect, view=view if happened else _turn_back(view), effects=effects)


def list_steps_left(prospect: Prospect) -> list[StepView]:
    """Return the steps that would still run, in the order in which they would: forward, or backward to compensate."""
    view = prospect.view
    if is_bound_back(prospect):
        back = _turn_back(view) if view.state in FORWARD_STATES else view
        return [step for step in reversed(back.steps) if _is_to_compensate(back, prospect.effects, step)]
    if view.state in FORWARD_STATES:
        return [step for step in view.steps if step.state not in PASSED_STATES]
    return []


def list_obstacles(snapshot: SagaSnapshot, prospect: Prospect) -> Iterator[str]:
    """Return what a reader of the plan might hope for and will not get."""
    view = prospect.view
    if snapshot.definition is None and SagaState(view.state).is_open:
        saga = snapshot.saga
        yield f"Nothing runs until the code has definition {saga.definition} version {saga.version} with these steps."
    if view.hold is Hold.PAUSED:
        yield "The saga is paused: nothing is claimed until somebody resumes it."
    if planner.is_pivot_passed(view):
        yield "The pivot has succeeded: nothing is compensated any more."
    elif view.state is SagaState.COMPENSATING:
        yield "Going forward again is not possible once a saga compensates: start a new one."
    elif is_bound_back(prospect):
        yield "Going forward again is not possible once a saga was asked to turn back: start a new one."


def _apply(snapshot: SagaSnapshot, operation: Operation, step: str | None) -> Prospect:
    """Return the saga's view as the action would leave it, before the engine reacts."""
    view, effects = snapshot.view(), dict(snapshot.effects())
    if operation is Operation.RETRY:
        names = rules.retriable_steps(snapshot, step)
        others = [row.name for row in snapshot.steps if row.hold and row.name not in names]
        notes = tuple(f"{name} stays held: the retry is not meant for it or cannot answer it." for name in others)
        changed = {name: {"hold": None, "due_at": snapshot.now} for name in names}
        return Prospect(view=_free_definition(snapshot, _change_steps(view, changed)), effects=effects, notes=notes)
    if operation is Operation.COMPENSATE:
        return Prospect(view=_turn_back(view), effects=effects)
    if operation is Operation.PAUSE:
        return Prospect(view=replace(view, hold=Hold.PAUSED), effects=effects)
    if operation is Operation.RESUME:
        return Prospect(view=replace(view, hold=None), effects=effects)
    if operation is Operation.CANCEL:
        return Prospect(view=_request_cancel(view), effects=effects)
    return _apply_to_step(snapshot, Prospect(view=view, effects=effects), operation, step or "")


def _apply_to_step(snapshot: SagaSnapshot, prospect: Prospect, operation: Operation, name: str) -> Prospect:
    row, effects = snapshot.step(name), dict(prospect.effects)
    if operation is Operation.SKIP:
        note = f"{name} gives no result unless you supply one; later steps that read it would miss it."
        changed = {name: {"state": StepState.SKIPPED, "hold": None, "due_at": None}}
        return replace(prospect, view=_change_steps(prospect.view, changed), notes=(note,))
    if operation is Operation.MARK_COMPENSATED:
        effects[name] = Effect.REMOVED
        note = f"Whatever {name} really left behind stays: nobody asks the participant again."
        changed = {name: {"state": StepState.COMPENSATED, "hold": None, "due_at": None}}
        return Prospect(view=_change_steps(prospect.view, changed), effects=effects, notes=(note,))
    is_success = operation is Operation.MARK_SUCCEEDED
    effects[name] = Effect.YES if is_success else Effect.NONE
    note = (
        f"{name} gives no result unless you supply one; later steps that read it would miss it."
        if is_success
        else f"If {name} did happen after all, nobody undoes it: your word counts."
    )
    move = planner.after_action(
        Kind(row.kind),
        Outcome.SUCCEEDED if is_success else Outcome.REFUSED,
        effect=effects[name],
        is_budget_spent=False,
        saga_state=prospect.view.state,
    )
    view = _change_steps(prospect.view, {name: {"state": move.state, "hold": move.hold, "due_at": None}})
    return Prospect(view=_turn_back(view) if move.turns_back else view, effects=effects, notes=(note,))


def _settle(snapshot: SagaSnapshot, prospect: Prospect) -> Prospect:
    """Return what the engine makes of it before anything is claimed: deadlines, abort requests, the end."""
    view, saga = prospect.view, snapshot.saga
    has_passed = saga.deadline_at is not None and saga.deadline_at <= snapshot.now
    if has_passed and view.state in FORWARD_STATES and view.abort_request is None:
        view = replace(view, abort_request=None if planner.is_pivot_passed(view) else AbortRequest.DEADLINE)
    while True:
        decided = planner.plan(view, prospect.effects, snapshot.now)
        if decided.turn_back:
            view = _turn_back(view)
        elif decided.drop_abort:
            view = replace(view, abort_request=None)
        elif decided.close:
            return replace(prospect, view=replace(view, state=decided.close))
        else:
            return replace(prospect, view=view)


def _change_steps(view: SagaView, changes: Mapping[str, Mapping[str, Any]]) -> SagaView:
    return replace(view, steps=tuple(replace(step, **changes.get(step.name, {})) for step in view.steps))


def _turn_back(view: SagaView) -> SagaView:
    steps = tuple(replace(step, hold=None, due_at=None) for step in view.steps)
    return replace(view, state=SagaState.COMPENSATING, abort_request=None, steps=steps)


def _request_cancel(view: SagaView) -> SagaView:
    """Return the view with the request, and without the holds that a cancellation ends."""
    kept = {step.name for step in view.steps if step.kind is Kind.PIVOT and step.state is not StepState.WAITING}
    steps = tuple(step if step.name in kept else replace(step, hold=None) for step in view.steps)
    return replace(view, abort_request=AbortRequest.CANCEL, steps=steps)


def _free_definition(snapshot: SagaSnapshot, view: SagaView) -> SagaView:
    is_back = view.hold is Hold.DEFINITION_MISSING and snapshot.definition is not None
    return replace(view, hold=None) if is_back else view


def _is_to_compensate(view: SagaView, effects: Mapping[str, Effect], step: StepView) -> bool:
    alone = replace(view, steps=(step,))
    return planner.rank_to_compensate(alone, effects) is not None
