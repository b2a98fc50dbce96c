"""Sentences about a saga: where it stands, why, and what an operator can do about it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ...conf import get_settings
from ...core.definition import registry
from ...core.states import Attention, Direction, Hold, SagaState, StepState
from ...models import Saga, SagaStep
from ..actor import Actor
from ..visibility import show_error
from .advice import list_advice
from .badges import in_words
from .debts import describe_debts
from .states import DisplayState, current_step, is_overdue, judge_saga
from .times import describe_distance, describe_moment, describe_span


@dataclass(frozen=True, kw_only=True)
class Account:
    """Account of one saga."""

    state: DisplayState
    """Its display state."""
    headline: str
    """Where it stands, in a sentence."""
    why: tuple[str, ...] = ()
    """The reasons, a sentence each."""
    advice: tuple[str, ...] = ()
    """What to do, a sentence each; empty when there is nothing to do."""


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """Facts that every sentence is made from."""

    saga: Saga
    steps: Sequence[SagaStep]
    now: datetime
    at: SagaStep | None
    with_errors: bool


def explain(saga: Saga, steps: Sequence[SagaStep], now: datetime, *, reader: Actor, with_errors: bool) -> Account:
    """Return the account of a saga for a reader. ``with_errors``: whether error texts are shown."""
    state = judge_saga(saga, steps, now)
    facts = _Facts(saga=saga, steps=steps, now=now, at=current_step(saga, steps), with_errors=with_errors)
    return Account(
        state=state,
        headline=HEADLINES[state](facts),
        why=tuple(_list_reasons(facts, state)),
        advice=tuple(list_advice(saga, steps, state, now, reader)),
    )


def count_attempts(step: SagaStep, saga: Saga) -> str:
    """Return ``n of max`` of the present budget, in the direction that the step is going or went last.

    A step that must not give up is tried past its budget.

    The number of all attempts follows if it differs: an operator renewed the budget, or polls did not count.
    """
    is_back = bool(step.compensation_attempts) or step.state == StepState.COMPENSATING
    made = step.compensation_attempts if is_back else step.action_attempts
    limit = _limit_of(step, saga, Direction.COMPENSATION if is_back else Direction.ACTION)
    if limit is None:
        return str(made)
    if step.budget_used > limit:
        return f"{made}, past its budget of {limit}"
    return f"{step.budget_used} of {limit}" + (f", {made} in all" if made != step.budget_used else "")


def _limit_of(step: SagaStep, saga: Saga, direction: Direction) -> int | None:
    definition = registry.find(saga.definition, saga.version)
    declared = next((found for found in definition.steps if found.name == step.name), None) if definition else None
    if declared is None or (direction is Direction.ACTION and declared.action is None):
        return None
    return get_settings().policy(declared, direction).attempts


def _describe_held(facts: _Facts) -> str:
    saga = facts.saga
    if saga.hold == Hold.DEFINITION_MISSING:
        missing = f"version {saga.version} of {saga.definition}"
        return f"The saga is held: the code has no {missing}. It continues by itself as soon as the code has it."
    if saga.hold:
        return f"The saga is held ({in_words(saga.hold)}): nothing happens until an operator acts."
    names = [f"{step.name} ({in_words(step.hold)})" for step in facts.steps if step.hold]
    return f"The saga is held at {', '.join(names)}: nothing happens there until an operator acts."


def _describe_pending(facts: _Facts) -> str:
    return f"No worker has claimed it yet; it was started {describe_distance(facts.saga.created_at, facts.now)}."


def _describe_running(facts: _Facts) -> str:
    step = facts.at
    if step is None:
        return "Every step is done; the saga is about to be closed."
    if step.lease_until is None:
        return f"{step.name} is next; a worker claims it as soon as one is free."
    return _describe_live(step, facts, "is running")


def _describe_live(step: SagaStep, facts: _Facts, what: str) -> str:
    until = step.lease_until or facts.now
    if until <= facts.now:
        lost = describe_distance(until, facts.now)
        return f"{step.name} was running, but its worker has not reported: the lease ended {lost}. It is taken over."
    return f"{step.name} {what}, until {describe_moment(until)} at the latest."


def _describe_waiting(facts: _Facts) -> str:
    step = facts.at
    if step is None:
        return "The saga waits."
    tried = f"{step.name} failed (attempt {count_attempts(step, facts.saga)})"
    return f"{tried} and is tried again {_describe_due(step, facts)}."


def _describe_answer(facts: _Facts) -> str:
    step = facts.at
    if step is None:
        return "The saga waits for an answer."
    return f"The participant is still working on {step.name}; it is asked again {_describe_due(step, facts)}."


def _describe_unknown(facts: _Facts) -> str:
    step = facts.at
    if step is None:
        return "The outcome of a step is unknown."
    asked = f"It is asked again, under the same key, {_describe_due(step, facts)}"
    return f"{step.name} may have happened. {asked} (attempt {count_attempts(step, facts.saga)} made)."


def _describe_exhausted(facts: _Facts) -> str:
    names = ", ".join(step.name for step in facts.steps if step.attention == Attention.RETRIES_EXHAUSTED)
    step = facts.at
    again = f"; it is tried again {_describe_due(step, facts)}" if step is not None else ""
    return f"{names} must succeed and has used all its attempts{again}."


def _describe_overdue(facts: _Facts) -> str:
    deadline = facts.saga.deadline_at
    late = f" by {describe_span(facts.now - deadline)}" if deadline else ""
    if facts.saga.is_choreographed:
        return f"The saga goes forward and is past its deadline{late}; {describe_debts(facts.saga, facts.now)}"
    where = f"; it is at {facts.at.name}" if facts.at is not None else ""
    return f"The saga goes forward and is past its deadline{late}{where}."


def _describe_owed(facts: _Facts) -> str:
    return describe_debts(facts.saga, facts.now)


def _describe_compensating(facts: _Facts) -> str:
    step = facts.at
    if facts.saga.is_choreographed:
        return f"The saga turned back; {describe_debts(facts.saga, facts.now)}"
    if step is None:
        return "The saga is compensating; the next compensation is due."
    if step.is_live and step.state == StepState.COMPENSATING:
        return _describe_live(step, facts, "is being compensated")
    if step.is_live:
        return f"The saga turned back and waits for the live attempt of {step.name}. " + _describe_live(
            step, facts, "is running"
        )
    return f"The compensation of {step.name} is tried again {_describe_due(step, facts)}."


def _describe_failing(facts: _Facts) -> str:
    names = ", ".join(step.name for step in facts.steps if step.attention == Attention.COMPENSATION_FAILING)
    again = f" It is tried again {_describe_due(facts.at, facts)}, without limit." if facts.at is not None else ""
    return f"The compensation of {names} has used all its attempts; its effect remains.{again}"


def _describe_completed(facts: _Facts) -> str:
    skipped = ", ".join(step.name for step in facts.steps if step.state == StepState.SKIPPED)
    done = "Every step is done" + (f" except {skipped}, skipped by an operator" if skipped else "")
    return f"{done}. It took {_describe_length(facts)}."


def _describe_compensated(facts: _Facts) -> str:
    return f"The saga turned back and no effect is left. It took {_describe_length(facts)}."


def _describe_abandoned(facts: _Facts) -> str:
    left = [str(effect.get("step", "")) for effect in facts.saga.effects_left or []]
    return f"An operator abandoned the saga; left behind: {', '.join(left) or 'nothing'}."


def _describe_length(facts: _Facts) -> str:
    return describe_span((facts.saga.closed_at or facts.now) - facts.saga.created_at)


def _describe_due(step: SagaStep, facts: _Facts) -> str:
    if step.is_live:
        return "now"
    if step.due_at is None or step.due_at <= facts.now:
        return "as soon as a worker is free"
    return f"{describe_distance(step.due_at, facts.now)}, at {describe_moment(step.due_at)}"


HEADLINES: Mapping[DisplayState, Callable[[_Facts], str]] = {
    DisplayState.HELD: _describe_held,
    DisplayState.COMPENSATION_FAILING: _describe_failing,
    DisplayState.COMPENSATING: _describe_compensating,
    DisplayState.RETRIES_EXHAUSTED: _describe_exhausted,
    DisplayState.OVERDUE: _describe_overdue,
    DisplayState.RUNNING: _describe_running,
    DisplayState.OUTCOME_UNKNOWN: _describe_unknown,
    DisplayState.WAITING_FOR_RETRY: _describe_waiting,
    DisplayState.WAITING_FOR_ANSWER: _describe_answer,
    DisplayState.WAITING_FOR_EVENT: _describe_owed,
    DisplayState.PENDING: _describe_pending,
    DisplayState.COMPLETED: _describe_completed,
    DisplayState.COMPENSATED: _describe_compensated,
    DisplayState.ABANDONED: _describe_abandoned,
}


def _list_reasons(facts: _Facts, state: DisplayState) -> Iterator[str]:
    if facts.saga.cause:
        yield _describe_cause(facts)
    if facts.saga.abort_request:
        actor = f" by {facts.saga.abort_actor}" if facts.saga.abort_actor else ""
        yield f"It was asked to turn back ({facts.saga.abort_request}{actor}); that is not decided yet."
    is_open = SagaState(facts.saga.state).is_open
    for step in facts.steps:
        if is_open and step.last_error and (step.hold or step.due_at is not None):
            yield f"{step.name}: {show_error(step.last_error, with_errors=facts.with_errors)}"
    if state is not DisplayState.OVERDUE and is_overdue(facts.saga, facts.now):
        yield "It is also past its deadline."
    if Attention.LATE_EFFECT.value in facts.saga.attention:
        yield "An effect appeared after its compensation, so it is compensated again."
    elif late := [step.name for step in facts.steps if step.epoch]:
        yield f"A late answer of {', '.join(late)} came after its compensation began, so it was compensated again."
    yield from (text for reason, text in EVENT_REASONS.items() if reason in facts.saga.attention)
    if assumed := [step.name for step in facts.steps if step.is_assumed and step.state != StepState.SKIPPED]:
        yield f"An operator decided {', '.join(assumed)}; the history shows who, and on what evidence."


EVENT_REASONS: Mapping[Attention, str] = {
    Attention.EVENT_OVERDUE: "An event is owed for longer than its limit.",
    Attention.EVENT_FAILING: "An event of it is parked, dead or waits too long for its beginning; see the history.",
    Attention.EVENT_UNEXPECTED: "Its events contradict each other: both the decision and its opposite were recorded.",
    Attention.INTENT_FAILING: "An external call of a participant is held or keeps failing; see the history.",
}


def _describe_cause(facts: _Facts) -> str:
    """Return what made the saga turn back; every reader sees an operator's reason, but not every reader error texts."""
    cause = facts.saga.cause or {}
    kind, step = str(cause.get("kind", "")), str(cause.get("step", ""))
    if kind in ("operator", "cancel"):
        verb = "forced it back" if kind == "operator" else "cancelled it"
        return f"{cause.get('actor') or 'An operator'} {verb}: {cause.get('reason', '')}"
    if kind == "deadline":
        return "It turned back because its deadline passed."
    error = f"{cause.get('error_class', '')}: {cause.get('message', '')}"
    verb = "refused" if kind == "refused" else "used all its attempts"
    return f"It turned back because {step} {verb}: {show_error(error, with_errors=facts.with_errors)}"
