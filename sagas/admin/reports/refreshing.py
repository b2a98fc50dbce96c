"""Refresh of open console pages, which ask every few seconds whether anything has changed.

A response names parts of the page by CSS selector. For a saga and the list, an ETag detects a change before anything
is rendered. Relative times ("3 min ago") grow old by themselves, so that ETag also holds the time, coarsely.
"""

from datetime import UTC, datetime
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
)
from django.template.response import TemplateResponse
from django.urls import ResolverMatch

from ...core.states import SagaState
from ...models import Saga
from ...models.fields import database_now
from ...operators.actor import Actor
from ..dashboard.dashboard import build_dashboard
from ..saga_page.page_view import read_page
from ..ui.console_admin import ConsoleAdmin
from ..ui.page_parts import answer_parts, answer_rendered, answer_unchanged, is_known, make_stamp
from ..ui.page_selection import parse_selection
from ..ui.spans import PARAMETER
from ..ui.view_only import engine_database

SAGA_PARTS = {
    "[data-part=head]": "admin/sagas/saga/parts/head.html",
    "[data-part=view]": "admin/sagas/saga/parts/view.html",
    "[data-part=facts]": "admin/sagas/saga/parts/facts.html",
}
DASHBOARD_PARTS = {".saga-dashboard": "admin/sagas/dashboard.html"}
LIST_PARTS = {"#result_list": "admin/sagas/saga/parts/list.html"}


def answer_saga(model_admin: ConsoleAdmin, request: HttpRequest, saga_id: UUID) -> HttpResponse:
    """Return the parts of a saga's page, or 304 when nothing has changed. The caller has checked the permission.

    Raises: Http404.
    """
    now = database_now()
    sagas = Saga.objects.using(engine_database()).filter(pk=saga_id)
    found = sagas.values_list("state", "revision", "history_count", "updated_at", now).first()
    if found is None:
        raise Http404
    *stamp, read_at = found
    etag = make_stamp(
        request, [saga_id, parse_selection(request.GET).url(), *stamp], read_at, is_open=SagaState(found[0]).is_open
    )
    if is_known(request, etag):
        return answer_unchanged(etag)
    context = read_page(model_admin, request, saga_id)
    if context is None:
        raise Http404
    page = context["page"]
    return answer_rendered(request, etag, SAGA_PARTS, context, news=f"{page.badge.text}. {page.account.headline}")


def answer_dashboard(model_admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """Return the dashboard, or 304 when nothing has changed.

    Raises: PermissionDenied.
    """
    if not request.user.has_perm("sagas.view_saga"):
        raise PermissionDenied
    reader = Actor.of_user(request.user)
    dashboard = build_dashboard(model_admin.admin_site.name, reader, request.GET.get(PARAMETER, ""))
    return answer_parts(request, DASHBOARD_PARTS, {"dashboard": dashboard}, news="")


def answer_list(model_admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """Return the rows of the list for the filters in the query, or 304 when nothing has changed.

    The list itself checks the permission.
    """
    request.resolver_match = _match_list(request)
    response = model_admin.changelist_view(request)
    context = (response.context_data if isinstance(response, TemplateResponse) else None) or {}
    changes = context.get("cl")
    if changes is None:
        return HttpResponseBadRequest("There is no such list.")
    rows: list[Saga] = list(changes.result_list)
    stamp = [[saga.pk, saga.revision, saga.history_count, saga.updated_at] for saga in rows]
    is_open = any(SagaState(saga.state).is_open for saga in rows)
    etag = make_stamp(
        request, [request.GET.urlencode(), changes.result_count, *stamp], datetime.now(UTC), is_open=is_open
    )
    if is_known(request, etag):
        return answer_unchanged(etag)
    return answer_rendered(request, etag, LIST_PARTS, context, news="")


def _match_list(request: HttpRequest) -> ResolverMatch | None:
    """Return the resolver match of the list's URL on the same site.

    Links of rows carry the filters, which the admin takes only from a request whose match is the list's URL.
    """
    match = request.resolver_match
    if match is None:
        return None
    return ResolverMatch(
        match.func,
        (),
        {},
        url_name="sagas_saga_changelist",
        app_names=[*match.app_names],
        namespaces=[*match.namespaces],
    )
