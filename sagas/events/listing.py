"""List of events of all databases, newest first, each with its states in its sender's outbox and all inboxes.

An event is listed once, where its outbox has it. Inboxes add what no outbox here has: events of foreign services, and
what was parked. Under a state of an inbox, the rows of inboxes are listed instead, so an event comes once for each
consumer in that state that is on another page.

A page continues where the one before ended in each outbox and inbox (keyset): rows that arrive meanwhile move nothing.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import CharField, F, QuerySet, Value
from django.db.models.functions import Cast

from ..models import InboxEvent, InboxState, OutboxEvent, OutboxState
from . import catalogue
from .asking import ask_each
from .cloudevents import read_own_id
from .declaration import list_types

OUTBOX_STATES, INBOX_STATES = frozenset(OutboxState), frozenset(InboxState)
STATES = tuple(sorted({state.value for state in (*InboxState, *OutboxState)}))
MAX_LIMIT, DEFAULT_LIMIT = 1_000, 50
PLACE = re.compile(r"[0-9]{1,2}\.[0-9]{1,18}\.[0-9]{1,18}(?:~[0-9]{1,2}\.[0-9]{1,18}\.[0-9]{1,18}){0,99}")
COLUMNS = ("id", "at", "text_id", "source", "type", "key", "correlation_id", "is_inbox")

Place = Mapping[int, tuple[int, int]]
"""By the position of a database among the databases of events: the last listed ids of its outbox and its inbox."""
Row = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class EventFilter:
    """Which events are listed; empty values choose all."""

    key: str = ""
    type: str = ""
    state: str = ""
    """A state of an outbox or of an inbox."""
    participant: str = ""
    """Sender or consumer; with a state, the one whose outbox or inbox has it."""
    event_id: str = ""
    correlation_id: str = ""

    @property
    def is_narrow(self) -> bool:
        """Whether an index finds the few rows that can match."""
        return bool(self.key or self.event_id or self.correlation_id)


@dataclass(kw_only=True)
class ListedEvent:
    """One event."""

    id: str
    source: str
    type: str
    key: str
    correlation_id: str
    at: datetime
    """When it was written; for a foreign event, when it first arrived."""
    sequence: int | None = None
    outbox: str = ""
    """State in the outbox; empty for foreign events, and for those of participants that do not run here."""
    inboxes: dict[str, str] = field(default_factory=dict)
    """State by consumer."""
    errors: dict[str, str] = field(default_factory=dict)
    """Last error by consumer; by the sender's name for the outbox."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class EventPage:
    """Page of the list."""

    events: list[ListedEvent]
    next_place: str
    """Where the next page begins; empty at the end."""
    unreachable: dict[str, str]
    """Reason by the alias of a database that did not answer."""


def list_events(wanted: EventFilter, limit: int = DEFAULT_LIMIT, *, place: str = "") -> EventPage:
    """Return a page of events. ``place``: ``EventPage.next_place`` of the page before."""
    aliases = catalogue.event_databases()
    start = read_place(place) or {}
    before = {alias: start.get(number, (0, 0)) for number, alias in enumerate(aliases)}
    answers = ask_each(aliases, lambda alias: read_rows(alias, wanted, before[alias], limit + 1))
    streams = {
        (alias, is_inbox): [row for row in rows if row[-1] is is_inbox]
        for alias, rows in answers.found.items()
        for is_inbox in (False, True)
    }
    cut = {name for name, rows in streams.items() if len(rows) > limit}
    events, reached = _merge(streams, cut, limit)
    unreachable = {**answers.unreachable, **_add_states(events, answers.found)}
    after = {
        number: (reached.get((alias, False), before[alias][0]), reached.get((alias, True), before[alias][1]))
        for number, alias in enumerate(aliases)
    }
    return EventPage(
        events=events,
        next_place=_write_place(after) if cut or any(streams.values()) else "",
        unreachable=unreachable,
    )


def read_place(text: str) -> Place | None:
    """Return a place; None when the text is none."""
    if not PLACE.fullmatch(text):
        return None
    parts = [part.split(".") for part in text.split("~")]
    return {int(number): (int(outbox), int(inbox)) for number, outbox, inbox in parts}


def _write_place(place: Place) -> str:
    return "~".join(f"{number}.{outbox}.{inbox}" for number, (outbox, inbox) in place.items())


def read_rows(alias: str, wanted: EventFilter, before: tuple[int, int], limit: int) -> list[Row]:
    """Return the newest matching rows of one database, in one statement: at most ``limit`` of outbox and inbox each.

    Raises: database errors.
    """
    branches = [*_list_outbox(alias, wanted, before[0]), *_list_inbox(alias, wanted, before[1])]
    parts = [branch.order_by("-id").values_list(*COLUMNS)[:limit] for branch in branches]
    if not parts:
        return []
    rows = sorted(set(parts[0].union(*parts[1:], all=True) if parts[1:] else parts[0]), reverse=True)
    return [row for kind in (False, True) for row in [row for row in rows if row[-1] is kind][:limit]]


def _list_outbox(alias: str, wanted: EventFilter, before: int) -> Iterator[QuerySet[Any]]:
    if wanted.state and wanted.state not in OUTBOX_STATES:
        return
    rows = OutboxEvent.objects.using(alias).annotate(
        at=F("recorded_at"), text_id=Cast("event_id", CharField()), is_inbox=Value(value=False)
    )
    if wanted.event_id:
        own_id = read_own_id(wanted.event_id)
        if own_id is None:
            return
        rows = rows.filter(event_id=own_id)
    types = _types_of(wanted, sent=True, handled=not wanted.state)
    if wanted.state and wanted.participant:
        rows = rows.filter(participant=wanted.participant)
    yield from _branch(_narrow(rows, wanted, before), types, is_narrow=wanted.is_narrow)


