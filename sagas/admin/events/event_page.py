"""Page of one event: where it stands, its data, what operators did to it, what caused it and what it caused."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse

from ... import clock
from ...choreography.tracker import read_uuid
from ...conf import get_settings
from ...events import catalogue
from ...events.declaration import find_type
from ...events.details import EventDetails, read_details
from ...events.masking import mask_personal
from ...events.operations import DISCARDED, REPLAYED, RETRIED, EventNotFound
from ...models import InboxEvent, InboxState, OutboxEvent, OutboxState, Saga
from ...operators.event_operations import PERMISSIONS, EventOperation
from ...operators.presentation.badges import Badge
from ...operators.presentation.event_badges import EXPLANATIONS, INBOX_BADGES, NOT_RECEIVED, OUTBOX_BADGES
from ..saga_page.json_text import JsonText, show_json_text
from ..ui.addresses import find_saga_url, find_url
from ..ui.base_filter import QueryRefused, read_once
from ..ui.console_admin import ConsoleAdmin
from ..ui.excerpt import Folded, fold_error
from ..ui.formatting import Moment, show_moment
from .event_reader import EventReader, check_request, find_event_url, list_link, refuse

TEMPLATE = "admin/sagas/events/event.html"
UNKNOWN_SCHEMA = (
    "The code does not declare this type and version, so personal data cannot be told apart: the data need the"
    " permission sagas.view_event_personal."
)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Link to an operation."""

    label: str
    url: str
    is_grave: bool = False


@dataclass(frozen=True, kw_only=True)
class ConsumerRow:
    """Where the event stands with one consumer."""

    consumer: str
    badge: Badge
    explanation: str
    row: InboxEvent | None
    """None: its inbox does not have the event."""
    received: Moment | None = None
    handled: Moment | None = None
    due: Moment | None = None
    error: Folded | None = None
    traceback: str = ""
    choices: list[Choice]


