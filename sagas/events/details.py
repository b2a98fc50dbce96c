"""One event in full: its row in the outbox, those in inboxes, what operators did to it, and what it caused."""

from dataclasses import dataclass, field
from datetime import datetime

from ..models import EventOperation, InboxEvent, InboxState, OutboxEvent
from . import catalogue
from .asking import ask_each
from .cloudevents import read_own_id
from .operations import EventNotFound

MAX_CAUSED, MAX_OPERATIONS, MAX_SENDERS, MAX_BEHIND = 100, 100, 20, 1_000


@dataclass(frozen=True, kw_only=True)
class EventDetails:
    """Everything that is known of one event."""

    id: str
    source: str
    outbox: OutboxEvent | None
    """None for an event of a foreign service, or of a participant that does not run here."""
    inboxes: list[InboxEvent]
    """By consumer."""
    operations: list[EventOperation]
    """Newest first."""
    caused: list[OutboxEvent]
    """Events that its handlers published, oldest first; at most MAX_CAUSED of each database."""
    unreachable: dict[str, str]
    """Reason by the alias of a database that did not answer."""

    @property
    def row(self) -> OutboxEvent | InboxEvent:
        """The row that says what the event is about."""
        return self.outbox or self.inboxes[0]

    @property
    def recorded_at(self) -> datetime | None:
        """When it was written, by the sender's clock; None if a foreign sender did not say so."""
        return self.row.recorded_at


@dataclass(kw_only=True)
class _Rows:
    """Rows of one database."""

    outbox: list[OutboxEvent] = field(default_factory=list)
    inboxes: list[InboxEvent] = field(default_factory=list)
    operations: list[EventOperation] = field(default_factory=list)


def read_details(event_id: str, source: str = "") -> EventDetails:
    """Return an event. ``source``: of which sender, where two used the same id; by default the one with an outbox here.

    Raises: EventNotFound.
    """
    answers = ask_each(catalogue.event_databases(), lambda alias: _read(alias, event_id))
    parts = answers.found.values()
    sent = [row for part in parts for row in part.outbox]
    inboxes = sorted((row for part in parts for row in part.inboxes), key=lambda row: (row.consumer, row.pk))
    own = [row for row in sent if str(row.event_id) == event_id]
    sources = [*(row.source for row in own), *(row.source for row in inboxes)]
    chosen = source or next(iter(sources), "")
    if chosen not in sources:
        away = f" These databases did not answer: {', '.join(answers.unreachable)}." if answers.unreachable else ""
        raise EventNotFound(f"No outbox or inbox here has an event {event_id!r}.{away} The list of events has all.")
    operations = [row for part in parts for row in part.operations if row.source == chosen]
    return EventDetails(
        id=event_id,
        source=chosen,
        outbox=next((row for row in own if row.source == chosen), None),
        inboxes=[row for row in inboxes if row.source == chosen],
        operations=sorted(operations, key=lambda row: row.at, reverse=True),
        caused=sorted((row for row in sent if row.causation_id == event_id), key=lambda row: row.recorded_at),
        unreachable=answers.unreachable,
    )


def _read(alias: str, event_id: str) -> _Rows:
    own_id = read_own_id(event_id)
    seen = InboxEvent.objects.using(alias).filter(event_id=event_id)
    rows = OutboxEvent.objects.using(alias).order_by()
    # An event is caused where it is handled, so the inbox there knows its correlation, which has an index.
    caused = rows.filter(causation_id=event_id, correlation_id__in=seen.values("correlation_id"))
    sent = caused[:MAX_CAUSED] if own_id is None else rows.filter(event_id=own_id).union(caused[:MAX_CAUSED], all=True)
    return _Rows(
        outbox=list(sent),
        inboxes=list(seen.order_by("id")[:MAX_SENDERS]),
        operations=list(EventOperation.objects.using(alias).filter(event_id=event_id).order_by("-id")[:MAX_OPERATIONS]),
    )


def count_behind(consumer: str, key: str) -> int:
    """Return how many events of a key a consumer holds back, at most MAX_BEHIND.

    Raises: ImproperlyConfigured for a consumer that is no app; database errors.
    """
    rows = InboxEvent.objects.using(catalogue.database_of(consumer))
    return rows.filter(consumer=consumer, key=key, state=InboxState.HELD.value).order_by()[:MAX_BEHIND].count()
