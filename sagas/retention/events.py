"""Deletion of old events: outbox, inbox, their keys and counters, and heartbeats of dead processes.

What is unsent, parked, held, dead, not yet handled or awaiting a retry stays, and so does an event that a consumer was
found without. An inbox remembers what it handled until no copy can arrive any more: an outbox can send an event again
for SAGAS['EVENTS']['RETENTION'], and a topic keeps it for TOPIC_RETENTION after that. Operators' actions stay for good.

Transactions are small, oldest rows first, and rows locked by another transaction are passed over.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import router
from django.db.models import Exists, OuterRef, QuerySet

from .. import clock
from ..events.heartbeat import KEEP
from ..events.settings import get_event_settings
from ..models import (
    EventConsumer,
    EventStream,
    InboxEvent,
    InboxKey,
    InboxState,
    OutboxEvent,
    OutboxState,
)
from ..participants.routing import barrier_databases
from ..transactions import own_transaction

BATCH_ROWS = 5_000
FINAL_STATES = (InboxState.HANDLED.value, InboxState.DISCARDED.value)


@dataclass(kw_only=True)
class EventReport:
    """What was deleted of one database, or would be."""

    outbox: int = 0
    inbox: int = 0
    others: int = 0
    """Keys, counters of sources, and heartbeats."""


def event_databases() -> list[str]:
    """Return the aliases that hold events, the engine's first, whether or not events are on."""
    return [alias for alias in barrier_databases() if router.allow_migrate_model(alias, InboxEvent)]


def delete_expired_events(alias: str, *, should_stop: Callable[[], bool]) -> Iterator[EventReport]:
    """Delete what is old in one database.

    Yields: what each batch deleted.
    Raises: database errors.
    Tx: must not be inside one; opens one for each batch.
    """
    for what, rows in _select_expired(alias):
        while not should_stop():
            count, size = _delete_batch(alias, rows)
            if count:
                yield EventReport(**{what: count})
            if size < BATCH_ROWS or not count:
                break


def count_expired_events(alias: str) -> EventReport:
    """Return what ``delete_expired_events`` would delete now, but for keys and counters that it frees itself."""
    report = EventReport()
    for what, rows in _select_expired(alias):
        setattr(report, what, getattr(report, what) + rows.order_by().count())
    return report


def _select_expired(alias: str) -> list[tuple[str, QuerySet[Any]]]:
    """Return the kinds of rows in the order of their deletion, oldest first."""
    settings, now = get_event_settings(), clock.read_now(alias)
    outbox_until = now - settings.retention
    inbox_until = outbox_until - settings.topic_retention
    outbox, inbox = OutboxEvent.objects.using(alias), InboxEvent.objects.using(alias)
    unsettled = inbox.filter(consumer=OuterRef("consumer"), key=OuterRef("key")).exclude(state__in=FINAL_STATES)
    return [
        (
            "outbox",
            outbox.filter(
                state=OutboxState.SENT.value, settled_at__isnull=False, recorded_at__lt=outbox_until
            ).order_by("recorded_at"),
        ),
        ("inbox", inbox.filter(state__in=FINAL_STATES, received_at__lt=inbox_until).order_by("received_at")),
        (
            "others",
            InboxKey.objects.using(alias)
            .filter(~Exists(unsettled), head=None, used_at__lt=inbox_until)
            .order_by("used_at"),
        ),
        (
            "others",
            EventStream.objects.using(alias)
            .filter(~Exists(outbox.filter(source=OuterRef("source"))), used_at__lt=outbox_until)
            .order_by("used_at"),
        ),
        ("others", EventConsumer.objects.using(alias).filter(seen_at__lt=now - KEEP).order_by("seen_at")),
    ]


def _delete_batch(alias: str, rows: QuerySet[Any]) -> tuple[int, int]:
    """Delete a batch.

    Returns: how many rows, and how many were selected.
    """
    with own_transaction(alias):
        ids = list(rows.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True)[:BATCH_ROWS])
        count, _ = rows.order_by().filter(pk__in=ids).delete() if ids else (0, {})
    return count, len(ids)
