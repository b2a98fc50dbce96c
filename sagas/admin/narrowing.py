"""Narrow the list further: by end, step, attempts, error group, a person's touch, time, and place in the list.

As in ``filters``, every choice is known beforehand and every condition has an index.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.admin import ListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import F, QuerySet
from django.db.models.expressions import OrderBy
from django.db.models.functions import Now
from django.http import HttpRequest

from .. import registry
from ..definition import STEP_NAME
from ..display.filters import IS_OPEN
from ..display.times import describe_moment
from ..filtering import (
    GROUP,
    NUMBER,
    narrow_to_attempts,
    narrow_to_failing,
    narrow_to_group,
    narrow_to_step,
    narrow_to_touch,
)
from ..models import Saga
from ..places import is_above, is_below
from .choosing import SPANS, ChoiceFilter, refuse

MICROSECONDS = re.compile(r"-?[0-9]{1,18}")
SLOWEST, LONGEST = "slowest", "longest"
TOOK = F("closed_at") - F("created_at")
ORDERS: dict[str, tuple[OrderBy, ...]] = {
    SLOWEST: (TOOK.desc(), F("id").desc()),
    LONGEST: (F("created_at").asc(), F("id").asc()),
}


class ClosedFilter(ChoiceFilter):
    """Narrow by when a saga was over, or to those that are not."""

    title = "end"
    parameter_name = "closed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the choices."""
        spans = [(value, f"Closed in the {label.lower()}") for value, (label, _) in SPANS.items()]
        return [("no", "Still open"), ("today", "Closed today"), *spans]

    def narrow(self, queryset: QuerySet[Saga], value: str) -> QuerySet[Saga]:
        """Return the rows that are open, or were closed since then."""
        if value == "no":
            return queryset.filter(IS_OPEN)
        if value == "today":
            return queryset.filter(closed_at__gte=start_of_today())
        return queryset.filter(closed_at__gte=Now() - SPANS[value][1])


class StepFilter(ChoiceFilter):
    """Narrow to the open sagas that are at a step: it is held, live or waits; also at one that the code has lost."""

    title = "step it is at"
    parameter_name = "step"
    form = "the name of a step: small letters, digits and underscores"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the steps of every definition."""
        names = {step.name for definition in registry.all_definitions() for step in definition.steps}
        return [(name, name) for name in sorted(names)]

    def has_output(self) -> bool:
        """Tell that the filter works although there may be no choice to show."""
        return True

    def accepts(self, value: str) -> bool:
        """Tell whether a value could be a step."""
        return STEP_NAME.fullmatch(value) is not None

    def narrow(self, queryset: QuerySet[Saga], value: str) -> QuerySet[Saga]:
        """Return the rows that are at the step."""
        return narrow_to_step(queryset, value)


class AttemptsFilter(ChoiceFilter):
    """Narrow to sagas one of whose steps had at least so many attempts in one direction."""

    title = "attempts of a step"
    parameter_name = "attempts"
    form = "a number from 1 on"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return some numbers; any other can be written into the URL."""
        numbers = sorted({2, 4, 10, *([int(value)] if (value := self.value()) and NUMBER.fullmatch(value) else [])})
        return [(str(number), f"{number} or more") for number in numbers]

    def accepts(self, value: str) -> bool:
        """Tell whether a value is a number."""
        return NUMBER.fullmatch(value) is not None

    def narrow(self, queryset: QuerySet[Saga], value: str) -> QuerySet[Saga]:
        """Return the rows that needed so many."""
        return narrow_to_attempts(queryset, int(value))


class TouchedFilter(ChoiceFilter):
    """Narrow by whether a person has acted on a saga."""

    title = "touch of a person"
    parameter_name = "touched"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the choices."""
        return [("yes", "Touched by a person"), ("no", "Touched by nobody")]

    def narrow(self, queryset: QuerySet[Saga], value: str) -> QuerySet[Saga]:
        """Return the rows that were, or were not, acted on."""
        return narrow_to_touch(queryset, value)


class GroupFilter(ChoiceFilter):
    """Narrow to sagas that failed in one way, at any time; the page of failures leads here."""

    title = "failure group"
    parameter_name = "group"
    form = "16 hexadecimal digits, as the page of failures has them"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the group of the URL; which others there are is on the page of failures."""
        value = self.value()
        return [(value, f"Group {value[:16]}")] if value is not None else []

    def accepts(self, value: str) -> bool:
        """Tell whether a value could be a group."""
        return GROUP.fullmatch(value) is not None

    def narrow(self, queryset: QuerySet[Saga], value: str) -> QuerySet[Saga]:
        """Return the rows with an attempt of the group."""
        return narrow_to_group(queryset, value)


class FailingFilter(GroupFilter):
    """Narrow to open sagas that fail in one way now; the page of failures acts on these."""

    title = "what it fails with now"
    parameter_name = "failing"

    def narrow(self, queryset: QuerySet[Saga], value: str) -> QuerySet[Saga]:
        """Return the rows that have not got over it."""
        return narrow_to_failing(queryset, value)


class OrderFilter(ChoiceFilter):
    """Choose what comes first."""

    title = "order"
    parameter_name = "by"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the orders beside the usual one."""
        return [(SLOWEST, "Slowest, of the closed ones"), (LONGEST, "Longest open")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Return the choices; the first one is the usual order. Each begins at its own beginning."""
        values = [None, *(value for value, _ in self.lookup_choices)]
        for value, choice in zip(values, super().choices(changelist), strict=True):
            query = changelist.get_query_string({self.parameter_name: value, PlaceFilter.parameter_name: None})
            yield {**choice, "query_string": query, **({} if value else {"display": "Newest"})}

    def narrow(self, queryset: QuerySet[Saga], value: str) -> QuerySet[Saga]:
        """Return the rows that have a place in the order; ``find_order`` makes it."""
        return queryset.filter(closed_at__isnull=value == LONGEST)


