"""Saved views of the list, and links to the other pages about sagas."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.http import HttpRequest

from ..links import Link
from .addresses import find_url, site_of
from .list_order import LONGEST, SLOWEST

MANY_RETRIES = 3
VIEWS: Mapping[str, Mapping[str, str]] = {
    "All": {},
    "Needs an operator": {"needs": "any"},
    f"Retrying more than {MANY_RETRIES} times": {"attempts": str(MANY_RETRIES + 2), "closed": "no"},
    "Compensated today": {"display": "compensated", "closed": "today"},
    "Slowest": {"by": SLOWEST},
    "Longest open": {"by": LONGEST},
}
NO_FILTERS = frozenset({"p", "e"})


@dataclass(frozen=True, kw_only=True)
class View:
    """Saved view: a link to the list with built-in filters."""

    label: str
    """Name of the view."""
    url: str
    """URL of the list with its filters."""
    is_current: bool
    """Whether the list shows exactly this view."""


def list_views(request: HttpRequest) -> list[View]:
    """Return the saved views of the list."""
    site = site_of(request)
    now = {name: value for name, value in request.GET.items() if name not in NO_FILTERS}
    return [View(label=label, url=list_url(site, **query), is_current=now == query) for label, query in VIEWS.items()]


def list_pages(request: HttpRequest) -> list[Link]:
    """Return links to the other pages about sagas, and to exports of what the list shows."""
    query = request.GET.copy()
    for name in NO_FILTERS:
        query.pop(name, None)
    site, suffix = site_of(request), f"?{query.urlencode()}" if query else ""
    return [
        Link(label="Dashboard", url=find_url(site, "app_list", "sagas")),
        Link(label="Failure groups", url=find_url(site, "sagas_saga_failures")),
        Link(label="Definitions", url=find_url(site, "sagas_saga_definitions")),
        Link(label="Operator log", url=find_url(site, "sagas_saga_log")),
        Link(label="Export as CSV", url=find_url(site, "sagas_saga_export", "csv") + suffix),
        Link(label="Export as NDJSON", url=find_url(site, "sagas_saga_export", "ndjson") + suffix),
    ]


def list_url(site: str, **query: str) -> str:
    """Return the URL of the list with filters; empty where the site does not have the list."""
    return find_url(site, "sagas_saga_changelist", query=query)
