"""Order of the list, and keyset pagination beyond its first pages."""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import F, QuerySet
from django.db.models.expressions import OrderBy
from django.http import HttpRequest

from ...models import Saga
from ...operators.presentation.times import describe_moment
from ...operators.queries.keyset import is_above, is_below, is_less_severe, read_place, write_place
from ...operators.queries.saga_filter import refuse_value

SEVERITY = re.compile(r"[0-9]{1,3}")
MICROSECONDS = re.compile(r"-?[0-9]{1,18}")
SEVEREST, SLOWEST, LONGEST = "severest", "slowest", "longest"
TOOK = F("closed_at") - F("created_at")
NEWEST = (F("created_at").desc(), F("id").desc())
ORDERS: dict[str, tuple[OrderBy, ...]] = {
    SEVEREST: (F("severity").asc(), F("created_at").desc(), F("id").desc()),
    SLOWEST: (TOOK.desc(), F("id").desc()),
    LONGEST: (F("created_at").asc(), F("id").asc()),
}


class OrderFilter(SimpleListFilter):
    """Filter that chooses the order of the list."""

    title = "order"
    parameter_name = "by"
    template = "admin/sagas/filters/choice.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the orders other than the default."""
        return [(SEVEREST, "Most severe, open"), (SLOWEST, "Slowest, closed"), (LONGEST, "Longest open")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the choices, the default order first; each link drops the list position."""
        values = [None, *(value for value, _ in self.lookup_choices)]
        for value, choice in zip(values, super().choices(changelist), strict=True):
            query = changelist.get_query_string({self.parameter_name: value, PositionFilter.parameter_name: None})
            yield {**choice, "query_string": query, **({} if value else {"display": "Newest"})}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Saga]) -> QuerySet[Saga]:
        """Return the rows that the order applies to; ``find_order`` sorts them."""
        value = self.value()
        if value is None:
            return queryset
        if value not in ORDERS:
            raise IncorrectLookupParameters(refuse_value("by", value, f"one of {', '.join(ORDERS)}"))
        return queryset.filter(closed_at__isnull=value != SLOWEST)


class PositionFilter(SimpleListFilter):
    """Filter that continues the list after a saga in its order (keyset pagination)."""

    title = "position in the list"
    parameter_name = "before"
    template = "admin/sagas/filters/choice.html"

    def __init__(self, request: HttpRequest, *args: Any) -> None:
        self.order = request.GET.get(OrderFilter.parameter_name, "")
        super().__init__(request, *args)

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the position in the URL."""
        value = self.value()
        if value is None:
            return []
        if slow := self._parse_slow(value):
            return [(value, f"Not slower than {slow[0].total_seconds():.3f} s")]
        if severe := self._parse_severe(value):
            return [(value, f"Less severe, or before {describe_moment(severe[1])}")]
        place = read_place(value)
        word = "After" if self.order == LONGEST else "Before"
        return [(value, f"{word} {describe_moment(place[0])}" if place and self.order != SEVEREST else "")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the choices; the first one leads back to the beginning."""
        first, *others = super().choices(changelist)
        yield {**first, "display": "From the beginning" if self.order else "From the newest"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Saga]) -> QuerySet[Saga]:
        """Return the rows after the position."""
        value = self.value()
        if value is None:
            return queryset
        if slow := self._parse_slow(value):
            return queryset.alias(took=TOOK).filter(is_below("took", *slow))
        if severe := self._parse_severe(value):
            return queryset.filter(is_less_severe(*severe))
        if self.order != SEVEREST and (place := read_place(value)):
            return queryset.filter((is_above if self.order == LONGEST else is_below)("created_at", *place))
        form = "a position from the links of the list, in the same order"
        raise IncorrectLookupParameters(refuse_value("before", value, form))

    def _parse_slow(self, value: str) -> tuple[timedelta, UUID] | None:
        return parse_slow_position(value) if self.order == SLOWEST else None

    def _parse_severe(self, value: str) -> tuple[int, datetime, UUID] | None:
        return parse_severe_position(value) if self.order == SEVEREST else None


def find_order(request: HttpRequest) -> tuple[OrderBy, ...] | None:
    """Return the order in the URL, or None for the default one."""
    return ORDERS.get(request.GET.get(OrderFilter.parameter_name, ""))


def describe_position(saga: Saga, order: str = "") -> str:
    """Return the position of a saga in an order, for the URL.

    Shape: ``start~id``; in SEVEREST ``severity~start~id``; in SLOWEST ``microseconds~id``.
    """
    if order == SEVEREST:
        return f"{saga.severity}~{write_place(saga.created_at, saga.pk)}"
    if order == SLOWEST and saga.closed_at is not None:
        return f"{(saga.closed_at - saga.created_at) // timedelta(microseconds=1)}~{saga.pk}"
    return write_place(saga.created_at, saga.pk)


def parse_severe_position(text: str) -> tuple[int, datetime, UUID] | None:
    """Return severity, start and id of a position in the order of the severest, or None when it is invalid."""
    severity, _, rest = text.partition("~")
    place = read_place(rest) if SEVERITY.fullmatch(severity) else None
    return (int(severity), *place) if place else None


def parse_slow_position(text: str) -> tuple[timedelta, UUID] | None:
    """Return duration and id of a position in the order of the slowest, or None when it is invalid."""
    took, _, pk = text.partition("~")
    try:
        return (timedelta(microseconds=int(took)), UUID(pk)) if MICROSECONDS.fullmatch(took) else None
    except ValueError:
        return None
