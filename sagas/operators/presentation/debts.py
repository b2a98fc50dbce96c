"""Sentences about what participants owe in a choreographed saga, from its row alone."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ...core.states import Attention
from ...models import Saga
from .times import describe_span, describe_time


def describe_debts(saga: Saga, now: datetime) -> str:
    """Return what is owed, by whom, since when and for how long it may be; a lagging tracker accuses nobody."""
    text = "; ".join(describe_debt(debt, now) for debt in saga.owed)
    if Attention.TRACKER_LAGGING in saga.attention:
        return f"The tracker is behind, so what it has not recorded may have been sent: {text}."
    return f"{text}." if text else "Nothing is owed, and nothing has been decided yet."


def describe_debt(debt: dict[str, Any], now: datetime) -> str:
    """Return who owes what: *inventory owes StockReserved or StockFailed since 17:32:46 (3 min of 5 min)*."""
    since, due_at = datetime.fromisoformat(debt["since"]), datetime.fromisoformat(debt["due_at"])
    spans = f"{describe_span(now - since)} of {describe_span(due_at - since)}"
    sent = "" if debt["cause"] else f"; {debt['causes'][-1]} is not recorded yet"
    return f"{debt['by']} owes {' or '.join(debt['types'])} since {describe_time(since)} ({spans}{sent})"


def list_debts_of(saga: Saga, step: str, now: datetime) -> Iterator[str]:
    """Yield what one step waits for."""
    yield from (describe_debt(debt, now) for debt in saga.owed if debt["step"] == step)
