"""Sagas before and after one in the list that its page was opened from, found by keyset."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.core.exceptions import TooManyFieldsSent
from django.db.models import Q, QuerySet, Value
from django.db.models.expressions import OrderBy
from django.http import HttpRequest, QueryDict

from ...exceptions import BadRequest
from ...models import Saga
from ...operators.queries.keyset import is_above, is_below
from ..ui.addresses import find_url
from ..ui.console_admin import ConsoleAdmin
from ..ui.list_order import LONGEST, NEWEST, ORDERS, SEVEREST, SLOWEST, TOOK, OrderFilter
from ..ui.page_selection import LIST_FILTERS
from .strict_query import read_filter


class OpenedFrom:
    """List that a saga's page was opened from: that of the URL's parameter, else the list of all, newest first.

    A saga that the list does not show any more keeps its place in the list's order. A parameter that describes no list,
    or a search, has no neighbours.
    """

    def __init__(self, console: ConsoleAdmin, request: HttpRequest) -> None:
        self._console, self._request = console, request
        self._filters = request.GET.get(LIST_FILTERS, "")

    def select_neighbours(self, saga: Saga) -> QuerySet[Saga, Any] | None:
        """Return the query of places and ids of the sagas beside one, or None without neighbours.

        Places: from -1 downwards before it, from 1 upwards after it, the nearest first.
        """
        try:
            query = QueryDict(self._filters)
            wanted = read_filter(query)
        except (BadRequest, TooManyFieldsSent):
            return None
        order = query.get(OrderFilter.parameter_name, "")
        # A search may read thousands of keys, which the page of one saga does not wait for.
        if wanted.search or (order and order not in ORDERS) or (order == SLOWEST and saga.closed_at is None):
            return None
        sagas = wanted.narrow(self._console.get_queryset(self._request)).alias(took=TOOK)
        if order:
            sagas = sagas.filter(closed_at__isnull=order != SLOWEST)
        forward = ORDERS.get(order, NEWEST)
        backward = tuple(OrderBy(one.expression, descending=not one.descending) for one in forward)
        first, *others = (
            sagas.filter(beyond).order_by(*(forward if place > 0 else backward)).values_list(Value(place), "pk")[:1]
            for place, beyond in _list_ranges(saga, order).items()
        )
        return first.union(*others, all=True).order_by()  # Django 6.1 would order by the model's fields

    def link(self, neighbours: Mapping[int, UUID]) -> dict[str, str]:
        """Return the URLs of the previous and the next saga; empty at either end."""
        before = max((place for place in neighbours if place < 0), default=0)
        after = min((place for place in neighbours if place > 0), default=0)
        kept = {LIST_FILTERS: self._filters} if self._filters else None
        site = self._console.admin_site.name
        return {
            name: find_url(site, "sagas_saga_change", neighbours[place], query=kept) if place else ""
            for name, place in (("previous_url", before), ("next_url", after))
        }


def _list_ranges(saga: Saga, order: str) -> dict[int, Q]:
    """Return the conditions of the sagas before and after one, by place."""
    field: str = "created_at"
    value: Any = saga.created_at
    if order == SLOWEST and saga.closed_at is not None:
        field, value = "took", saga.closed_at - saga.created_at
    above, below = is_above(field, value, saga.pk), is_below(field, value, saga.pk)
    if order == SEVEREST:
        # With its own severity and the others in one condition, an index scan would begin far from the saga.
        same = Q(severity=saga.severity)
        return {
            -1: same & above, -2: Q(severity__lt=saga.severity), 1: same & below, 2: Q(severity__gt=saga.severity),
        }  # fmt: skip
    return {-1: below, 1: above} if order == LONGEST else {-1: above, 1: below}
