"""Planner: what happens next, from the states of a saga and its steps.

The semantics of a saga without clocks, rows or brokers. ``plan`` returns which steps may be claimed, whether the saga
starts compensating or closes, and when it is due next. ``after_action`` and ``after_compensation`` return what the
end of an attempt does to its step. Pure: no Django import.

Source: oxidecomputer/steno ``src/saga_log.rs`` (one match from state and event to state).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from .states import (
    FORWARD_STATES,
    PASSED_STATES,
    UNDOABLE_EFFECTS,
    AbortRequest,
    Attention,
    Direction,
    Effect,
    Hold,
    Kind,
    Outcome,
    SagaState,
    StepState,
    WaitingFor,
)


@dataclass(frozen=True, kw_only=True)
class StepView:
    """Step as the planner sees it."""

    name: str
    rank: int
    """The rank; steps of one rank may run at the same time, and ranks follow one another."""
    kind: Kind
    state: StepState
    hold: Hold | None = None
    due_at: datetime | None = None
    """When it may be claimed; None: at once when pending, never while it waits without a due time."""
    lease_until: datetime | None = None
    """When its live attempt counts as lost; None: no attempt is live."""


@dataclass(frozen=True, kw_only=True)
class SagaView:
    """Saga as the planner sees it."""

    state: SagaState
    steps: tuple[StepView, ...]
    """The steps in order of position."""
    hold: Hold | None = None
    abort_request: AbortRequest | None = None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Step and direction that may be claimed now."""

    step: str
    direction: Direction


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Result of planning. At most one of turn_back, drop_abort and close is set, and then nothing else is."""

    claims: tuple[Claim, ...] = ()
    """The claims that are possible now, in order."""
    due_at: datetime | None = None
    """When the saga is due without a wake-up; None: nothing will happen by itself."""
    turn_back: bool = False
    """Whether the abort request is granted, so that the saga compensates."""
    drop_abort: bool = False
    """Whether the abort request came after the pivot and is dropped."""
    close: SagaState | None = None
    """The state in which the saga closes, if it does."""


@dataclass(frozen=True, kw_only=True)
class StepMove:
    """Change of a step and its saga at the end of an attempt."""

    state: StepState
    waiting_for: WaitingFor | None = None
    hold: Hold | None = None
    attention: Attention | None = None
    """The attention to set on the step."""
    is_asked_again: bool = False
    """Whether a due time is set."""
    turns_back: bool = False
    """Whether this definite failure makes the saga compensate."""


def needs_effects(saga: SagaView) -> bool:
    """Return whether ``plan`` depends on the effects of the steps."""
    return saga.state is SagaState.COMPENSATING or (saga.abort_request is not None and saga.state in FORWARD_STATES)


def plan(saga: SagaView, effects: Mapping[str, Effect], now: datetime) -> Plan:
    """Return what happens next; ``effects`` by step name are needed only if ``needs_effects`` is true."""
    if saga.state in FORWARD_STATES:
        return _plan_forward(saga, effects, now)
    if saga.state is SagaState.COMPENSATING:
        return _plan_backward(saga, effects, now)
    return Plan()


def is_pivot_passed(saga: SagaView) -> bool:
    """Return whether nothing can be compensated any more (invariant I6)."""
    return any(step.kind is Kind.PIVOT and step.state is StepState.SUCCEEDED for step in saga.steps)


def is_pivot_open(saga: SagaView, effects: Mapping[str, Effect]) -> bool:
    """Return whether the pivot has neither passed nor may be happening, so that the saga can still be aborted."""
    return all(
        step.lease_until is None
        and step.state not in PASSED_STATES
        and effects.get(step.name, Effect.NONE) not in UNDOABLE_EFFECTS
        for step in saga.steps
        if step.kind is Kind.PIVOT
    )


def current_rank(saga: SagaView) -> int | None:
    """Return the first rank with a step that has not passed, or None when all have."""
    return next((step.rank for step in saga.steps if step.state not in PASSED_STATES), None)


def _plan_forward(saga: SagaView, effects: Mapping[str, Effect], now: datetime) -> Plan:
    if saga.abort_request is not None:
        if is_pivot_passed(saga):
            return Plan(drop_abort=True)
        if saga.hold is None and not _has_step_hold(saga) and is_pivot_open(saga, effects):
            return Plan(turn_back=True)
    rank = current_rank(saga)
    if rank is None:
        # A paused saga closes, too: nothing is left that a pause could stop. A saga with an abort request does not
        # close, because it compensates when its hold ends.
        return Plan(close=SagaState.COMPLETED) if saga.abort_request is None else Plan()
    steps = [step for step in saga.steps if step.rank == rank and step.state not in PASSED_STATES]
    if saga.abort_request is not None and all(step.kind is not Kind.PIVOT for step in steps):
        # Only a pivot is retried, because its outcome decides on the abort request.
        steps = [step for step in steps if step.lease_until is not None]
    return _dispatch(saga, steps, Direction.ACTION, now)


def _plan_backward(saga: SagaView, effects: Mapping[str, Effect], now: datetime) -> Plan:
    live = [step for step in saga.steps if step.state is StepState.RUNNING]
    if live:
        return Plan(due_at=_earliest(step.lease_until for step in live))
    rank = rank_to_compensate(saga, effects)
    if rank is None:
        return Plan(close=SagaState.COMPENSATED)
    steps = [
        step
        for step in saga.steps
        # A pivot that happened against an earlier answer cannot be undone: an operator must decide.
        if step.rank == rank and step.kind is Kind.COMPENSATABLE and _is_to_compensate(step, effects)
    ]
    found = _dispatch(saga, steps, Direction.COMPENSATION, now)
    # A late effect may have reopened a later step, or held the pivot, while an earlier step was being compensated.
    return replace(found, due_at=_earliest([found.due_at, *(step.lease_until for step in saga.steps)]))


def rank_to_compensate(saga: SagaView, effects: Mapping[str, Effect]) -> int | None:
    """Return the last rank with an effect left, or None when every effect is none or removed (invariants I4, I5)."""
    return max((step.rank for step in saga.steps if _is_to_compensate(step, effects)), default=None)


def _is_to_compensate(step: StepView, effects: Mapping[str, Effect]) -> bool:
    if step.state is StepState.COMPENSATING:
        return True
    return step.state is not StepState.COMPENSATED and effects.get(step.name, Effect.NONE) in UNDOABLE_EFFECTS


def _dispatch(saga: SagaView, steps: Iterable[StepView], direction: Direction, now: datetime) -> Plan:
    claims: list[Claim] = []
    times: list[datetime | None] = []
    for step in steps:
        if step.lease_until is not None:
            times.append(step.lease_until)
        elif saga.hold is None and step.hold is None:
            due_at = _due_at(step, direction, now)
            times.append(due_at)
            if due_at is not None and due_at <= now:
                claims.append(Claim(step=step.name, direction=direction))
    return Plan(claims=tuple(claims), due_at=_earliest(times))


def _due_at(step: StepView, direction: Direction, now: datetime) -> datetime | None:
    """Return when a step may be claimed; a step that has not started in this direction is due at once."""
    is_started = (
        step.state in (StepState.WAITING, StepState.UNKNOWN)
        if direction is Direction.ACTION
        else step.state is StepState.COMPENSATING
    )
    if is_started:
        return step.due_at
    if direction is Direction.ACTION and step.state is not StepState.PENDING:
        return None
    return now


def _has_step_hold(saga: SagaView) -> bool:
    return any(step.hold is not None for step in saga.steps)


def _earliest(times: Iterable[datetime | None]) -> datetime | None:
    return min((time for time in times if time is not None), default=None)


def after_action(
    kind: Kind, outcome: Outcome, *, effect: Effect, is_budget_spent: bool, saga_state: SagaState
) -> StepMove:
    """Return what the end of an action attempt does; ``effect`` is that of the whole step, this attempt included."""
    if outcome is Outcome.SUCCEEDED:
        return StepMove(state=StepState.SUCCEEDED)
    if saga_state not in FORWARD_STATES:
        return _after_late_action(outcome, effect)
    if outcome is Outcome.REFUSED:
        return _after_refusal(kind, effect)
    if outcome is Outcome.FENCED:
        # A tombstone without a compensation of this saga: another caller used the key.
        return StepMove(state=_unfinished(effect), hold=Hold.CONTRACT_VIOLATION, waiting_for=_why(effect))
    if outcome is Outcome.MISCONFIGURED:
        return StepMove(state=_unfinished(effect), hold=Hold.MISCONFIGURED, waiting_for=_why(effect))
    return _after_unfinished(kind, outcome, effect, is_budget_spent)


def _after_refusal(kind: Kind, effect: Effect) -> StepMove:
    if kind is Kind.RETRIABLE:
        return StepMove(state=StepState.REFUSED, hold=Hold.CONTRACT_VIOLATION)
    if kind is Kind.PIVOT and effect in UNDOABLE_EFFECTS:
        # An earlier attempt may have happened and nothing can undo a pivot: an operator must decide.
        return StepMove(state=StepState.UNKNOWN, hold=Hold.OUTCOME_UNKNOWN)
    return StepMove(state=StepState.REFUSED, turns_back=True)


def _after_unfinished(kind: Kind, outcome: Outcome, effect: Effect, is_budget_spent: bool) -> StepMove:
    waiting = {
        Outcome.RETRY: StepMove(state=StepState.WAITING, waiting_for=WaitingFor.RETRY, is_asked_again=True),
        Outcome.IN_PROGRESS: StepMove(state=StepState.WAITING, waiting_for=WaitingFor.ANSWER, is_asked_again=True),
        Outcome.UNKNOWN: StepMove(state=StepState.UNKNOWN, is_asked_again=True),
    }[outcome]
    if not is_budget_spent:
        return waiting
    if kind is Kind.RETRIABLE:
        return StepMove(
            state=waiting.state,
            waiting_for=waiting.waiting_for,
            is_asked_again=True,
            attention=Attention.RETRIES_EXHAUSTED,
        )
    if kind is Kind.PIVOT and effect in UNDOABLE_EFFECTS:
        return StepMove(state=StepState.UNKNOWN, hold=Hold.OUTCOME_UNKNOWN)
    return StepMove(state=waiting.state, waiting_for=waiting.waiting_for, turns_back=True)


def _after_late_action(outcome: Outcome, effect: Effect) -> StepMove:
    """Return what the end of an action does after the saga has started compensating; the action is never retried."""
    if outcome is Outcome.REFUSED:
        return StepMove(state=StepState.REFUSED)
    return StepMove(state=_unfinished(effect), waiting_for=_why(effect))


def _unfinished(effect: Effect) -> StepState:
    return StepState.UNKNOWN if effect in UNDOABLE_EFFECTS else StepState.WAITING


def _why(effect: Effect) -> WaitingFor | None:
    return None if effect in UNDOABLE_EFFECTS else WaitingFor.RETRY


def after_compensation(outcome: Outcome, *, is_budget_spent: bool, must_verify: bool) -> StepMove:
    """Return what the end of a compensation attempt does; ``must_verify``: it runs once more before it counts."""
    if outcome is Outcome.SUCCEEDED:
        if must_verify:
            return StepMove(state=StepState.COMPENSATING, waiting_for=WaitingFor.ANSWER, is_asked_again=True)
        return StepMove(state=StepState.COMPENSATED)
    if outcome is Outcome.REFUSED:
        return StepMove(state=StepState.COMPENSATING, hold=Hold.COMPENSATION_REFUSED)
    if outcome is Outcome.MISCONFIGURED:
        return StepMove(state=StepState.COMPENSATING, hold=Hold.MISCONFIGURED)
    waiting_for = WaitingFor.ANSWER if outcome is Outcome.IN_PROGRESS else WaitingFor.RETRY
    return StepMove(
        state=StepState.COMPENSATING,
        waiting_for=waiting_for,
        is_asked_again=True,
        attention=Attention.COMPENSATION_FAILING if is_budget_spent else None,
    )
