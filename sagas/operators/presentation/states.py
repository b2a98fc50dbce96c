"""Display states of sagas and steps, computed from their rows without a query."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum

from ...core.states import FORWARD_STATES, PASSED_STATES, Attention, Hold, SagaState, StepState, WaitingFor
from ...models import Saga, SagaStep

REASONS: tuple[str, ...] = (*(hold.value for hold in Hold), *(attention.value for attention in Attention))


class DisplayState(StrEnum):
    """Display state of a saga, the most urgent first; a saga shows the first that matches."""

    HELD = "held"  #: nothing happens until an operator acts
    COMPENSATION_FAILING = "compensation_failing"  #: a compensation has spent its budget and is still tried
    COMPENSATING = "compensating"  #: on the way back
    RETRIES_EXHAUSTED = "retries_exhausted"  #: a step that must succeed has spent its budget and is still tried
    OVERDUE = "overdue"  #: going forward past its deadline
    RUNNING = "running"  #: a step is live, or the next one is due
    OUTCOME_UNKNOWN = "outcome_unknown"  #: a step may have happened and is tried again
    WAITING_FOR_RETRY = "waiting_for_retry"  #: a step failed and is tried again later
    WAITING_FOR_ANSWER = "waiting_for_answer"  #: a participant is still working on it
    WAITING_FOR_EVENT = "waiting_for_event"  #: a participant owes an event; nobody commands here
    PENDING = "pending"  #: no worker has claimed it yet
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    ABANDONED = "abandoned"


class StepDisplay(StrEnum):
    """Display state of a step."""

    NOT_STARTED = "not_started"
    NEVER_RAN = "never_ran"  #: the saga turned back before it was reached
    RUNNING = "running"
    HELD = "held"
    WAITING_FOR_RETRY = "waiting_for_retry"
    WAITING_FOR_ANSWER = "waiting_for_answer"
    WAITING_FOR_EVENT = "waiting_for_event"
    OUTCOME_UNKNOWN = "outcome_unknown"
    RETRIES_EXHAUSTED = "retries_exhausted"
    NOT_ASKED_AGAIN = "not_asked_again"  #: it waited when the saga turned back
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    SKIPPED = "skipped"
    COMPENSATING = "compensating"
    COMPENSATION_WAITING = "compensation_waiting"  #: between two attempts of its compensation
    COMPENSATION_FAILING = "compensation_failing"
    COMPENSATED = "compensated"


CLOSED = {
    SagaState.COMPLETED: DisplayState.COMPLETED,
    SagaState.COMPENSATED: DisplayState.COMPENSATED,
    SagaState.ABANDONED: DisplayState.ABANDONED,
}


def judge_saga(saga: Saga, steps: Sequence[SagaStep], now: datetime) -> DisplayState:
    """Return the display state of a saga; ``filters`` has the same rules in SQL."""
    state = SagaState(saga.state)
    if not state.is_open:
        return CLOSED[state]
    if saga.hold or any(step.hold for step in steps):
        return DisplayState.HELD
    if state is SagaState.COMPENSATING:
        is_failing = Attention.COMPENSATION_FAILING.value in saga.attention
        return DisplayState.COMPENSATION_FAILING if is_failing else DisplayState.COMPENSATING
    if Attention.RETRIES_EXHAUSTED.value in saga.attention:
        return DisplayState.RETRIES_EXHAUSTED
    if is_overdue(saga, now):
        return DisplayState.OVERDUE
    return _judge_forward(state, steps)


def is_overdue(saga: Saga, now: datetime) -> bool:
    """Return whether a saga that still goes forward is past its deadline."""
    if saga.state not in FORWARD_STATES:
        return False
    has_passed = saga.deadline_at is not None and saga.deadline_at <= now
    return has_passed or Attention.OVERDUE.value in saga.attention


def _judge_forward(state: SagaState, steps: Iterable[SagaStep]) -> DisplayState:
    found = {_judge_going(step) for step in steps}
    for wanted in (
        DisplayState.RUNNING,
        DisplayState.OUTCOME_UNKNOWN,
        DisplayState.WAITING_FOR_RETRY,
        DisplayState.WAITING_FOR_ANSWER,
        DisplayState.WAITING_FOR_EVENT,
    ):
        if wanted in found:
            return wanted
    return DisplayState.PENDING if state is SagaState.PENDING else DisplayState.RUNNING


def _judge_going(step: SagaStep) -> DisplayState | None:
    if step.is_live:
        return DisplayState.RUNNING
    if step.state == StepState.UNKNOWN:
        return DisplayState.OUTCOME_UNKNOWN
    if step.state == StepState.WAITING:
        return WAITS[step.waiting_for or WaitingFor.RETRY.value]
    return None


# What a waiting step waits for.
WAITS = {
    WaitingFor.RETRY.value: DisplayState.WAITING_FOR_RETRY,
    WaitingFor.ANSWER.value: DisplayState.WAITING_FOR_ANSWER,
    WaitingFor.EVENT.value: DisplayState.WAITING_FOR_EVENT,
}


SETTLED = {
    StepState.SUCCEEDED: StepDisplay.SUCCEEDED,
    StepState.REFUSED: StepDisplay.REFUSED,
    StepState.SKIPPED: StepDisplay.SKIPPED,
    StepState.COMPENSATED: StepDisplay.COMPENSATED,
    StepState.UNKNOWN: StepDisplay.OUTCOME_UNKNOWN,
}


def judge_step(step: SagaStep, saga: Saga) -> StepDisplay:
    """Return the display state of a step."""
    state, is_forward = StepState(step.state), saga.state in FORWARD_STATES
    if step.hold:
        return StepDisplay.HELD
    if step.is_live:
        return StepDisplay.COMPENSATING if state is StepState.COMPENSATING else StepDisplay.RUNNING
    if step.attention == Attention.RETRIES_EXHAUSTED:
        return StepDisplay.RETRIES_EXHAUSTED
    if state is StepState.PENDING:
        return StepDisplay.NOT_STARTED if is_forward else StepDisplay.NEVER_RAN
    if state is StepState.COMPENSATING:
        is_failing = step.attention == Attention.COMPENSATION_FAILING
        return StepDisplay.COMPENSATION_FAILING if is_failing else StepDisplay.COMPENSATION_WAITING
    if state is StepState.WAITING:
        if step.waiting_for == WaitingFor.EVENT and SagaState(saga.state).is_open:
            return StepDisplay.WAITING_FOR_EVENT
        return (
            StepDisplay(WAITS[step.waiting_for or WaitingFor.RETRY.value])
            if is_forward
            else StepDisplay.NOT_ASKED_AGAIN
        )
    return SETTLED[state]


def current_step(saga: Saga, steps: Sequence[SagaStep]) -> SagaStep | None:
    """Return the step that a saga is at, else the next one; None when it is over.

    If several steps are in progress, it is the one that determines the display state: both use the same order.
    """
    if not SagaState(saga.state).is_open:
        return None
    backwards = saga.state == SagaState.COMPENSATING
    for is_meant in (_is_held, _is_exhausted, _is_live, _is_unknown, _is_failed, _is_waiting):
        if found := [step for step in steps if is_meant(step)]:
            return found[-1 if backwards else 0]
    if backwards:
        return None
    return next((step for step in steps if step.state not in PASSED_STATES), None)


def _is_held(step: SagaStep) -> bool:
    return step.hold is not None


def _is_live(step: SagaStep) -> bool:
    return step.is_live


def _is_exhausted(step: SagaStep) -> bool:
    return step.attention is not None and (step.is_live or step.due_at is not None)


def _is_unknown(step: SagaStep) -> bool:
    return step.due_at is not None and step.state == StepState.UNKNOWN


FAILED = (None, WaitingFor.RETRY.value)


def _is_failed(step: SagaStep) -> bool:
    return step.due_at is not None and step.state == StepState.WAITING and step.waiting_for in FAILED


def _is_waiting(step: SagaStep) -> bool:
    return step.due_at is not None


def reasons_of(saga: Saga, steps: Iterable[SagaStep]) -> list[str]:
    """Return why an operator should look, the most urgent reason first: holds of saga and steps, then attention."""
    found = {saga.hold, *(step.hold for step in steps), *saga.attention}
    return [reason for reason in REASONS if reason in found]
