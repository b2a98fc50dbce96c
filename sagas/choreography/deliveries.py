"""Events of one saga in outboxes and inboxes: who sent each, when, and what became of it with every consumer."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.db import connections
from django.db.models import Model

from .. import clock
from ..conf import get_settings
from ..events import catalogue
from ..events.declaration import find_type
from ..models import InboxState, Intent, OutboxState, Saga, TrackedEvent

RowT = TypeVar("RowT", bound=Model)
MOST = 200  # rows of one saga in each outbox and inbox; a checkout has about twenty
MAX_DATA_CHARS = 20_000  # longer data is not read for a list of events

SELECT = """
(
    SELECT 'outbox', participant, source, event_id::text, type, coalesce(sequence::text, ''), causation_id, state,
        recorded_at, sent_at, NULL::timestamptz, attempts, resends, '', error, version, {data}
    FROM sagas_outboxevent
    WHERE correlation_id = %(saga)s OR (key = %(key)s AND type = ANY(%(types)s::varchar[]))
    ORDER BY id LIMIT %(most)s
) UNION ALL (
    SELECT 'inbox', consumer, source, event_id, type, sequence, causation_id, state,
        recorded_at, received_at, handled_at, attempts, duplicates, error_class, error, version, {data}
    FROM sagas_inboxevent
    WHERE correlation_id = %(saga)s OR (key = %(key)s AND type = ANY(%(types)s::varchar[]))
    ORDER BY id LIMIT %(most)s
) UNION ALL (
    SELECT 'consumer', consumer, '', '', '', '', '', '', NULL, max(seen_at), NULL, 0, 0, '', '', 0, NULL
    FROM sagas_eventconsumer GROUP BY consumer
) UNION ALL (
    SELECT 'intent', participant, '', '', '', '', '', '', NULL, clock_timestamp(), NULL, 0, 0, '', '', 0,
        to_jsonb(intent)::text
    FROM sagas_intent AS intent
    WHERE participant = ANY(%(participants)s::varchar[])
        AND (correlation_id = %(saga)s OR (correlation_id = '' AND key = %(key)s))
    ORDER BY created_at LIMIT %(most)s
){facts}
"""
FACTS = """ UNION ALL (
    SELECT 'fact', '', '', '', '', '', '', '', NULL, NULL, NULL, 0, 0, '', '', 0, to_jsonb(fact)::text
    FROM sagas_trackedevent AS fact WHERE saga_id = %(saga)s::uuid ORDER BY id
)"""
DATA = f"CASE WHEN length(data::text) <= {MAX_DATA_CHARS} THEN data::text END"
NO_DATA = "NULL::text"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Row of an event in its sender's outbox, or in the inbox of one consumer."""

    participant: str
    """Sender of an outbox, consumer of an inbox."""
    source: str
    event_id: str
    type: str
    sequence: str
    causation_id: str
    state: str
    recorded_at: datetime | None
    """When it was written, by the sender's clock."""
    at: datetime | None
    """When the broker confirmed it, or when it first arrived."""
    handled_at: datetime | None
    attempts: int
    """Sendings or runs that failed."""
    repeats: int
    """How often it was sent again, or arrived again."""
    error_class: str
    error: str
    version: int
    data: str | None
    """JSON text; None if it was not asked for, or is too long."""


@dataclass(frozen=True, kw_only=True)
class Deliveries:
    """What one database knows of a saga's events."""

    sent: tuple[Entry, ...]
    received: tuple[Entry, ...]
    seen_at: dict[str, datetime]
    """When each consumer was last seen."""
    intents: tuple[tuple[Intent, datetime], ...]
    """External calls of its participants, the oldest first, each with the time at which it was read."""
    facts: tuple[TrackedEvent, ...]
    """What the tracker recorded, in order; the engine's database alone has it."""


