"""URLs of dashboard refresh, definitions, failure groups, operator log, saved views and exports."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path

from ..ui.console_admin import ConsoleAdmin
from . import definitions_page, export_page, failures_page, log_page, refreshing, view_pages

Answer = Callable[..., HttpResponseBase]


def list_urls(model_admin: ConsoleAdmin) -> list[URLPattern]:
    """Return the URL patterns; each view checks the permission itself."""

    def serve(answer: Answer) -> Callable[..., HttpResponseBase]:
        def view(request: HttpRequest, **values: Any) -> HttpResponseBase:
            return answer(model_admin, request, **values)

        return model_admin.admin_site.admin_view(view)

    return [
        path("dashboard/refresh/", serve(refreshing.answer_dashboard), name="sagas_saga_refresh_dashboard"),
        path("definitions/", serve(definitions_page.definitions_view), name="sagas_saga_definitions"),
        path(
            "definitions/<str:name>/<int:version>/",
            serve(definitions_page.definition_view),
            name="sagas_saga_definition",
        ),
        path("failures/", serve(failures_page.failures_view), name="sagas_saga_failures"),
        path("log/", serve(log_page.log_view), name="sagas_saga_log"),
        path("views/", serve(view_pages.list_view), name="sagas_saga_views"),
        path("views/new/", serve(view_pages.save_view), name="sagas_saga_view_new"),
        path("views/<int:view_id>/", serve(view_pages.change_view), name="sagas_saga_view_change"),
        path("views/<int:view_id>/delete/", serve(view_pages.delete_view), name="sagas_saga_view_delete"),
        path("export/<slug:form>/", serve(export_page.export_view), name="sagas_saga_export"),
        path("<uuid:saga_id>/bundle/", serve(export_page.answer_bundle), name="sagas_saga_bundle"),
    ]
