"""Overview of one database's events: what waits, what failed, and who consumes. Every count is bounded.

Metrics, doctor, alerts and console read the same numbers here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connections

from ..clock import read_now
from ..models import InboxState
from ..transactions import own_transaction
from . import catalogue
from .heartbeat import SEEN_WITHIN
from .settings import get_event_settings

MAX_COUNTED = 10_000
RECENTLY = timedelta(minutes=5)
STATEMENT_TIMEOUT = "1s"
# States of an inbox that need time or an operator, and the index that finds each without reading handled rows.
OPEN_STATES = tuple(state for state in InboxState if state not in (InboxState.HANDLED, InboxState.DISCARDED))

# One statement for all participants, whose parts each read one index.
COUNT_ALL = """
    SELECT 'unsent', who.label, found.* FROM unnest(%(senders)s::text[]) AS who (label) CROSS JOIN LATERAL (
        SELECT count(*), min(recorded_at), max(id) FROM (
            SELECT id, recorded_at FROM sagas_outboxevent WHERE state = 'unsent' AND participant = who.label
            ORDER BY due_at, id LIMIT %(limit)s
        ) AS counted
    ) AS found
    UNION ALL
    SELECT 'parked', who.label, found.* FROM unnest(%(senders)s::text[]) AS who (label) CROSS JOIN LATERAL (
        SELECT count(*), min(recorded_at), max(id) FROM (
            SELECT id, recorded_at FROM sagas_outboxevent WHERE state = 'parked' AND participant = who.label
            ORDER BY id LIMIT %(limit)s
        ) AS counted
    ) AS found
    UNION ALL
    SELECT 'missing', who.label, found.* FROM unnest(%(senders)s::text[]) AS who (label) CROSS JOIN LATERAL (
        SELECT count(*), min(recorded_at), max(id) FROM (
            SELECT id, recorded_at FROM sagas_outboxevent WHERE state = 'sent' AND settled_at IS NULL AND resends > 0
                AND resends >= %(resends)s AND participant = who.label AND sent_at < %(before)s LIMIT %(limit)s
        ) AS counted
    ) AS found
    UNION ALL
    SELECT 'inbox ' || kind.state, who.label, found.*
    FROM unnest(%(consumers)s::text[]) AS who (label) CROSS JOIN unnest(%(states)s::text[]) AS kind (state)
    CROSS JOIN LATERAL (
        SELECT count(*), min(received_at), max(id) FROM (
            SELECT id, received_at FROM sagas_inboxevent WHERE consumer = who.label AND state = kind.state
                AND state <> 'handled' ORDER BY id LIMIT %(limit)s
        ) AS counted
    ) AS found
"""
COUNT_RELAYED = """
    SELECT participant, count(*) FROM (
        SELECT participant, state FROM sagas_outboxevent WHERE recorded_at >= %(since)s
        ORDER BY recorded_at DESC LIMIT %(limit)s
    ) AS lately WHERE state = 'sent' GROUP BY 1
"""
COUNT_HANDLED = """
    SELECT consumer, count(*) FROM (
        SELECT consumer, state FROM sagas_inboxevent WHERE received_at >= %(since)s
        ORDER BY received_at DESC LIMIT %(limit)s
    ) AS lately WHERE state = 'handled' GROUP BY 1
"""
READ_CONSUMERS = """
    SELECT consumer, count(*) FILTER (WHERE seen_at >= %(seen)s), max(seen_at),
        (array_agg(lag ORDER BY lag_at DESC NULLS LAST))[1], max(trouble) FILTER (WHERE seen_at >= %(seen)s)
    FROM sagas_eventconsumer GROUP BY 1
"""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Events of one participant in one state."""

    count: int = 0
    """At most MAX_COUNTED."""
    oldest_age: timedelta = timedelta()
    """How long the oldest has waited; zero if there is none."""
    newest_id: int = 0
    """Row that came last; 0: none."""


@dataclass(frozen=True, kw_only=True)
class SenderOverview:
    """Outbox of one participant."""

    participant: str
    unsent: Group
    parked: Group
    missing: Group
    """Events that a consumer did not have after the last resend."""
    relayed_recently: int


@dataclass(frozen=True, kw_only=True)
class ConsumerOverview:
    """Inbox of one participant, and the processes that fill it."""

    consumer: str
    groups: Mapping[InboxState, Group]
    """By each of OPEN_STATES."""
    handled_recently: int
    processes: int
    """Processes seen lately."""
    seen_at: datetime | None
    lag: int | None
    """Events that it has not received; None: unknown."""
    trouble: str


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Events of the participants of one database that run here."""

    alias: str
    now: datetime
    senders: list[SenderOverview] = field(default_factory=list)
    consumers: list[ConsumerOverview] = field(default_factory=list)


def read_overview(alias: str) -> Overview:
    """Return the overview of one database.

    Raises: database errors; each statement may take a second.
    Tx: opens one of short statements.
    """
    settings = get_event_settings()
    senders = [label for label in catalogue.list_local_senders() if catalogue.database_of(label) == alias]
    consumers = [label for label in catalogue.list_local_consumers() if catalogue.database_of(label) == alias]
    with own_transaction(alias), connections[alias].cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [STATEMENT_TIMEOUT])
        now = read_now(alias)
        values: dict[str, Any] = {
            "since": now - RECENTLY, "limit": MAX_COUNTED, "seen": now - SEEN_WITHIN, "senders": senders,
            "consumers": consumers, "states": [state.value for state in OPEN_STATES], "resends": settings.resends_max,
            "before": now - settings.resend_after * 2**settings.resends_max,
        }  # fmt: skip
        relayed, handled = _read_pairs(cursor, COUNT_RELAYED, values), _read_pairs(cursor, COUNT_HANDLED, values)
        cursor.execute(READ_CONSUMERS, values)
        processes = {row[0]: row[1:] for row in cursor.fetchall()}
        cursor.execute(COUNT_ALL, values)
        counted = {(label, what): _make_group(now, *numbers) for what, label, *numbers in cursor.fetchall()}
    return Overview(
        alias=alias,
        now=now,
        senders=[
            SenderOverview(
                participant=label,
                unsent=counted[label, "unsent"],
                parked=counted[label, "parked"],
                missing=counted[label, "missing"],
                relayed_recently=relayed.get(label, 0),
            )
            for label in senders
        ],
        consumers=[
            _make_consumer(
                label,
                {state: counted[label, f"inbox {state.value}"] for state in OPEN_STATES},
                handled.get(label, 0),
                processes.get(label),
            )
            for label in consumers
        ],
    )


def _make_consumer(
    consumer: str, groups: Mapping[InboxState, Group], handled: int, processes: tuple[Any, ...] | None
) -> ConsumerOverview:
    count, seen_at, lag, trouble = processes or (0, None, None, "")
    return ConsumerOverview(
        consumer=consumer,
        groups=groups,
        handled_recently=handled,
        processes=count,
        seen_at=seen_at,
        lag=lag,
        trouble=trouble or "",
    )


def _make_group(now: datetime, count: int, oldest: datetime | None, newest: int | None) -> Group:
    age = max(now - oldest, timedelta()) if oldest else timedelta()
    return Group(count=count, oldest_age=age, newest_id=newest or 0)


def _read_pairs(cursor: Any, statement: str, values: Mapping[str, Any]) -> dict[str, int]:
    cursor.execute(statement, values)
    return dict(cursor.fetchall())
