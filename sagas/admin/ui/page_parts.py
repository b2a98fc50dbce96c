"""Responses with the current parts of an open page; an ETag detects that nothing has changed."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseNotModified,
    JsonResponse,
)
from django.template.loader import render_to_string
from django.utils.http import parse_etags

from ...operators.presentation.times import describe_moment
from .groups import OPERATE, SUPERVISE, VIEW
from .menu import build_menu

OPEN_SECONDS, CLOSED_SECONDS = 10, 60  # how old relative times on a page may be
MENU_COUNT = "admin/sagas/includes/menu_count.html"
CODES = (*VIEW, *OPERATE, *SUPERVISE)


def answer_parts(
    request: HttpRequest, templates: Mapping[str, str], context: dict[str, Any], *, news: str
) -> HttpResponse:
    """Return parts of a page that is cheap to render, or 304. The caller has checked the permission."""
    parts = _render(request, templates, context)
    etag = f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'
    return answer_unchanged(etag) if is_known(request, etag) else _respond(parts, etag, news=news)


def make_stamp(request: HttpRequest, facts: Iterable[Any], read_at: datetime, *, is_open: bool) -> str:
    """Return the ETag. The page depends on the user's permissions, so it covers them too."""
    # has_perm is the only permission method that the admin requires of a user model.
    user = [request.user.pk, [code for code in CODES if request.user.has_perm(f"sagas.{code}")]]
    bucket = int(read_at.timestamp()) // (OPEN_SECONDS if is_open else CLOSED_SECONDS)
    return f'"{hashlib.sha256(repr([user, *facts, bucket]).encode()).hexdigest()[:32]}"'


def is_known(request: HttpRequest, etag: str) -> bool:
    """Return whether the browser already has this version."""
    return etag in parse_etags(request.headers.get("If-None-Match", ""))


def answer_unchanged(etag: str) -> HttpResponse:
    """Return 304 Not Modified."""
    return HttpResponseNotModified(headers={"ETag": etag})


def answer_rendered(
    request: HttpRequest, etag: str, templates: Mapping[str, str], context: dict[str, Any], *, news: str
) -> HttpResponse:
    """Return rendered parts under their ETag."""
    return _respond(_render(request, templates, context), etag, news=news)


def _render(request: HttpRequest, templates: Mapping[str, str], context: dict[str, Any]) -> dict[str, str]:
    parts = {selector: render_to_string(name, context, request) for selector, name in templates.items()}
    return {**parts, **_render_counts(request)}


def _render_counts(request: HttpRequest) -> dict[str, str]:
    """Return the numbers of the menu, which follow what the page shows."""
    menu = build_menu(request)
    entries = menu.entries if menu is not None else ()
    return {
        f"#{entry.count_id}": render_to_string(MENU_COUNT, {"entry": entry})
        for entry in entries
        if entry.count is not None
    }


def _respond(parts: Mapping[str, str], etag: str, *, news: str) -> HttpResponse:
    """Return the JSON response. Shape: ``{"at": text, "news": text, "parts": {selector: HTML}}``."""
    return JsonResponse(
        {"at": describe_moment(datetime.now(UTC)), "news": news, "parts": parts}, headers={"ETag": etag}
    )
