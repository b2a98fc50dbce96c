"""Strict reading of the list's filter from a URL: an unknown parameter or value is an error.

The list itself is lenient: the last of repeated parameters counts, an empty one does not filter, and a filter without
choices is left out. An operator who acts on all matches must know that each parameter was applied.
"""

from dataclasses import dataclass

from django.contrib.admin import AdminSite
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.admin.options import IS_POPUP_VAR, TO_FIELD_VAR
from django.contrib.admin.views.main import ALL_VAR, ERROR_FLAG, ORDER_VAR, PAGE_VAR, SEARCH_VAR
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict

from ...exceptions import BadRequest
from ...models import Saga
from ...operators.bulk.freezing import require_scope
from ...operators.bulk.preconditions import EVERYTHING
from ...operators.queries.saga_filter import MAX_SHOWN_CHARS, SagaFilter, parse_filter, refuse_value
from ..ui.list_order import SLOWEST, OrderFilter, PositionFilter
from .filters import FROZEN, WindowFilter, add_zone

EVERYTHING_PARAMETER = "everything"
# Parameters of the position in the list (page and order), and the admin's own.
PLACES = frozenset(
    {
        PAGE_VAR, ORDER_VAR, ALL_VAR, ERROR_FLAG, "_facets", IS_POPUP_VAR, TO_FIELD_VAR,
        OrderFilter.parameter_name, PositionFilter.parameter_name,
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Matching:
    """Sagas that a filter finds."""

    sagas: QuerySet[Saga]
    """The sagas, open and closed."""
    filter: dict[str, str]
    """Parameters of the filter, by name."""
    words: str
    """The filter in words."""
    is_everything: bool
    """Whether the URL asks for every open saga explicitly."""


def read_matching(admin_site: AdminSite, request: HttpRequest) -> Matching:
    """Return the sagas that the parameters of a URL find.

    Raises: BadRequest for a parameter that is unknown, repeated, empty or has an invalid value; for no parameter at
    all; for a filter together with ``everything``; and on a site that does not list sagas.
    """
    given = {name: _read_once(request.GET, name) for name in request.GET}
    everything = given.pop(EVERYTHING_PARAMETER, None)
    if everything not in (None, "1"):
        raise BadRequest(refuse_value(EVERYTHING_PARAMETER, everything, "1, or left out"))
    require_scope(given, everything=everything is not None)
    wanted = _read_filter(given)
    try:
        # Rows that a project's own admin hides from its list are left out here too.
        sagas = wanted.narrow(admin_site.get_model_admin(Saga).get_queryset(request))
    except NotRegistered as error:
        raise BadRequest("This site has no list of sagas, so none can be selected from it.") from error
    filter = wanted.as_dict()
    require_scope(filter, everything=everything is not None, sagas=sagas)
    return Matching(
        sagas=sagas, filter=filter, words=wanted.describe() or EVERYTHING, is_everything=everything is not None
    )


def read_filter(query: QueryDict) -> SagaFilter:
    """Return the filter that the parameters of a URL make, without page, order and position.

    Raises: BadRequest for a parameter that is unknown, repeated, empty or has an invalid value.
    """
    return _read_filter({name: _read_once(query, name) for name in query if name not in PLACES})


def find_obstacle(request: HttpRequest) -> str:
    """Return why no bulk can be made from everything that the list shows; empty when it is possible.

    A position narrows the list, and so does one of its orders, but neither is a filter that can freeze a set.
    """
    if SLOWEST in request.GET.getlist(OrderFilter.parameter_name):
        return "The slowest sagas are closed, and no operation applies to closed sagas. Choose another order."
    if any(request.GET.getlist(PositionFilter.parameter_name)):
        return "This list begins after a position, which is not a filter. Go back to its beginning."
    return ""


def filter_query(request: HttpRequest) -> str:
    """Return the query of a bulk over everything that matches the list; ``everything=1`` without a filter.

    Page, order and position are dropped, so call ``find_obstacle`` first. Everything else is kept, to be refused if
    unknown.
    """
    query = QueryDict(mutable=True)
    for name, values in request.GET.lists():
        if name not in PLACES and "".join(values).strip():
            query.setlist(name, values)
    if not query:
        query[EVERYTHING_PARAMETER] = "1"
    return query.urlencode()


def _read_once(query: QueryDict, name: str) -> str:
    values = query.getlist(name)
    if len(values) != 1:
        raise BadRequest(f"{name[:MAX_SHOWN_CHARS]} comes {len(values)} times; give it once.")
    return values[0]


def _read_filter(given: dict[str, str]) -> SagaFilter:
    """Return the filter of the parameters; each must be a filter of the list or its search.

    Raises: BadRequest.
    """
    if places := PLACES & set(given):
        raise BadRequest(f"{min(places)} is a position in the list, not a filter.")
    if unknown := set(given) - FROZEN - {SEARCH_VAR}:
        raise BadRequest(f"The list has no filter {min(unknown)[:MAX_SHOWN_CHARS]!r}.")
    named = {"search" if name == SEARCH_VAR else name: text for name, text in given.items()}
    return parse_filter({name: add_zone(text) if name in WindowFilter.names else text for name, text in named.items()})
