"""Read from a URL which sagas the list shows under a filter, strictly: what is not understood is an error.

The list itself forgives a little: of a parameter that comes twice the last one counts, an empty one does not narrow, a
filter without choices is left out. Whoever acts on all that matches must know that each parameter narrowed.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.admin.options import IS_POPUP_VAR, TO_FIELD_VAR, IncorrectLookupParameters
from django.contrib.admin.views.main import ALL_VAR, ERROR_FLAG, ORDER_VAR, PAGE_VAR, SEARCH_VAR
from django.core.exceptions import SuspiciousOperation
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict

from ..bulk import require_scope
from ..bulk_rules import EVERYTHING
from ..exceptions import BadRequest
from ..models import Saga
from .narrowing import SLOWEST, OrderFilter, PlaceFilter

EVERYTHING_PARAMETER = "everything"
# Where in the list a person is: page, order, and the marks of the admin itself.
PLACES = frozenset(
    {
        PAGE_VAR, ORDER_VAR, ALL_VAR, ERROR_FLAG, "_facets", IS_POPUP_VAR, TO_FIELD_VAR,
        OrderFilter.parameter_name, PlaceFilter.parameter_name,
    }
)  # fmt: skip
MAX_SHOWN_CHARS = 100


@dataclass(frozen=True, kw_only=True)
class Matching:
    """Say which sagas a filter finds."""

    sagas: QuerySet[Saga]
    """The sagas, open and closed."""
    filter: dict[str, str]
    """The parameters that narrowed, by name."""
    words: str
    """The same in words."""
    is_everything: bool
    """Whether every open saga is asked for by name."""


def read_matching(admin_site: AdminSite, request: HttpRequest) -> Matching:
    """Return what the parameters of a URL find.

    Raises: BadRequest for a parameter that is unknown, comes twice, is empty, or has no such choice; for no parameter
    at all; for a filter together with everything; and on a site that does not list sagas.
    """
    filter = {name: _read_once(request, name) for name in request.GET}
    everything = filter.pop(EVERYTHING_PARAMETER, None)
    if everything not in (None, "1"):
        raise BadRequest(f"{EVERYTHING_PARAMETER} has no choice {_show(everything or '')}.")
    require_scope(filter, everything=everything is not None)
    if empty := [name for name, value in filter.items() if not value.strip()]:
        raise BadRequest(f"The filter {_show(min(empty))} is empty and would not narrow.")
    found = _build_list(admin_site, request, filter)
    if filter and not _narrows(found):
        raise BadRequest("This filter finds every saga. Ask for every open saga by name if that is meant.")
    require_scope(filter, everything=everything is not None, sagas=found.queryset)
    return Matching(
        sagas=found.queryset,
        filter=filter,
        words=_tell(found, filter) if filter else EVERYTHING,
        is_everything=everything is not None,
    )


def find_obstacle(request: HttpRequest) -> str:
    """Return why nobody can act on everything that a list shows; an empty text when somebody can.

    A place narrows a list, and so does one of its orders; neither is a filter that a set could be drawn by.
    """
    if SLOWEST in request.GET.getlist(OrderFilter.parameter_name):
        return "The slowest are closed sagas, and nothing can be done to closed ones. Choose another order."
    if any(request.GET.getlist(PlaceFilter.parameter_name)):
        return "This list begins behind a place, and a place is no filter. Go back to its beginning."
    return ""


def filter_query(request: HttpRequest) -> str:
    """Return the query that leads from a list to everything that matches it; by name where nothing narrows it.

    What only says where in the list a person is, is left out, so ask ``find_obstacle`` first; everything else is kept,
    to be refused if unknown.
    """
    query = QueryDict(mutable=True)
    for name, values in request.GET.lists():
        if name not in PLACES and "".join(values).strip():
            query.setlist(name, values)
    if not query:
        query[EVERYTHING_PARAMETER] = "1"
    return query.urlencode()


def _read_once(request: HttpRequest, name: str) -> str:
    values = request.GET.getlist(name)
    if len(values) != 1:
        raise BadRequest(f"{_show(name)} comes {len(values)} times; which one is meant?")
    return values[0]


def _build_list(admin_site: AdminSite, request: HttpRequest, filter: dict[str, str]) -> Any:
    """Return the list that the console would show, without reading a row of it."""
    try:
        model_admin: Any = admin_site.get_model_admin(Saga)
    except NotRegistered as error:
        raise BadRequest("This site does not list sagas, so that nothing can be chosen from their list.") from error
    if PLACES & set(filter):
        raise BadRequest(f"{_show(min(PLACES & set(filter)))} is a place in the list and no filter.")
    asked = copy(request)
    query = QueryDict(mutable=True)
    query.update(filter)
    asked.GET = query  # type: ignore[assignment]  # mutable, and read only
    kind = type("MatchingList", (model_admin.get_changelist(request),), {"get_results": _read_nothing})
    try:
        found = kind(
            asked, Saga, (), (), model_admin.get_list_filter(request), None, model_admin.get_search_fields(request),
            False, 1, 1, (), model_admin, (), "",
        )  # fmt: skip
    except IncorrectLookupParameters as error:
        raise BadRequest(f"The filter is not understood: {error}") from error
    except SuspiciousOperation as error:
        raise BadRequest(f"The filter is not allowed: {_show(str(error))}") from error
    _require_all_used(found, filter)
    return found


def _narrows(found: Any) -> bool:
    """Tell whether the list has a condition that it would not have without a filter."""
    return str(found.queryset.query.where) != str(found.root_queryset.query.where)


def _read_nothing(_list: Any, _request: HttpRequest) -> None:
    """Be ``get_results`` of a list whose rows nobody looks at."""


def _require_all_used(found: Any, filter: dict[str, str]) -> None:
    """Check that the list has narrowed by each parameter.

    Raises: BadRequest.
    """
    used = {name: value for spec in found.filter_specs for name, value in spec.used_parameters.items()}
    for name, value in filter.items():
        if name != SEARCH_VAR and used.get(name) != value:
            raise BadRequest(f"There is no filter {_show(name)} now.")


def _tell(found: Any, filter: dict[str, str]) -> str:
    """Return a filter in words: of each one its title and the choice as the list shows it."""
    parts = []
    for spec in found.filter_specs:
        labels = dict(getattr(spec, "lookup_choices", ()))
        several = len(spec.expected_parameters()) > 1
        for name, value in spec.used_parameters.items():
            parts.append(f"{spec.title}{f' ({name})' if several else ''}: {labels.get(value, value)}")
    if SEARCH_VAR in filter:
        parts.append(f"search: {filter[SEARCH_VAR].strip()}")
    return "; ".join(_show(part) for part in parts)


def _show(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
