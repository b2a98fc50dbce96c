"""Context of the page of one saga; logs the access to its payloads."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest

from ...operators.audit import access_log
from ..links import resolve_links
from ..ui.addresses import find_url
from ..ui.console_admin import ConsoleAdmin
from ..ui.formatting import may_see_payloads
from ..ui.page_selection import parse_selection
from .page import build_page, name_saga
from .reading import SagaReading, read_saga


def read_page(console: ConsoleAdmin, request: HttpRequest, saga_id: UUID) -> dict[str, Any] | None:
    """Return the context of the page of a saga, or None when there is no such saga.

    If the access cannot be logged, no payload is shown.
    """
    wanted, may_see = parse_selection(request.GET), may_see_payloads(request.user)
    reading = read_saga(saga_id, wanted, with_payloads=may_see)
    if (
        reading
        and may_see
        and not access_log.log_access(request.user.get_username(), access_log.What.PAGE, saga_id=saga_id)
    ):
        may_see, reading = False, read_saga(saga_id, wanted, with_payloads=False)
    return _describe_page(console, request, reading, may_see=may_see) if reading else None


def _describe_page(
    console: ConsoleAdmin, request: HttpRequest, reading: SagaReading, *, may_see: bool
) -> dict[str, Any]:
    saga, site = reading.snapshot.saga, console.admin_site.name
    return {
        "page": build_page(reading, request.user, site=site, may_see=may_see),
        "links": resolve_links(console.get_links(saga, reading.keys), site),
        "title": name_saga(saga, reading.keys.values()),
        "bundle_url": find_url(site, "sagas_saga_bundle", saga.pk),
        "refresh_url": find_url(site, "sagas_saga_refresh", saga.pk),
    }
