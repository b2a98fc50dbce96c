"""Page of the catalogue of events: who sends and who handles them, their schema and personal data; also as AsyncAPI."""

import json
from typing import Any

from django.http import HttpRequest, HttpResponse

from ...events import asyncapi, catalogue, json_schema
from ...events.settings import get_event_settings
from ..saga_page.json_text import show_json_text
from ..ui.addresses import find_url
from ..ui.console_admin import ConsoleAdmin
from .event_reader import check_request

TEMPLATE = "admin/sagas/events/catalogue.html"


def catalogue_view(model_admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """Show the catalogue.

    Raises: PermissionDenied.
    """
    if refusal := check_request(model_admin, request):
        return refusal
    site = model_admin.admin_site.name
    context = {
        "title": "Catalogue",
        "list_url": "",
        "rows": [_show(entry, site) for entry in asyncapi.list_entries()],
        "layout": get_event_settings().layout,
        "prefix": get_event_settings().prefix,
        "asyncapi_url": find_url(site, "sagas_saga_asyncapi"),
    }
    return model_admin.render(request, TEMPLATE, context)


def asyncapi_view(model_admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """Return the catalogue as an AsyncAPI document, as a file.

    Raises: PermissionDenied.
    """
    if refusal := check_request(model_admin, request):
        return refusal
    text = json.dumps(asyncapi.describe(asyncapi.list_entries()), indent=2, ensure_ascii=False)
    headers = {"Content-Disposition": 'attachment; filename="asyncapi.json"'}
    return HttpResponse(text, content_type="application/json; charset=utf-8", headers=headers)


def _show(entry: asyncapi.Entry, site: str) -> dict[str, Any]:
    schema = json.dumps(json_schema.describe(entry.event.schema), ensure_ascii=False)
    return {
        "entry": entry,
        "is_here": entry.sender in catalogue.list_local_senders(),
        "schema": show_json_text(schema),
        "url": find_url(site, "sagas_saga_events", query={"type": entry.event.name}),
    }
