"""Answer what an open page of the console asks every few seconds: has anything changed, and what does it look like now.

The answer names parts of the page by CSS selector. Whether anything changed is told by a stamp, before anything is
rendered. What a page says of the present ("3 min ago") grows old by itself, so the stamp holds the time, too, coarsely.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseNotModified,
    JsonResponse,
)
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import ResolverMatch
from django.utils.http import parse_etags

from ..display.times import describe_moment
from ..models import BulkState, Saga
from ..models.fields import database_now
from ..states import SagaState
from .console_admin import ConsoleAdmin
from .dashboard import build_dashboard
from .groups import OPERATE, SUPERVISE, VIEW
from .saga_page import read_page
from .selection import parse_selection
from .view_only import engine_database

OPEN_SECONDS, CLOSED_SECONDS = 10, 60  # how old what a page says of the present may be
SAGA_PARTS = {
    "[data-part=head]": "admin/sagas/saga/parts/head.html",
    "[data-part=view]": "admin/sagas/saga/parts/view.html",
}
DASHBOARD_PARTS = {".saga-dashboard": "admin/sagas/dashboard.html"}
# One of them is on the page: when the state changes nothing is swapped under somebody's hand, and the page offers it.
BULK_PARTS = {
    f"[data-part={state}]": "admin/sagas/bulk/progress.html" for state in BulkState if state != BulkState.DRAWN
}
CODES = (*VIEW, *OPERATE, *SUPERVISE)
LIST_PARTS = {"#result_list": "admin/sagas/saga/parts/list.html"}


def answer_saga(model_admin: ConsoleAdmin, request: HttpRequest, saga_id: UUID) -> HttpResponse:
    """Return the parts of a saga's page, or that nothing has changed. The caller has checked the permission.

    Raises: Http404.
    """
    now = database_now()
    sagas = Saga.objects.using(engine_database()).filter(pk=saga_id)
    found = sagas.values_list("state", "revision", "history_count", "updated_at", now).first()
    if found is None:
        raise Http404
    *stamp, read_at = found
    etag = _stamp(
        request, [saga_id, parse_selection(request.GET).url(), *stamp], read_at, is_open=SagaState(found[0]).is_open
    )
    if _is_known(request, etag):
        return _say_unchanged(etag)
    context = read_page(model_admin, request, saga_id)
    if context is None:
        raise Http404
    page = context["page"]
    return _answer(request, etag, SAGA_PARTS, context, news=f"{page.badge.text}. {page.account.headline}")


def answer_dashboard(model_admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """Return the dashboard, or that nothing has changed.

    Raises: PermissionDenied.
    """
    if not request.user.has_perm("sagas.view_saga"):
        raise PermissionDenied
    return answer_parts(request, DASHBOARD_PARTS, {"dashboard": build_dashboard(model_admin.admin_site.name)}, news="")


def answer_list(model_admin: ConsoleAdmin, request: HttpRequest) -> HttpResponse:
    """Return the rows of the list for the filters in the query, or that nothing has changed.

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
    etag = _stamp(request, [request.GET.urlencode(), changes.result_count, *stamp], datetime.now(UTC), is_open=is_open)
    if _is_known(request, etag):
        return _say_unchanged(etag)
    return _answer(request, etag, LIST_PARTS, context, news="")


def _match_list(request: HttpRequest) -> ResolverMatch | None:
    """Return how the address of the list on the same site would have been resolved.

    Links of rows carry the filters, which the admin takes from the query of the list's own address alone.
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


def answer_parts(
    request: HttpRequest, templates: Mapping[str, str], context: dict[str, Any], *, news: str
) -> HttpResponse:
    """Return parts of a page that is cheap to make, or that they are what the asker has. The caller has checked the
    permission."""
    parts = _render(request, templates, context)
    etag = f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'
    return _say_unchanged(etag) if _is_known(request, etag) else _say(parts, etag, news=news)


def _stamp(request: HttpRequest, facts: Iterable[Any], read_at: datetime, *, is_open: bool) -> str:
    """Return the ETag. Who may do more sees more, so it holds the permissions as well."""
    # Of all that an account can be asked, the admin needs has_perm alone.
    person = [request.user.pk, [code for code in CODES if request.user.has_perm(f"sagas.{code}")]]
    bucket = int(read_at.timestamp()) // (OPEN_SECONDS if is_open else CLOSED_SECONDS)
    return f'"{hashlib.sha256(repr([person, *facts, bucket]).encode()).hexdigest()[:32]}"'


def _is_known(request: HttpRequest, etag: str) -> bool:
    return etag in parse_etags(request.headers.get("If-None-Match", ""))


def _say_unchanged(etag: str) -> HttpResponse:
    return HttpResponseNotModified(headers={"ETag": etag})


def _answer(
    request: HttpRequest, etag: str, templates: Mapping[str, str], context: dict[str, Any], *, news: str
) -> HttpResponse:
    return _say(_render(request, templates, context), etag, news=news)


def _render(request: HttpRequest, templates: Mapping[str, str], context: dict[str, Any]) -> dict[str, str]:
    return {selector: render_to_string(name, context, request) for selector, name in templates.items()}


def _say(parts: Mapping[str, str], etag: str, *, news: str) -> HttpResponse:
    """Return the parts. Shape: ``{"at": text, "news": text, "parts": {selector: HTML}}``."""
    return JsonResponse(
        {"at": describe_moment(datetime.now(UTC)), "news": news, "parts": parts}, headers={"ETag": etag}
    )