def event_view(model_admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """Show one event.

    Raises: PermissionDenied.
    """
    if refusal := check_request(model_admin, request):
        return refusal
    try:
        found = read_details(*read_identity(request))
    except QueryRefused as error:
        return refuse(model_admin, request, str(error))
    except EventNotFound as error:
        return refuse(model_admin, request, str(error), status=404)
    reader = EventReader.of(request).log(f"event {found.row.type} {found.id}")
    site, now = model_admin.admin_site.name, clock.shifted(datetime.now(UTC))
    data, data_note = show_data(found, reader)
    context = {
        "title": describe_event(found),
        **list_link(model_admin),
        "found": found,
        "row": found.row,
        "recorded": show_moment(found.recorded_at, now) if found.recorded_at else None,
        "outbox": _show_outbox(found.outbox, now, reader) if found.outbox else None,
        "send_again": _offer_send_again(found, reader, site),
        "consumers": list(_list_consumers(found, now, reader, site)),
        "reader": reader,
        "data": data,
        "data_note": data_note,
        "raw": _show_raw(found, reader),
        "saga_url": _find_saga_url(found.row.correlation_id, site),
        "flow_url": find_url(site, "sagas_saga_events", query={"correlation": found.row.correlation_id}),
        "key_url": find_url(site, "sagas_saga_events", query={"key": found.row.key}),
        "cause_url": find_url(site, "sagas_saga_event", query={"id": found.row.causation_id}),
        "caused": [
            (row, find_event_url(site, str(row.event_id), row.source), OUTBOX_BADGES[row.state]) for row in found.caused
        ],
        "operations": [(row, show_moment(row.at, now)) for row in found.operations],
    }
    return model_admin.render(request, TEMPLATE, context)


def read_identity(request: HttpRequest) -> tuple[str, str]:
    """Return id and source of a URL.

    Raises: QueryRefused.
    """
    event_id, source = read_once(request, "id"), read_once(request, "source")
    if not event_id or "\x00" in event_id + source:
        raise QueryRefused("An event needs its id: follow a link of the list of events.")
    return event_id, source


def describe_event(found: EventDetails) -> str:
    """Return type and key of an event, or its id."""
    row = found.row
    return f"{row.type or 'Unreadable event'} {row.key or row.event_id}"


def show_data(found: EventDetails, reader: EventReader) -> tuple[JsonText | None, str]:
    """Return the data that a reader may see, and what to say about them."""
    row = found.row
    if not reader.has_payloads:
        return None, "The data need the permission sagas.view_event_payload."
    if row.data is None:
        return None, "The message could not be read."
    if reader.has_personal:
        return _show_json(row.data), ""
    masked = mask_personal(row.type, row.version, row.data)
    if masked is None:
        return None, UNKNOWN_SCHEMA
    return _show_json(masked), "Personal data and unknown fields need the permission sagas.view_event_personal."


def _show_json(data: Any) -> JsonText:
    return show_json_text(json.dumps(data, ensure_ascii=False))


def _show_raw(found: EventDetails, reader: EventReader) -> str:
    """Return the beginning of a message that could not be read, in which nothing can be masked."""
    return next((row.raw for row in found.inboxes if row.raw), "") if reader.has_personal else ""


def _show_outbox(row: OutboxEvent, now: datetime, reader: EventReader) -> dict[str, Any]:
    return {
        "badge": OUTBOX_BADGES[row.state],
        "row": row,
        "sent": show_moment(row.sent_at, now) if row.sent_at else None,
        "due": show_moment(row.due_at, now) if row.due_at else None,
        "error": _show_error(row.error, reader),
    }


def _show_error(text: str, reader: EventReader) -> Folded | None:
    if not text:
        return None
    return fold_error(text if reader.has_errors else text.partition(":")[0])


def _list_consumers(found: EventDetails, now: datetime, reader: EventReader, site: str) -> Iterator[ConsumerRow]:
    for row in found.inboxes:
        yield ConsumerRow(
            consumer=row.consumer,
            badge=INBOX_BADGES[row.state],
            explanation=EXPLANATIONS[row.state],
            row=row,
            received=show_moment(row.received_at, now),
            handled=show_moment(row.handled_at, now) if row.handled_at else None,
            due=show_moment(row.due_at, now) if row.due_at else None,
            error=_show_error(row.error, reader),
            traceback=row.traceback if reader.has_payloads else "",
            choices=list(_offer(row, reader, site)),
        )
    declared = find_type(found.row.type)
    missing = set(catalogue.consumers_of(declared)) if declared else set()
    for consumer in sorted(missing - {row.consumer for row in found.inboxes}):
        is_away = not catalogue.is_local(consumer)
        text = "It does not run here, so its inbox is not read." if is_away else "Its inbox does not have it."
        yield ConsumerRow(consumer=consumer, badge=NOT_RECEIVED, explanation=text, row=None, choices=[])


def _offer(row: InboxEvent, reader: EventReader, site: str) -> Iterator[Choice]:
    """Yield the operations that the state allows and the reader may perform."""
    state = InboxState(row.state)
    offers = (
        (EventOperation.RETRY, state in RETRIED, "Retry now", False),
        (EventOperation.REPLAY, state in REPLAYED and row.data is not None, "Run again", False),
        (EventOperation.DISCARD, state in DISCARDED, "Discard", True),
    )
    for operation, is_possible, label, is_grave in offers:
        if is_possible and reader.actor.may(PERMISSIONS[operation]):
            url = find_event_url(site, row.event_id, row.source, operation.value, consumer=row.consumer)
            yield Choice(label=label, url=url, is_grave=is_grave)


def _offer_send_again(found: EventDetails, reader: EventReader, site: str) -> Choice | None:
    if found.outbox is None or found.outbox.state == OutboxState.UNSENT:
        return None
    if not reader.actor.may(PERMISSIONS[EventOperation.REPLAY]):
        return None
    return Choice(label="Send again", url=find_event_url(site, found.id, found.source, EventOperation.REPLAY.value))


def _find_saga_url(correlation_id: str, site: str) -> str:
    """Return the URL of the saga that an event belongs to; empty if there is none."""
    saga_id: UUID | None = read_uuid(correlation_id)
    using = get_settings().database
    if saga_id is None or not Saga.objects.using(using).filter(pk=saga_id).exists():
        return ""
    return find_saga_url(site, saga_id)