def _list_inbox(alias: str, wanted: EventFilter, before: int) -> Iterator[QuerySet[Any]]:
    if wanted.state and wanted.state not in INBOX_STATES:
        return
    rows = InboxEvent.objects.using(alias).annotate(
        at=F("received_at"), text_id=F("event_id"), is_inbox=Value(value=True)
    )
    if wanted.event_id:
        rows = rows.filter(event_id=wanted.event_id)
    rows = _narrow(rows, wanted, before)
    if wanted.state:
        if wanted.participant:
            rows = rows.filter(consumer=wanted.participant)
        # Few rows are in another state; those that are handled are found by their types.
        is_rare = wanted.state != InboxState.HANDLED
        types = [wanted.type] if wanted.type else None
        types = types if is_rare else _types_of(wanted, sent=False, handled=True)
        yield from _branch(rows, types, is_narrow=wanted.is_narrow or is_rare)
        return
    here = set(catalogue.list_local_senders())
    foreign = {declared.name for declared in list_types() if catalogue.sender_of(declared) not in here}
    types = _types_of(wanted, sent=True, handled=True)
    foreign = foreign if types is None else foreign & set(types)
    yield from _branch(rows, sorted(foreign), is_narrow=wanted.is_narrow)
    parked = rows.filter(state=InboxState.PARKED.value, **({"type": wanted.type} if wanted.type else {}))
    yield parked.filter(consumer=wanted.participant) if wanted.participant else parked


def _narrow(rows: QuerySet[Any], wanted: EventFilter, before: int) -> QuerySet[Any]:
    given = {"key": wanted.key, "correlation_id": wanted.correlation_id, "state": wanted.state}
    rows = rows.filter(**{name: value for name, value in given.items() if value})
    return rows.filter(id__lt=before) if before else rows


def _branch(rows: QuerySet[Any], types: Sequence[str] | None, *, is_narrow: bool) -> Iterator[QuerySet[Any]]:
    """Yield one query, or one for each type, so that an index has the rows of each in the order of the list."""
    if types is None:
        yield rows
    elif is_narrow:
        yield rows.filter(type__in=types)
    else:
        yield from (rows.filter(type=name) for name in types)


def _types_of(wanted: EventFilter, *, sent: bool, handled: bool) -> list[str] | None:
    """Return the types that a filter leaves; None: all. Those of a participant are what it sends or handles."""
    if not wanted.participant:
        return [wanted.type] if wanted.type else None
    names = [
        declared.name
        for declared in list_types()
        if (sent and catalogue.sender_of(declared) == wanted.participant)
        or (handled and wanted.participant in catalogue.consumers_of(declared))
    ]
    return [name for name in names if wanted.type in ("", name)]


def _merge(
    streams: dict[tuple[str, bool], list[Row]], cut: Collection[tuple[str, bool]], limit: int
) -> tuple[list[ListedEvent], dict[tuple[str, bool], int]]:
    """Take the newest events of all streams; what is left stays in the streams.

    Ends where a stream that was ``cut`` is used up: its next row may be newer than those of the others.
    Returns: the events, and the last id that was taken from each stream.
    """
    found: dict[tuple[str, str], ListedEvent] = {}
    reached: dict[tuple[str, bool], int] = {}
    while left := {name: rows for name, rows in streams.items() if rows}:
        name = max(left, key=lambda one: left[one][0][1])
        row_id, at, event_id, source, event_type, key, correlation_id, _ = left[name][0]
        if (source, event_id) not in found:
            if len(found) == limit:
                break
            found[source, event_id] = ListedEvent(
                id=event_id, source=source, type=event_type, key=key, correlation_id=correlation_id, at=at
            )
        reached[name] = row_id
        streams[name].pop(0)
        if not streams[name] and name in cut:
            break
    return list(found.values()), reached


def _add_states(events: list[ListedEvent], aliases: Iterable[str]) -> dict[str, str]:
    """Add what all outboxes and inboxes know of these events.

    Returns: reason by the alias of a database that did not answer.
    """
    by_place = {(event.source, event.id): event for event in events}
    if not events:
        return {}
    answers = ask_each(aliases, lambda alias: _read_states(alias, [event.id for event in events]))
    rows = [row for alias in answers.found for row in answers.found[alias]]
    for event_id, source, who, state, error, sequence, is_inbox in sorted(rows, key=lambda row: row[2]):
        if (event := by_place.get((source, event_id))) is None:
            continue
        if is_inbox:
            event.inboxes[who] = state
        else:
            event.outbox = state
            event.sequence = sequence
        if error and state not in (InboxState.HANDLED, OutboxState.SENT):
            event.errors[who] = error
    return answers.unreachable


def _read_states(alias: str, ids: list[str]) -> list[Row]:
    """Return states of events in one database, in one statement."""
    own = [found for event_id in ids if (found := read_own_id(event_id)) is not None]
    sent = OutboxEvent.objects.using(alias).filter(event_id__in=own)
    seen = InboxEvent.objects.using(alias).filter(event_id__in=ids)
    names = ("text_id", "source", "who", "state", "error", "number", "is_inbox")
    outbox = sent.annotate(
        text_id=Cast("event_id", CharField()), who=F("participant"), number=F("sequence"), is_inbox=Value(value=False)
    )
    inbox = seen.annotate(
        text_id=F("event_id"), who=F("consumer"), number=Cast(Value(None), OutboxEvent._meta.get_field("sequence")),
        is_inbox=Value(value=True),
    )  # fmt: skip
    return list(outbox.order_by().values_list(*names).union(inbox.order_by().values_list(*names), all=True))
