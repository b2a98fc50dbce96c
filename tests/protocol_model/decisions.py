"""Decisions of the model on what happens next, as ``sagas.core.planner`` makes them for the engine.

``test_protocol`` compares the two: state by state what may be claimed, and case by case what an outcome does.
"""

from collections.abc import Iterable
from typing import NamedTuple

from .rows import FORWARD, PASSED, UNDOABLE, Attempt, Model, Saga, Step, is_held


class Plan(NamedTuple):
    """Next actions; a decision comes alone."""

    claims: tuple[tuple[int, str], ...] = ()
    is_due: bool = False
    decision: str = ""


class StepMove(NamedTuple):
    """Change of a step at the end of an attempt."""

    state: str
    hold: str = ""
    is_due: bool = False
    turns_back: bool = False


def compute_effect(attempts: Iterable[Attempt]) -> str:
    """Return the effect of a step's actions."""
    effect = "none"
    for attempt in attempts:
        if attempt.direction == "compensation":
            continue
        if attempt.outcome == "succeeded":
            effect = "yes"
        elif attempt.settles and effect != "yes":
            effect = "none"
        elif attempt.outcome in ("", "unknown") and effect == "none":
            effect = "maybe"
    return effect


def effect_of(step: Step) -> str:
    """Return the effect of a step."""
    return "removed" if step.state == "compensated" else compute_effect(step.attempts)


def plan(model: Model, saga: Saga) -> Plan:
    """Return what happens next."""
    if saga.state in FORWARD:
        return _plan_forward(model, saga)
    return _plan_backward(model, saga) if saga.state == "compensating" else Plan()


def is_pivot_passed(model: Model, saga: Saga) -> bool:
    """Return whether nothing can be compensated any more."""
    return any(s.kind == "pivot" and row.state == "succeeded" for s, row in zip(model.steps, saga.steps, strict=True))


def is_pivot_open(model: Model, saga: Saga) -> bool:
    """Return whether the pivot has neither happened nor may be happening."""
    for spec, row in zip(model.steps, saga.steps, strict=True):
        is_undecided = row.token is not None or effect_of(row) in UNDOABLE
        if spec.kind == "pivot" and (row.state in PASSED or ("abort waits" in model.rules and is_undecided)):
            return False
    return True


def _plan_forward(model: Model, saga: Saga) -> Plan:
    if saga.abort:
        if is_pivot_passed(model, saga):
            return Plan(decision="drop abort")
        if not is_held(saga) and is_pivot_open(model, saga):
            return Plan(decision="turn back")
    open_steps = [index for index, row in enumerate(saga.steps) if row.state not in PASSED]
    if not open_steps:
        return Plan(decision="" if saga.abort else "complete")
    rank = model.steps[open_steps[0]].rank
    steps = [index for index in open_steps if model.steps[index].rank == rank]
    if saga.abort and all(model.steps[index].kind != "pivot" for index in steps):
        # Only a pivot is retried, to know whether to compensate.
        steps = [index for index in steps if saga.steps[index].token is not None]
    return _dispatch(model, saga, steps, "action")


def _plan_backward(model: Model, saga: Saga) -> Plan:
    if "wait for live" in model.rules and any(row.state == "running" for row in saga.steps):
        return Plan(is_due=True)
    left = [index for index, row in enumerate(saga.steps) if _is_to_compensate(model, row)]
    if not left:
        return Plan(decision="finish compensating")
    choose = max if "reverse order" in model.rules else min
    rank = choose(model.steps[index].rank for index in left)
    # A pivot that happened after all stops everything here: it cannot be undone, so an operator must decide.
    undoable = [i for i in left if model.steps[i].rank == rank and model.steps[i].kind == "compensatable"]
    found = _dispatch(model, saga, undoable, "compensation")
    is_live = "live lease" in model.rules and any(row.token is not None for row in saga.steps)
    return found._replace(is_due=found.is_due or is_live)


def _is_to_compensate(model: Model, row: Step) -> bool:
    if row.state in ("compensating", "compensated"):
        return row.state == "compensating"
    return effect_of(row) in (UNDOABLE if "maybe" in model.rules else ("yes",))


def _dispatch(model: Model, saga: Saga, steps: Iterable[int], direction: str) -> Plan:
    claims = []
    is_due = False
    begun = ("waiting", "unknown") if direction == "action" else ("compensating",)
    for index in steps:
        row = saga.steps[index]
        if row.token is not None and "live lease" in model.rules:
            is_due = True
        elif not saga.hold and not row.hold:
            is_fresh = row.state not in begun and (direction == "compensation" or row.state == "pending")
            if row.is_due or is_fresh or row.token is not None:
                is_due = True
                claims.append((index, direction))
    return Plan(claims=tuple(claims), is_due=is_due)


def after_action(model: Model, kind: str, outcome: str, effect: str, is_spent: bool, saga_state: str) -> StepMove:
    """Return the change at the end of an action attempt; ``effect`` is the whole step's, this attempt included."""
    unfinished = "unknown" if effect in UNDOABLE else "waiting"
    if outcome == "succeeded":
        return StepMove("succeeded")
    if saga_state not in FORWARD:
        return StepMove("refused" if outcome == "refused" else unfinished)
    if outcome in ("fenced", "misconfigured"):
        return StepMove(unfinished, hold="misconfigured" if outcome == "misconfigured" else "contract_violation")
    is_lost_pivot = kind == "pivot" and effect in UNDOABLE and "pivot held" in model.rules
    if outcome == "refused":
        if kind == "retriable":
            return StepMove("refused", hold="contract_violation")
        if is_lost_pivot:
            return StepMove("unknown", hold="outcome_unknown")
        return StepMove("refused", turns_back=True)
    state = "unknown" if outcome == "unknown" else "waiting"
    if not is_spent or kind == "retriable":
        return StepMove(state, is_due=True)
    if is_lost_pivot:
        return StepMove("unknown", hold="outcome_unknown")
    return StepMove(state, turns_back=True)


def after_compensation(outcome: str, must_verify: bool) -> StepMove:
    """Return the change at the end of a compensation attempt."""
    if outcome == "succeeded" and not must_verify:
        return StepMove("compensated")
    if outcome in ("refused", "misconfigured"):
        hold = "compensation_refused" if outcome == "refused" else "misconfigured"
        return StepMove("compensating", hold=hold)
    return StepMove("compensating", is_due=True)
