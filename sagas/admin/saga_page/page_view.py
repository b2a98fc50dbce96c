"""Context of the page of one saga; logs the access to its payloads and error texts."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest

from ...operators.actor import Actor
from ...operators.audit import access_log
from ...operators.visibility import Visibility, find_visibility
from ..links import resolve_links
from ..ui.addresses import find_url
from ..ui.console_admin import ConsoleAdmin
from ..ui.page_selection import parse_selection
from .event_visibility import EventVisibility, find_event_visibility
from .page import build_page, name_saga
from .reading import SagaReading, SelectNeighbours, read_saga


def read_page(
    console: ConsoleAdmin, request: HttpRequest, saga_id: UUID, select_neighbours: SelectNeighbours | None = None
) -> dict[str, Any] | None:
    """Return the context of the page of a saga, or None when there is no such saga.

    ``select_neighbours``: as of ``read_saga``.
    If the access cannot be logged, neither payloads nor error texts are shown.
    """
    selection, actor = parse_selection(request.GET), Actor.of_user(request.user)
    wanted = find_visibility(actor)
    sees = find_event_visibility(actor)
    reading = read_saga(
        saga_id, selection, with_payloads=wanted.has_payloads, with_event_data=sees.has_data,
        select_neighbours=select_neighbours,
    )  # fmt: skip
    if reading is None:
        return None
    detail = _describe_data(sees) if reading.has_event_data else ""
    visibility = access_log.log_visible(wanted, actor.name, access_log.What.PAGE, saga_id=saga_id, detail=detail)
    if reading.has_event_data and not wanted.has_errors:
        is_logged = access_log.log_access(actor.name, access_log.What.PAGE, saga_id=saga_id, detail=detail)
        sees = sees if is_logged else EventVisibility(has_links=sees.has_links)
    if visibility is not wanted:
        sees = EventVisibility(has_links=sees.has_links)
        reading = read_saga(saga_id, selection, with_payloads=False, select_neighbours=select_neighbours)
    return _describe_page(console, actor, reading, visibility, sees) if reading else None


def _describe_data(sees: EventVisibility) -> str:
    return "events" if sees.has_personal else "events without personal data"


def _describe_page(
    console: ConsoleAdmin, actor: Actor, reading: SagaReading, visibility: Visibility, sees: EventVisibility
) -> dict[str, Any]:
    saga, site = reading.snapshot.saga, console.admin_site.name
    return {
        "page": build_page(reading, actor, site=site, visibility=visibility, sees=sees),
        "links": resolve_links(console.get_links(saga, reading.keys), site),
        "neighbours": reading.neighbours,
        "title": name_saga(saga, reading.keys.values()),
        "bundle_url": find_url(site, "sagas_saga_bundle", saga.pk),
        "refresh_url": find_url(site, "sagas_saga_refresh", saga.pk),
    }
