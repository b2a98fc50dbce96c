"""What each participant owes, cannot handle and has not sent: a statement for each database, every count bounded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from django.db import connections

from ...conf import get_settings
from ...events import catalogue
from ...events.asking import ask_each
from ...events.heartbeat import SEEN_WITHIN

MOST = 10_000  # rows of each kind in each database

COUNT = """
    SELECT 'unsent', participant, count(*), min(recorded_at) FROM (
        SELECT participant, recorded_at FROM sagas_outboxevent WHERE state = 'unsent' ORDER BY due_at, id LIMIT %(most)s
    ) AS unsent GROUP BY participant
    UNION ALL
    SELECT 'dead', consumer, count(*), min(received_at) FROM (
        SELECT consumer, received_at FROM sagas_inboxevent
        WHERE state IN ('dead', 'parked') AND state <> 'handled' ORDER BY state, id LIMIT %(most)s
    ) AS dead GROUP BY consumer
    UNION ALL
    SELECT 'lag', consumer, max(lag), max(seen_at) FROM sagas_eventconsumer
    WHERE seen_at >= clock_timestamp() - %(seen)s::interval GROUP BY consumer
"""
# Open sagas that wait have a time of their next sweep, or attention once that was told; each has a partial index.
OWED = """
    UNION ALL
    SELECT CASE WHEN (debt ->> 'due_at')::timestamptz <= %(now)s::timestamptz THEN 'late' ELSE 'owes' END,
        debt ->> 'by', count(*), min((debt ->> 'since')::timestamptz)
    FROM (
        (SELECT owed FROM sagas_saga WHERE owed_due_at IS NOT NULL ORDER BY owed_due_at LIMIT %(most)s) UNION ALL (
            SELECT owed FROM (
                SELECT owed, owed_due_at, closed_at FROM sagas_saga
                WHERE attention <> '[]' ORDER BY created_at DESC LIMIT %(most)s
            ) AS told WHERE owed_due_at IS NULL AND closed_at IS NULL
        )
    ) AS waiting CROSS JOIN LATERAL jsonb_array_elements(owed) AS debt GROUP BY 1, 2
"""


@dataclass(frozen=True, kw_only=True)
class ParticipantDebts:
    """Events of one participant."""

    participant: str
    owes: int = 0
    """Events that it owes, within their limit."""
    late: int = 0
    """Events that it owes for longer than their limit."""
    dead: int = 0
    """Events that it could not handle, or that were parked."""
    unsent: int = 0
    oldest_unsent_at: datetime | None = None
    lag: int | None = None
    """Events that it has not received; None: unknown."""


@dataclass(frozen=True, kw_only=True)
class EventDebts:
    """Events of all participants."""

    rows: tuple[ParticipantDebts, ...]
    """Every participant that runs here or owes something, by name."""
    unreachable: tuple[str, ...]
    """Databases that did not answer."""


def read_event_debts(now: datetime) -> EventDebts:
    """Return what all databases of events answer within a second. ``now``: by the engine's clock."""
    answers = ask_each(catalogue.event_databases(), partial(_read, now))
    labels = {*catalogue.list_local_consumers(), *catalogue.list_local_senders()}
    rows = {label: ParticipantDebts(participant=label) for label in labels}
    for kind, label, count, at in (row for one in answers.found.values() for row in one):
        known = rows.get(label, ParticipantDebts(participant=label))
        facts: Mapping[str, Any] = {kind: count, **({"oldest_unsent_at": at} if kind == "unsent" else {})}
        rows[label] = replace(known, **facts)
    return EventDebts(rows=tuple(rows[label] for label in sorted(rows)), unreachable=tuple(answers.unreachable))


def _read(now: datetime, alias: str) -> list[tuple[str, str, int | None, datetime]]:
    values: dict[str, Any] = {"most": MOST, "seen": SEEN_WITHIN, "now": now}
    with connections[alias].cursor() as cursor:
        cursor.execute(COUNT + (OWED if alias == get_settings().database else ""), values)
        return list(cursor.fetchall())
