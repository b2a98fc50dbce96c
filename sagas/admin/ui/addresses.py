"""URLs of admin pages on the current admin site.

A project may have several admin sites under any names. A page of one site links to pages of the same site only, where
the user's account and permissions apply. Nothing else in the console, nor in what registers links with it, reverses
an admin URL.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.http import urlencode


def find_url(site: str, page: str, *args: Any, query: Mapping[str, str | int] | None = None) -> str:
    """Return the URL of an admin page; empty where the site does not have the page.

    ``site``: name of the site. ``page``: name of the URL, such as ``orders_order_changelist``.
    """
    try:
        url = reverse(f"admin:{page}", args=args, current_app=site)
    except NoReverseMatch:
        return ""
    return f"{url}?{urlencode(query)}" if query else url


def find_saga_url(site: str, saga_id: UUID | None, *, tab: str = "") -> str:
    """Return the URL of a saga's page; empty without a saga, and where the site does not have the page."""
    if saga_id is None:
        return ""
    return find_url(site, "sagas_saga_change", saga_id, query={"tab": tab} if tab else None)


def site_of(request: HttpRequest) -> str:
    """Return the name of the site that a request is for."""
    named: str | None = getattr(request, "current_app", None)
    match = request.resolver_match
    return named or (match.namespace if match is not None else "")
