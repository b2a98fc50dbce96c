"""Views of the list, built-in and saved, and links to what can be done with its filters."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.contrib.admin.views.main import SEARCH_VAR
from django.http import HttpRequest, QueryDict

from ...operators.actor import Actor
from ...operators.queries.saga_filter import CRITERIA, SagaFilter
from ...operators.saved_views import VIEW, interpret
from ..links import Link
from .addresses import find_url, site_of
from .list_order import LONGEST, SEVEREST, SLOWEST
from .menu_data import menu_data_of

MANY_RETRIES = 3
VIEWS: Mapping[str, Mapping[str, str]] = {
    "All": {},
    "Open": {"by": SEVEREST},
    "Needs attention": {"needs": "any", "by": SEVEREST},
    f"Retrying more than {MANY_RETRIES} times": {"attempts": str(MANY_RETRIES + 2), "closed": "no"},
    "Compensated today": {"display": "compensated", "closed": "today"},
    "Slowest": {"by": SLOWEST},
    "Longest open": {"by": LONGEST},
}
NO_FILTERS = frozenset({"p", "e"})


@dataclass(frozen=True, kw_only=True)
class View:
    """Link to the list with filters, built-in or saved by a user."""

    label: str
    """Name of the view."""
    url: str
    """URL of the list with its filters; empty when they are not valid any more."""
    is_current: bool
    """Whether the list shows exactly this view."""
    is_shared: bool = False
    """Whether a user shares it with all others."""
    problem: str = ""
    """What is wrong with its filters; empty when nothing is."""


def list_views(request: HttpRequest) -> list[View]:
    """Return the views of the list: the built-in ones, and the user's own and all shared ones, in one query."""
    site = site_of(request)
    now = {name: value for name, value in request.GET.items() if name not in NO_FILTERS}
    views = [View(label=label, url=list_url(site, **query), is_current=now == query) for label, query in VIEWS.items()]
    return [*views, *list_saved_views(request)]


def list_saved_views(request: HttpRequest) -> list[View]:
    """Return the user's own views and all shared ones."""
    if not Actor.of_user(request.user).may(VIEW):
        return []
    site = site_of(request)
    now = {name: value for name, value in request.GET.items() if name not in NO_FILTERS}
    views = []
    for saved in interpret(menu_data_of(request).views):
        query = list_query(saved.filter) if saved.filter else {}
        views.append(
            View(
                label=saved.row.name,
                url=list_url(site, **query) if query else "",
                is_current=bool(query) and now == query,
                is_shared=saved.row.is_shared,
                problem=saved.problem,
            )
        )
    return views


def list_query(wanted: SagaFilter) -> dict[str, str]:
    """Return a filter as the parameters of the list's URL."""
    return {SEARCH_VAR if name == "search" else name: value for name, value in wanted.as_dict().items()}


def list_exports(request: HttpRequest) -> list[Link]:
    """Return links to exports of what the list shows."""
    site, query = site_of(request), read_query(request).urlencode()
    suffix = f"?{query}" if query else ""
    return [
        Link(label="CSV", url=find_url(site, "sagas_saga_export", "csv") + suffix),
        Link(label="NDJSON", url=find_url(site, "sagas_saga_export", "ndjson") + suffix),
    ]


def find_save_url(request: HttpRequest) -> str:
    """Return the URL of the page that saves the filters of the list by name; empty without filters."""
    query = read_query(request)
    for name in {*query} - {*CRITERIA, SEARCH_VAR}:
        query.pop(name)  # order and position
    return f"{find_url(site_of(request), 'sagas_saga_view_new')}?{query.urlencode()}" if query else ""


def read_query(request: HttpRequest) -> QueryDict:
    """Return the parameters of the list without its page and without empty ones."""
    query = request.GET.copy()
    for name, values in request.GET.lists():
        if name in NO_FILTERS or not "".join(values).strip():
            query.pop(name)
    return query


def list_url(site: str, **query: str) -> str:
    """Return the URL of the list with filters; empty where the site does not have the list."""
    return find_url(site, "sagas_saga_changelist", query=query)