class PlaceFilter(ChoiceFilter):
    """Go on with what comes behind a saga in the order of the list: how to leaf beyond the first pages."""

    title = "place in the list"
    parameter_name = "before"
    form = "a place that the list itself leads to, in the same order"

    def __init__(self, request: HttpRequest, *args: Any) -> None:
        self.order = request.GET.get(OrderFilter.parameter_name, "")
        super().__init__(request, *args)

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the place of the URL."""
        value = self.value()
        if value is None:
            return []
        if slow := self._parse_slow(value):
            return [(value, f"Not slower than {slow[0].total_seconds():.3f} s")]
        place = parse_place(value)
        word = "After" if self.order == LONGEST else "Before"
        return [(value, f"{word} {describe_moment(place[0])}" if place else "")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Return the choices; the first one leads back."""
        first, *others = super().choices(changelist)
        yield {**first, "display": "From the beginning" if self.order else "From the newest"}
        yield from others

    def accepts(self, value: str) -> bool:
        """Tell whether a value is a place."""
        return self._parse_slow(value) is not None or parse_place(value) is not None

    def narrow(self, queryset: QuerySet[Saga], value: str) -> QuerySet[Saga]:
        """Return the rows that come later."""
        if slow := self._parse_slow(value):
            return queryset.alias(took=TOOK).filter(is_below("took", *slow))
        place, is_behind = parse_place(value), is_above if self.order == LONGEST else is_below
        return queryset.filter(is_behind("created_at", *place)) if place else queryset.none()

    def _parse_slow(self, value: str) -> tuple[timedelta, UUID] | None:
        return parse_slow_place(value) if self.order == SLOWEST else None


class WindowFilter(ListFilter):
    """Narrow to sagas started between two moments, either of which may be left open."""

    title = "start between (UTC)"
    template = "admin/sagas/filters/window.html"
    parameter_name = "since"  # for the list's own sake: the names that the URL may hold
    names = ("since", "until")

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        for name in self.names:
            if name in params:
                self.used_parameters[name] = str(params.pop(name)[-1])

    def has_output(self) -> bool:
        """Tell that there is a form to show."""
        return True

    def expected_parameters(self) -> list[str | None]:
        """Return the names that the URL may hold."""
        return list(self.names)

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Return what the form shows, and what it must keep of the URL."""
        kept = {name: value for name, value in changelist.params.items() if name not in (*self.names, "p", "e")}
        shown = {name: self.used_parameters.get(name, "") for name in self.names}
        cleared = changelist.get_query_string(remove=list(self.names))
        yield {**shown, "kept": kept, "is_set": bool(self.used_parameters), "cleared": cleared}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Saga]) -> QuerySet[Saga]:
        """Return the rows started between the two."""
        limits = {"since": "created_at__gte", "until": "created_at__lt"}
        for name, value in self.used_parameters.items():
            if not isinstance(value, str) or not value:
                continue
            moment = parse_moment(value)
            if moment is None:
                raise IncorrectLookupParameters(refuse(name, value, "a moment such as 2026-11-20T03:00:00Z"))
            queryset = queryset.filter(**{limits[name]: moment})
        return queryset


def find_order(request: HttpRequest) -> tuple[OrderBy, ...] | None:
    """Return the order that the URL asks for, or None for the usual one."""
    return ORDERS.get(request.GET.get(OrderFilter.parameter_name, ""))


def describe_place(saga: Saga, order: str = "") -> str:
    """Return the place of a saga in the list, as the URL holds it: its start and id, or in SLOWEST what it took."""
    if order == SLOWEST and saga.closed_at is not None:
        return f"{(saga.closed_at - saga.created_at) // timedelta(microseconds=1)}~{saga.pk}"
    return f"{saga.created_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}~{saga.pk}"


def parse_place(text: str) -> tuple[datetime, UUID] | None:
    """Return start and id of a place, or None when it is none."""
    at, tilde, pk = text.partition("~")
    moment = parse_moment(at)
    try:
        return (moment, UUID(pk)) if tilde and moment else None
    except ValueError:
        return None


def parse_slow_place(text: str) -> tuple[timedelta, UUID] | None:
    """Return what a saga took and its id, of a place in the order of the slowest, or None when it is none."""
    took, _, pk = text.partition("~")
    try:
        return (timedelta(microseconds=int(took)), UUID(pk)) if MICROSECONDS.fullmatch(took) else None
    except ValueError:
        return None


def parse_moment(text: str) -> datetime | None:
    """Return a moment of a URL, in UTC when it names no zone; None when it is no moment."""
    try:
        found = datetime.fromisoformat(text) if len(text) <= 40 and text.isascii() else None
        if found is None:
            return None
        aware = found if found.tzinfo else found.replace(tzinfo=UTC)
        # At the ends of the calendar the database's zone could lead beyond it.
        aware.astimezone(UTC) - timedelta(days=2)
        aware.astimezone(UTC) + timedelta(days=2)
    except (ValueError, OverflowError):
        return None
    return aware


def start_of_today() -> datetime:
    """Return the last midnight in UTC, as everything in the console is."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


MORE_FILTERS = (
    ClosedFilter, StepFilter, AttemptsFilter, TouchedFilter, GroupFilter, FailingFilter, WindowFilter, OrderFilter,
    PlaceFilter,
)  # fmt: skip
