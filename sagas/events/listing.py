"""List of events: each with its state in its sender's outbox and in the inboxes of its consumers, newest first."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Q

from ..models import InboxEvent, InboxState, OutboxEvent, OutboxState
from . import catalogue
from .cloudevents import read_own_id

STATES = tuple(sorted({state.value for state in (*InboxState, *OutboxState)}))
MAX_LIMIT, DEFAULT_LIMIT = 1_000, 50


@dataclass(frozen=True, kw_only=True)
class EventFilter:
    """Which events are listed; empty values choose all."""

    key: str = ""
    type: str = ""
    state: str = ""
    """A state of an outbox or of an inbox."""
    participant: str = ""
    """Sender or consumer."""


@dataclass(kw_only=True)
class ListedEvent:
    """One event."""

    id: str
    source: str
    type: str
    key: str
    sequence: int | None
    at: datetime
    """When it was written; for a foreign event, when it first arrived."""
    outbox: str
    """State in the outbox; empty for foreign events, and for those of participants that do not run here."""
    inboxes: dict[str, str] = field(default_factory=dict)
    """State by consumer."""
    errors: dict[str, str] = field(default_factory=dict)
    """Last error by consumer; by the sender's name for the outbox."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def list_events(wanted: EventFilter, limit: int = DEFAULT_LIMIT) -> list[ListedEvent]:
    """Return the newest events of all databases that fit, with their states everywhere.

    Raises: database errors.
    """
    found: dict[tuple[str, str], ListedEvent] = {}
    aliases = catalogue.event_databases()
    for alias in aliases:
        for row in _select(OutboxEvent, alias, wanted, "participant", OutboxState).order_by("-id")[:limit]:
            found[row.source, str(row.event_id)] = _of_outbox(row)
        for seen in _select(InboxEvent, alias, wanted, "consumer", InboxState).order_by("-id")[:limit]:
            found.setdefault((seen.source, seen.event_id), _of_inbox(seen))
    newest = sorted(found.values(), key=lambda event: event.at, reverse=True)[:limit]
    _add_states(newest, aliases)
    return newest


def _select(model: Any, alias: str, wanted: EventFilter, participant: str, states: Iterable[Any]) -> Any:
    rows = model.objects.using(alias)
    if wanted.state:
        rows = rows.filter(state=wanted.state) if wanted.state in {state.value for state in states} else rows.none()
    given = {"key": wanted.key, "type": wanted.type, participant: wanted.participant}
    return rows.filter(**{name: value for name, value in given.items() if value})


def _add_states(events: list[ListedEvent], aliases: Iterable[str]) -> None:
    """Add what the other outbox and inboxes know of these events."""
    by_place = {(event.source, event.id): event for event in events}
    ids = [event.id for event in events]
    for alias in aliases:
        for seen in InboxEvent.objects.using(alias).filter(event_id__in=ids).order_by("consumer"):
            if (event := by_place.get((seen.source, seen.event_id))) is not None:
                event.inboxes[seen.consumer] = seen.state
                if seen.error and seen.state != InboxState.HANDLED:
                    event.errors[seen.consumer] = seen.error
        own = Q(event_id__in=[event.id for event in events if not event.outbox and read_own_id(event.id)])
        for row in OutboxEvent.objects.using(alias).filter(own):
            if (event := by_place.get((row.source, str(row.event_id)))) is not None:
                event.outbox, event.at, event.sequence = row.state, row.recorded_at, row.sequence


def _of_outbox(row: OutboxEvent) -> ListedEvent:
    errors = {row.participant: row.error} if row.error else {}
    return ListedEvent(
        id=str(row.event_id), source=row.source, type=row.type, key=row.key, sequence=row.sequence, at=row.recorded_at,
        outbox=row.state, errors=errors,
    )  # fmt: skip


def _of_inbox(row: InboxEvent) -> ListedEvent:
    sequence = int(row.sequence) if row.sequence.isascii() and row.sequence.isdigit() else None
    return ListedEvent(
        id=row.event_id, source=row.source, type=row.type, key=row.key, sequence=sequence, at=row.received_at, outbox=""
    )
