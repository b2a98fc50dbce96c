"""Page of all events: filtered, with their states in outbox and inboxes."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.http import urlencode

from ... import clock
from ...events import catalogue
from ...events.declaration import list_types
from ...events.listing import STATES, EventFilter, ListedEvent, list_events, read_place
from ...models.events import MAX_ID_CHARS
from ...operators.presentation.badges import Badge, in_words
from ...operators.presentation.event_badges import INBOX_BADGES, OUTBOX_BADGES
from ...operators.queries.saga_filter import refuse_value
from ..ui.base_filter import QueryRefused, read_choice, read_once
from ..ui.console_admin import ConsoleAdmin
from ..ui.formatting import Moment, show_moment
from .event_reader import check_request, find_event_url, refuse

TEMPLATE = "admin/sagas/events/list.html"
PLACE = "before"
PAGE = 50


@dataclass(frozen=True, kw_only=True)
class EventRow:
    """Row of one event."""

    event: ListedEvent
    url: str
    at: Moment
    outbox: Badge | None
    """None: no outbox here has it."""
    inboxes: list[tuple[str, Badge]]
    """State by consumer."""


def events_view(model_admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """Show a page of events.

    Raises: PermissionDenied.
    """
    if refusal := check_request(model_admin, request):
        return refusal
    try:
        wanted, place = _read_filter(request), _read_place(request)
    except QueryRefused as error:
        return refuse(model_admin, request, str(error))
    page = list_events(wanted, PAGE, place=place)
    now = clock.shifted(datetime.now(UTC))
    context = {
        "title": "Events",
        "list_url": "",
        "wanted": wanted,
        "rows": list(_list_rows(page.events, now, model_admin.admin_site.name)),
        "unreachable": page.unreachable,
        **_list_choices(wanted),
        "is_first": not place,
        "newest_url": _link(request),
        "older_url": _link(request, **{PLACE: page.next_place}) if page.next_place else "",
        "is_filtered": wanted != EventFilter(),
        "all_url": request.path,
    }
    return model_admin.render(request, TEMPLATE, context)


def _read_filter(request: HttpRequest) -> EventFilter:
    """Return the filter of a URL.

    Raises: QueryRefused.
    """
    texts = {name: read_once(request, name).strip() for name in ("key", "type", "participant", "id", "correlation")}
    for name, value in texts.items():
        if "\x00" in value or len(value) > MAX_ID_CHARS:
            raise QueryRefused(refuse_value(name, value[:40], f"a text of at most {MAX_ID_CHARS} characters"))
    return EventFilter(
        key=texts["key"],
        type=texts["type"],
        state=read_choice(request, "state", STATES),
        participant=texts["participant"],
        event_id=texts["id"],
        correlation_id=texts["correlation"],
    )


def _read_place(request: HttpRequest) -> str:
    place = read_once(request, PLACE)
    if place and read_place(place) is None:
        raise QueryRefused(refuse_value(PLACE, place, "a place from the links of the list"))
    return place


def _list_choices(wanted: EventFilter) -> dict[str, Any]:
    """Return the choices of the form; what is chosen is among them also if the catalogue does not have it."""
    types = {declared.name for declared in list_types()} | {wanted.type}
    people = {*catalogue.list_consumers(), *map(catalogue.sender_of, list_types()), wanted.participant}
    return {
        "types": sorted(types - {""}),
        "participants": sorted(people - {""}),
        "states": [(state, in_words(state)) for state in STATES],
    }


def _list_rows(events: list[ListedEvent], now: datetime, site: str) -> Iterator[EventRow]:
    for event in events:
        yield EventRow(
            event=event,
            url=find_event_url(site, event.id, event.source),
            at=show_moment(event.at, now),
            outbox=OUTBOX_BADGES[event.outbox] if event.outbox else None,
            inboxes=[(consumer, INBOX_BADGES[state]) for consumer, state in event.inboxes.items()],
        )


def _link(request: HttpRequest, **changes: str) -> str:
    """Return the URL of the list under the same filter, from its beginning or from a place on."""
    kept = {name: str(value) for name, value in request.GET.items() if value and name != PLACE}
    query = urlencode({**kept, **changes})
    return f"{request.path}?{query}" if query else request.path
