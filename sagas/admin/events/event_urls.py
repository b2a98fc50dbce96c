"""URLs of the pages about events."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path

from ...operators.event_operations import EventOperation
from ...transactions import without_requests_transactions
from ..ui.console_admin import ConsoleAdmin
from . import catalogue_page, dead_letters_page, delivery_page, event_page, group_page, list_page, operation_page


def list_urls(model_admin: ConsoleAdmin) -> list[URLPattern]:
    """Return the URL patterns; each view checks the permission itself."""

    def serve(answer: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        def view(request: HttpRequest, **values: Any) -> HttpResponseBase:
            return answer(model_admin, request, **values)

        # Operations open transactions of their own, and a replay runs a participant's handler.
        return without_requests_transactions(model_admin.admin_site.admin_view(view))

    operations = [
        path(
            f"events/one/{operation.value}/",
            serve(partial(operation_page.operation_view, operation=operation)),
            name=f"sagas_saga_event_{operation.value}",
        )
        for operation in EventOperation
    ]
    return [
        path("events/", serve(list_page.events_view), name="sagas_saga_events"),
        path("events/one/", serve(event_page.event_view), name="sagas_saga_event"),
        *operations,
        path("events/delivery/", serve(delivery_page.delivery_view), name="sagas_saga_delivery"),
        path("events/dead-letters/", serve(dead_letters_page.dead_letters_view), name="sagas_saga_dead_letters"),
        path(
            "events/dead-letters/<slug:key>/retry/",
            serve(group_page.retry_group_view),
            name="sagas_saga_dead_letters_retry",
        ),
        path("events/catalogue/", serve(catalogue_page.catalogue_view), name="sagas_saga_catalogue"),
        path("events/catalogue/asyncapi.json", serve(catalogue_page.asyncapi_view), name="sagas_saga_asyncapi"),
    ]
