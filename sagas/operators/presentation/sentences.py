"""Sentences about a saga: where it stands, why, and what an operator can do about it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...conf import get_settings
from ...core.definition import registry
from ...core.states import Attention, Direction, Hold, SagaState, StepState
from ...models import Saga, SagaStep
from .badges import in_words
from .states import DisplayState, current_step, is_overdue, judge_saga, reasons_of
from .times import describe_distance, describe_moment, describe_span

SLOW_AFTER = timedelta(seconds=30)  # several sweeps and wake-up intervals: a healthy worker claims due work earlier


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


def tell(saga: Saga, steps: Sequence[SagaStep], now: datetime, *, with_errors: bool) -> Account:
    """Return the account of a saga. ``with_errors``: whether the reader may see error texts."""
    state = judge_saga(saga, steps, now)
    facts = _Facts(saga=saga, steps=steps, now=now, at=current_step(saga, steps), with_errors=with_errors)
    return Account(
        state=state,
        headline=HEADLINES[state](facts),
        why=tuple(_list_reasons(facts, state)),
        advice=tuple(_list_advice(facts, state)),
    )


def show_error(text: str, *, with_errors: bool) -> str:
    """Return an error for a reader: the whole text, or its class alone."""
    return text if with_errors else text.partition(":")[0]


def count_attempts(step: SagaStep, saga: Saga) -> str:
    """Return ``n of max`` of the present budget, in the direction that the step is going or went last.

    The number of all attempts follows if it differs: an operator renewed the budget, or polls did not count.
    """
    is_back = bool(step.compensation_attempts) or step.state == StepState.COMPENSATING
    made = step.compensation_attempts if is_back else step.action_attempts
    limit = _limit_of(step, saga, Direction.COMPENSATION if is_back else Direction.ACTION)
    if limit is None:
        return str(made)
    return f"{step.budget_used} of {limit}" + (f", {made} in all" if made != step.budget_used else "")


def _limit_of(step: SagaStep, saga: Saga, direction: Direction) -> int | None:
    definition = registry.find(saga.definition, saga.version)
    declared = next((found for found in definition.steps if found.name == step.name), None) if definition else None
    if declared is None or (direction is Direction.ACTION and declared.action is None):
        return None
    return get_settings().policy(declared, direction).attempts


def _tell_held(facts: _Facts) -> str:
    saga = facts.saga
    if saga.hold == Hold.DEFINITION_MISSING:
        missing = f"version {saga.version} of {saga.definition}"
        return f"The saga is held: this code has no {missing}. It goes on by itself as soon as the code has it."
    if saga.hold:
        return f"The saga is held ({in_words(saga.hold)}): nothing happens until somebody acts."
    names = [f"{step.name} ({in_words(step.hold)})" for step in facts.steps if step.hold]
    return f"The saga is held at {', '.join(names)}: nothing happens there until somebody acts."


def _tell_pending(facts: _Facts) -> str:
    return f"Nobody has begun yet; it was started {describe_distance(facts.saga.created_at, facts.now)}."


def _tell_running(facts: _Facts) -> str:
    step = facts.at
    if step is None:
        return "Every step is done; the saga is about to be closed."
    if step.lease_until is None:
        return f"{step.name} is next; a worker takes it as soon as one is free."
    return _tell_live(step, facts, "is being run")


def _tell_live(step: SagaStep, facts: _Facts, what: str) -> str:
    until = step.lease_until or facts.now
    if until <= facts.now:
        lost = describe_distance(until, facts.now)
        return f"{step.name} was being run, but its worker has not reported: the lease ended {lost}. It is taken over."
    return f"{step.name} {what}, until {describe_moment(until)} at the latest."


def _tell_waiting(facts: _Facts) -> str:
    step = facts.at
    if step is None:
        return "The saga waits."
    tried = f"{step.name} failed (attempt {count_attempts(step, facts.saga)})"
    return f"{tried} and is tried again {_tell_due(step, facts)}."


def _tell_answer(facts: _Facts) -> str:
    step = facts.at
    if step is None:
        return "The saga waits for an answer."
    return f"The participant is still working on {step.name}; it is asked again {_tell_due(step, facts)}."


def _tell_unknown(facts: _Facts) -> str:
    step = facts.at
    if step is None:
        return "The outcome of a step is unknown."
    asked = f"It is asked again, under the same key, {_tell_due(step, facts)}"
    return f"{step.name} may have happened. {asked} (attempt {count_attempts(step, facts.saga)} made)."


def _tell_exhausted(facts: _Facts) -> str:
    names = ", ".join(step.name for step in facts.steps if step.attention == Attention.RETRIES_EXHAUSTED)
    step = facts.at
    again = f"; it is tried again {_tell_due(step, facts)}" if step is not None else ""
    return f"{names} must succeed and has spent its attempts{again}."


def _tell_overdue(facts: _Facts) -> str:
    deadline = facts.saga.deadline_at
    late = f" by {describe_span(facts.now - deadline)}" if deadline else ""
    where = f"; it is at {facts.at.name}" if facts.at is not None else ""
    return f"The saga goes forward and is past its deadline{late}{where}."


def _tell_compensating(facts: _Facts) -> str:
    step = facts.at
    if step is None:
        return "The saga is on its way back; the next compensation is due."
    if step.is_live and step.state == StepState.COMPENSATING:
        return _tell_live(step, facts, "is being compensated")
    if step.is_live:
        return f"The saga turned back and waits for the live attempt of {step.name}. " + _tell_live(
            step, facts, "is being run"
        )
    return f"The compensation of {step.name} is tried again {_tell_due(step, facts)}."


def _tell_failing(facts: _Facts) -> str:
    names = ", ".join(step.name for step in facts.steps if step.attention == Attention.COMPENSATION_FAILING)
    again = f" It is tried again {_tell_due(facts.at, facts)}, for ever." if facts.at is not None else ""
    return f"The compensation of {names} has spent its attempts: its effect is still there.{again}"


def _tell_completed(facts: _Facts) -> str:
    skipped = [step.name for step in facts.steps if step.state == StepState.SKIPPED]
    done = f"Every step is done, but {', '.join(skipped)}, skipped by a person" if skipped else "Every step is done"
    return f"{done}. It took {_tell_length(facts)}."


def _tell_compensated(facts: _Facts) -> str:
    return f"The saga turned back and no effect is left. It took {_tell_length(facts)}."


def _tell_abandoned(facts: _Facts) -> str:
    left = [str(effect.get("step", "")) for effect in facts.saga.effects_left or []]
    return f"A person gave the saga up; left behind: {', '.join(left) or 'nothing'}."


def _tell_length(facts: _Facts) -> str:
    return describe_span((facts.saga.closed_at or facts.now) - facts.saga.created_at)


def _tell_due(step: SagaStep, facts: _Facts) -> str:
    if step.is_live:
        return "now"
    if step.due_at is None or step.due_at <= facts.now:
        return "as soon as a worker is free"
    return f"{describe_distance(step.due_at, facts.now)}, at {describe_moment(step.due_at)}"


HEADLINES: Mapping[DisplayState, Callable[[_Facts], str]] = {
    DisplayState.HELD: _tell_held,
    DisplayState.COMPENSATION_FAILING: _tell_failing,
    DisplayState.COMPENSATING: _tell_compensating,
    DisplayState.RETRIES_EXHAUSTED: _tell_exhausted,
    DisplayState.OVERDUE: _tell_overdue,
    DisplayState.RUNNING: _tell_running,
    DisplayState.OUTCOME_UNKNOWN: _tell_unknown,
    DisplayState.WAITING_FOR_RETRY: _tell_waiting,
    DisplayState.WAITING_FOR_ANSWER: _tell_answer,
    DisplayState.PENDING: _tell_pending,
    DisplayState.COMPLETED: _tell_completed,
    DisplayState.COMPENSATED: _tell_compensated,
    DisplayState.ABANDONED: _tell_abandoned,
}


def _list_reasons(facts: _Facts, state: DisplayState) -> Iterator[str]:
    if facts.saga.cause:
        yield _tell_cause(facts)
    if facts.saga.abort_request:
        actor = f" by {facts.saga.abort_actor}" if facts.saga.abort_actor else ""
        yield f"It was asked to turn back ({facts.saga.abort_request}{actor}); that is not decided yet."
    is_open = SagaState(facts.saga.state).is_open
    for step in facts.steps:
        if is_open and step.last_error and (step.hold or step.due_at is not None):
            yield f"{step.name}: {show_error(step.last_error, with_errors=facts.with_errors)}"
    if state is not DisplayState.OVERDUE and is_overdue(facts.saga, facts.now):
        yield "It is past its deadline, too."
    if Attention.LATE_EFFECT.value in facts.saga.attention:
        yield "An effect showed after it had been compensated, so it compensates again."
    elif late := [step.name for step in facts.steps if step.epoch]:
        yield f"An answer of {', '.join(late)} came after its compensation had begun, so it was compensated again."
    if assumed := [step.name for step in facts.steps if step.is_assumed and step.state != StepState.SKIPPED]:
        yield f"A person's word decided {', '.join(assumed)}; the history says whose, and on what evidence."


def _tell_cause(facts: _Facts) -> str:
    """Return what made the saga turn back; every reader sees an operator's reason, but not every reader error texts."""
    cause = facts.saga.cause or {}
    kind, step = str(cause.get("kind", "")), str(cause.get("step", ""))
    if kind in ("operator", "cancel"):
        verb = "forced it back" if kind == "operator" else "cancelled it"
        return f"{cause.get('actor') or 'Somebody'} {verb}: {cause.get('reason', '')}"
    if kind == "deadline":
        return "It turned back because its deadline passed."
    error = f"{cause.get('error_class', '')}: {cause.get('message', '')}"
    verb = "refused" if kind == "refused" else "spent its attempts"
    return f"It turned back because {step} {verb}: {show_error(error, with_errors=facts.with_errors)}"


