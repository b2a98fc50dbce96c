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
    reading = read_saga(saga_id, selection, with_payloads=wanted.has_payloads, select_neighbours=select_neighbours)
    if reading is None:
        return None
    visibility = access_log.log_visible(wanted, actor.name, access_log.What.PAGE, saga_id=saga_id)
    if visibility is not wanted:
        reading = read_saga(saga_id, selection, with_payloads=False, select_neighbours=select_neighbours)
    return _describe_page(console, actor, reading, visibility) if reading else None


def _describe_page(console: ConsoleAdmin, actor: Actor, reading: SagaReading, visibility: Visibility) -> dict[str, Any]:
    saga, site = reading.snapshot.saga, console.admin_site.name
    return {
        "page": build_page(reading, actor, site=site, visibility=visibility),
        "links": resolve_links(console.get_links(saga, reading.keys), site),
        "neighbours": reading.neighbours,
        "title": name_saga(saga, reading.keys.values()),
        "bundle_url": find_url(site, "sagas_saga_bundle", saga.pk),
        "refresh_url": find_url(site, "sagas_saga_refresh", saga.pk),
    }
