"""Sentences about what participants owe in a choreographed saga, from its row alone."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ...core.states import Attention, SagaState, StepState
from ...models import Saga, SagaStep
from .badges import Badge, Tone
from .times import describe_span, describe_time

OWED = Badge(word="owed", icon="hourglass", tone=Tone.WAITING)
LATE = Badge(word="late", icon="clock", tone=Tone.URGENT)
NOT_DUE = Badge(word="not due", icon="circle", tone=Tone.QUIET)


def describe_debts(saga: Saga, now: datetime) -> str:
    """Return what is owed, by whom, since when and for how long it may be; a lagging tracker accuses nobody."""
    text = "; ".join(describe_debt(debt, now) for debt in saga.owed)
    if Attention.TRACKER_LAGGING in saga.attention:
        return f"The tracker is behind, so what it has not recorded may have been sent: {text}."
    return f"{text}." if text else "Nothing is owed, and nothing has been decided yet."


def describe_debt(debt: dict[str, Any], now: datetime) -> str:
    """Return who owes what: *inventory owes StockReserved or StockFailed since 17:32:46 (3 min of 5 min)*."""
    since, due_at = _read_times(debt)
    spans = f"{describe_span(now - since)} of {describe_span(due_at - since)}"
    sent = "" if debt["cause"] else f"; {debt['causes'][-1]} is not recorded yet"
    return f"{debt['by']} owes {' or '.join(debt['types'])} since {describe_time(since)} ({spans}{sent})"


def list_waits_of(saga: Saga, step: str, now: datetime) -> Iterator[str]:
    """Yield for how long the events of a step have been owed: *3 min of 5 min*."""
    for since, due_at in (_read_times(debt) for debt in saga.owed if debt["step"] == step):
        yield f"{describe_span(now - since)} of {describe_span(due_at - since)}"


def badge_of_expected(step: SagaStep, saga: Saga, now: datetime) -> Badge | None:
    """Return the badge of a step that owes an event, or does not owe one yet; None for any other state."""
    debts = [debt for debt in saga.owed if debt["step"] == step.name]
    if any(_read_times(debt)[1] <= now for debt in debts):
        return LATE
    if debts:
        return OWED
    return NOT_DUE if step.state == StepState.PENDING and SagaState(saga.state).is_open else None


def _read_times(debt: dict[str, Any]) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(debt["since"]), datetime.fromisoformat(debt["due_at"])
