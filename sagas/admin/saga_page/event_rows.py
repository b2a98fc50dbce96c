"""Rows of the table of events of a choreographed saga."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from ...choreography.calls import OpenAnswers
from ...choreography.deliveries import Entry, SagaEvent
from ...events import catalogue
from ...events.catalogue import TRACKER
from ...events.masking import mask_personal
from ...events.settings import get_event_settings
from ...operators.presentation import Badge
from ...operators.presentation.badges import Tone
from ...operators.presentation.event_badges import INBOX_BADGES, NOT_HANDLED, badge_of_event
from ...operators.presentation.times import describe_span
from ...operators.visibility import Visibility
from ..ui.addresses import find_url
from ..ui.excerpt import Folded, fold, fold_error
from ..ui.formatting import Moment, show_moment
from .event_visibility import EventVisibility
from .json_text import JsonText, show_json_text

UNREACHABLE = Badge(word="unreachable", icon="question", tone=Tone.QUIET)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What became of an event with one consumer."""

    consumer: str
    badge: Badge
    after: str
    """How long after it was written it was handled; empty if it was not."""
    note: str
    """Failed runs and repeated arrivals."""
    error: Folded


@dataclass(frozen=True, kw_only=True)
class EventRow:
    """Row of one event."""

    id: str
    url: str
    """Its own page; empty without the permission, and while events are off."""
    type: str
    sender: str
    sequence: str
    badge: Badge
    written: Moment | None
    relayed: str
    """How long after it was written the broker confirmed it; empty if that is not known."""
    cause: str
    """Type of the event that caused it, or the id of an unknown one; empty if it began the flow."""
    cause_id: str
    """Id of that event if it has a row, too."""
    receipts: tuple[Receipt, ...]
    error: Folded
    """Why it was not sent."""
    data: JsonText | None
    data_note: str
    """Why there are no data although the reader may see data."""


def list_event_rows(
    answers: OpenAnswers, now: datetime, *, site: str, visibility: Visibility, sees: EventVisibility
) -> Iterator[EventRow]:
    """Yield a row for each event, the oldest first."""
    types = {event.id: event.type for event in answers.events}
    for event in answers.events:
        data, note = _show_data(event, sees)
        cause_id = event.causation_id if event.causation_id in types else ""
        yield EventRow(
            id=event.id,
            url=find_event_url(site, event) if sees.has_links else "",
            type=event.type,
            sender=event.sender,
            sequence=event.sequence,
            badge=badge_of_event(event),
            written=show_moment(event.first_at, now),
            relayed=_count_from(event, event.relayed_at),
            cause=types.get(event.causation_id, event.causation_id),
            cause_id=cause_id,
            receipts=tuple(_list_receipts(event, answers, visibility)),
            error=fold(event.sent.error if event.sent is not None and visibility.has_errors else ""),
            data=data,
            data_note=note,
        )


def find_event_url(site: str, event: SagaEvent, page: str = "", **query: str) -> str:
    """Return the URL of an event's page, or of an operation on it; empty if there is none: events are off, or it was
    stated.
    """
    if not get_event_settings().are_on or (event.sent is None and not event.received):
        return ""
    name = f"sagas_saga_event_{page}" if page else "sagas_saga_event"
    return find_url(site, name, query={"id": event.id, "source": event.source, **query})


def name_consumer(label: str) -> str:
    """Return a consumer's name on pages: the tracker's label is the engine's."""
    return "tracker" if label == TRACKER else label


def _list_receipts(event: SagaEvent, answers: OpenAnswers, visibility: Visibility) -> Iterator[Receipt]:
    known = {entry.participant: entry for entry in event.received}
    for consumer in sorted({*known, *catalogue.consumers_of_type(event.type)}, key=name_consumer):
        if (entry := known.get(consumer)) is not None:
            yield _show_receipt(event, entry, visibility)
        elif event.fact is None or not event.fact.is_assumed:
            is_silent = catalogue.database_of(consumer) in answers.unreachable
            badge = UNREACHABLE if is_silent else NOT_HANDLED
            yield Receipt(consumer=name_consumer(consumer), badge=badge, after="", note="", error=fold(""))


def _show_receipt(event: SagaEvent, entry: Entry, visibility: Visibility) -> Receipt:
    notes = [f"{entry.attempts} failed"] if entry.attempts else []
    notes += [f"arrived {entry.repeats + 1} times"] if entry.repeats else []
    is_open = entry.handled_at is None and (entry.error or entry.error_class)
    error = f"{entry.error_class}: {entry.error}" if visibility.has_errors else entry.error_class
    return Receipt(
        consumer=name_consumer(entry.participant),
        badge=INBOX_BADGES[entry.state],
        after=_count_from(event, entry.handled_at),
        note=", ".join(notes),
        error=fold_error(error.strip(": ")) if is_open else fold(""),
    )


def _count_from(event: SagaEvent, moment: datetime | None) -> str:
    """Return the time since an event was written, in words; clocks of two databases may differ."""
    return f"+{describe_span(max(moment, event.first_at) - event.first_at)}" if moment is not None else ""


def _show_data(event: SagaEvent, sees: EventVisibility) -> tuple[JsonText | None, str]:
    if not sees.has_data:
        return None, ""
    entry = event.find_with_data()
    if entry is None or entry.data is None:
        return None, "not here, or too long to be shown"
    if sees.has_personal:
        return show_json_text(entry.data), ""
    masked = mask_personal(entry.type, entry.version, json.loads(entry.data))
    if masked is None:
        return None, "of an unknown type, so it needs the permission sagas.view_event_personal"
    return show_json_text(json.dumps(masked, ensure_ascii=False)), ""


def list_badges(rows: Iterable[EventRow]) -> list[Badge]:
    """Return the badges that occur in the rows, each once."""
    badges = (badge for row in rows for badge in (row.badge, *(one.badge for one in row.receipts)))
    return list({badge.word: badge for badge in badges}.values())
