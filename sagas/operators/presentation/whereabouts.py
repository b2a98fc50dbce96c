"""Sentences about where the event is that should have made a participant answer, or the answer that it owes."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ...choreography.calls import OpenAnswers
from ...choreography.deliveries import Entry, SagaEvent
from ...events import catalogue
from ...models import InboxState, OutboxState, Saga
from .times import describe_distance, describe_time


def list_whereabouts(saga: Saga, answers: OpenAnswers, now: datetime, *, with_errors: bool) -> Iterator[str]:
    """Yield a sentence for each debt of a saga, and one that names the databases that do not answer."""
    for debt in saga.owed:
        yield _describe(debt, answers, now, with_errors=with_errors)
    if answers.unreachable:
        yield f"Unreachable, so that their events are not shown: database {', '.join(answers.unreachable)}."


def _describe(debt: dict[str, Any], answers: OpenAnswers, now: datetime, *, with_errors: bool) -> str:
    by: str = debt["by"]
    answer = next(filter(None, (answers.find_event(name) for name in debt["types"])), None)
    if answer is not None:
        return _describe_answer(answer, by)
    if not catalogue.is_local(by):
        return f"{by} does not run here, so nothing but its events tells what it does."
    if by in answers.silent:
        return f"The database of {by} does not answer, so it is not known what it did."
    cause = answers.find_event(debt["causes"][-1], debt["cause"])
    if cause is None:
        return f"{debt['causes'][-1]} is in no outbox or inbox of the databases that answer."
    receipt = cause.find_receipt(by)
    if receipt is not None:
        return _describe_receipt(receipt, debt["step"], answers, now, with_errors=with_errors)
    return _describe_on_its_way(cause, by, answers, now)


def _describe_answer(answer: SagaEvent, by: str) -> str:
    if answer.relayed_at is None and answer.sent is not None:
        return f"{by} has answered with {answer.type}; it is {_describe_outbox(answer.sent)}."
    since = answer.relayed_at or answer.first_at
    return f"{answer.type} is in the broker since {describe_time(since)}, and the tracker has not recorded it."


def _describe_outbox(entry: Entry) -> str:
    written = f"since {describe_time(entry.recorded_at)}" if entry.recorded_at else ""
    state = "parked" if entry.state == OutboxState.PARKED else "unsent"
    return f"in the outbox of {entry.participant}, {state} {written}".strip()


def _describe_on_its_way(cause: SagaEvent, by: str, answers: OpenAnswers, now: datetime) -> str:
    if cause.relayed_at is None and cause.sent is not None:
        return f"{cause.type} is {_describe_outbox(cause.sent)}."
    since = describe_time(cause.relayed_at or cause.first_at)
    seen_at = answers.seen_at.get(by)
    seen = f"was last seen {describe_distance(seen_at, now)}" if seen_at else "was never seen"
    return f"{cause.type} is in the broker since {since}, and {by} has not handled it; its consumer {seen}."


def _describe_receipt(receipt: Entry, step: str, answers: OpenAnswers, now: datetime, *, with_errors: bool) -> str:
    by, error = receipt.participant, receipt.error if with_errors else receipt.error_class.rpartition(".")[2]
    if receipt.state == InboxState.HANDLED:
        done = f"{by} handled {receipt.type} at {describe_time(receipt.handled_at or now)}"
        calls = ", ".join(call.row.definition for call in answers.list_open(step))
        return f"{done}; its external call {calls} is not over." if calls else f"{done} and has not answered."
    tries = f"{receipt.attempts} failed run{'' if receipt.attempts == 1 else 's'}"
    return {
        InboxState.RETRYING: f"{by} tries {receipt.type} again after {tries}: {error}",
        InboxState.NOT_YET: f"{by} waits for what {receipt.type} builds on: {error}",
        InboxState.HELD: f"{by} holds {receipt.type} behind an earlier event of its key that failed.",
        InboxState.DEAD: f"{receipt.type} is dead at {by} after {tries}: {error}",
        InboxState.PARKED: f"{receipt.type} is parked at {by}: {error}",
        InboxState.DISCARDED: f"{receipt.type} was discarded at {by}, so it will not answer.",
    }[InboxState(receipt.state)]