def _list_advice(facts: _Facts, state: DisplayState) -> Iterator[str]:
    if not SagaState(facts.saga.state).is_open:
        if state is DisplayState.ABANDONED and facts.saga.effects_left:
            yield "Clean up by hand what was left behind; the step keys say under which key the participants know it."
        return
    holds = [reason for reason in reasons_of(facts.saga, facts.steps) if reason in HOLD_ADVICE]
    yield from (HOLD_ADVICE[hold] for hold in holds)
    if state in STATE_ADVICE:
        yield STATE_ADVICE[state]
    due_at = facts.saga.due_at
    if not holds and due_at is not None and facts.now - due_at > SLOW_AFTER:
        waited = describe_span(facts.now - due_at)
        yield f"It has been due for {waited} and nobody came: look whether a worker serves queue {facts.saga.queue}."


HOLD_ADVICE: Mapping[str, str] = {
    Hold.PAUSED.value: "Resume it when the reason for the pause is gone.",
    Hold.OUTCOME_UNKNOWN.value: (
        "Ask the participant what became of the step key. If it can be asked again, retry; if you know, mark the step"
        " as succeeded or refused, with the evidence."
    ),
    Hold.COMPENSATION_REFUSED.value: (
        "The participant will not undo it. Settle it there by hand and mark the step as compensated, or remove the"
        " obstacle and retry."
    ),
    Hold.CONTRACT_VIOLATION.value: (
        "A participant broke its promise: it refused what it must not refuse, or had closed the step key. Settle it"
        " there, then skip the step if its work is done by other means, mark what is true, or retry."
    ),
    Hold.DEFINITION_MISSING.value: (
        "Deploy the code that has this version of the definition; the saga goes on by itself. Abandon it only if that"
        " will never happen."
    ),
    Hold.MISCONFIGURED.value: "Mend the configuration named in the error, then retry.",
}
STATE_ADVICE: Mapping[DisplayState, str] = {
    DisplayState.COMPENSATION_FAILING: (
        "Find out from the error what keeps the participant from undoing it, mend that, then retry. If it is undone"
        " already, mark the step as compensated, with the evidence."
    ),
    DisplayState.RETRIES_EXHAUSTED: "Find out from the error what is in the way, mend it, then retry.",
    DisplayState.OVERDUE: "Look at the step it is at; retry if it waits for something that is mended by now.",
    DisplayState.OUTCOME_UNKNOWN: "Nothing to do: it is asked again by itself until the answer is known.",
    DisplayState.WAITING_FOR_RETRY: "Nothing to do: it is tried again by itself. Retry if the cause is mended.",
    DisplayState.WAITING_FOR_ANSWER: "Nothing to do: it is asked again by itself.",
}