@dataclass(frozen=True, kw_only=True)
class SagaEvent:
    """One event of a saga."""

    source: str
    id: str
    type: str
    sender: str
    sequence: str
    causation_id: str
    sent: Entry | None
    """Its row in the outbox; None for events that were written elsewhere."""
    received: tuple[Entry, ...]
    """Its rows in the inboxes, by consumer."""
    fact: TrackedEvent | None
    """What the tracker recorded of it."""

    @property
    def written_at(self) -> datetime | None:
        """When it was written, as far as that is known."""
        known = (self.sent, *self.received, self.fact)
        return next((one.recorded_at for one in known if one is not None and one.recorded_at), None)

    @property
    def relayed_at(self) -> datetime | None:
        """When the broker confirmed it."""
        return self.sent.at if self.sent is not None and self.sent.state == OutboxState.SENT else None

    @property
    def first_at(self) -> datetime:
        """When it is first known of."""
        arrivals = [entry.at for entry in self.received if entry.at]
        found = self.written_at or min(arrivals, default=None) or (self.fact and self.fact.tracked_at)
        assert found  # noqa: S101 - an event is known by a row, and each kind of row has a time
        return found

    def find_with_data(self) -> Entry | None:
        """Return a row whose data were read, or None."""
        return next((one for one in (self.sent, *self.received) if one is not None and one.data), None)

    def find_receipt(self, consumer: str) -> Entry | None:
        """Return its row in a consumer's inbox, or None."""
        return next((entry for entry in self.received if entry.participant == consumer), None)


def read_deliveries(
    alias: str, saga: Saga, types: Sequence[str], participants: Sequence[str], *, with_data: bool
) -> Deliveries:
    """Return what a database knows of a saga's events and external calls, in one query.

    ``types``: the events of its definition, which belong to it by key alone. ``participants``: those whose calls are
    read.
    Raises: database errors.
    """
    values: dict[str, Any] = {
        "saga": str(saga.pk), "key": str(saga.input.get("key", "")), "types": list(types), "most": MOST,
        "participants": list(participants),
    }  # fmt: skip
    facts = FACTS if alias == get_settings().database else ""
    with connections[alias].cursor() as cursor:
        cursor.execute(SELECT.format(data=DATA if with_data else NO_DATA, facts=facts), values)
        rows = cursor.fetchall()
    return Deliveries(
        sent=tuple(_read_entry(row) for row in rows if row[0] == "outbox"),
        received=tuple(_read_entry(row) for row in rows if row[0] == "inbox"),
        seen_at={row[1]: row[9] for row in rows if row[0] == "consumer"},
        intents=tuple((_build(Intent, alias, row[-1]), clock.shifted(row[9])) for row in rows if row[0] == "intent"),
        facts=tuple(_build(TrackedEvent, alias, row[-1]) for row in rows if row[0] == "fact"),
    )


def _build(model: type[RowT], alias: str, text: str) -> RowT:
    """Return a row of a table from its form in JSON."""
    values, fields = json.loads(text), model._meta.concrete_fields
    return model.from_db(
        alias, [field.attname for field in fields], [field.to_python(values[field.column]) for field in fields]
    )


def join_events(found: Iterable[Deliveries]) -> list[SagaEvent]:
    """Return the events that any database or the tracker knows, the oldest first."""
    found = list(found)
    sent = {(entry.source, entry.event_id): entry for one in found for entry in one.sent}
    received: dict[tuple[str, str], list[Entry]] = {}
    for entry in (entry for one in found for entry in one.received):
        received.setdefault((entry.source, entry.event_id), []).append(entry)
    recorded = {(fact.source, fact.event_id): fact for one in found for fact in one.facts}
    places = dict.fromkeys([*sent, *received, *recorded])
    events = [_join(place, sent.get(place), received.get(place, []), recorded.get(place)) for place in places]
    return sorted(events, key=lambda event: event.first_at)


def _join(place: tuple[str, str], sent: Entry | None, received: list[Entry], fact: TrackedEvent | None) -> SagaEvent:
    first: Any = next(one for one in (sent, *received, fact) if one is not None)
    declared = find_type(first.type)
    return SagaEvent(
        source=place[0],
        id=place[1],
        type=first.type,
        sender=catalogue.sender_of(declared) if declared is not None else sent.participant if sent is not None else "",
        sequence=first.sequence.lstrip("0") if isinstance(first, Entry) else "",
        causation_id=first.causation_id,
        sent=sent,
        received=tuple(sorted(received, key=lambda entry: entry.participant)),
        fact=fact,
    )


def _read_entry(row: tuple[Any, ...]) -> Entry:
    names = (
        "participant", "source", "event_id", "type", "sequence", "causation_id", "state", "recorded_at", "at",
        "handled_at", "attempts", "repeats", "error_class", "error", "version", "data",
    )  # fmt: skip
    return Entry(**dict(zip(names, row[1:], strict=True)))


def list_discarded(found: Iterable[Deliveries]) -> set[tuple[str, str]]:
    """Return participants and ids of the events that were discarded there."""
    entries = (entry for one in found for entry in one.received if entry.state == InboxState.DISCARDED)
    return {(entry.participant, entry.event_id) for entry in entries}
