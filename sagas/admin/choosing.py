"""Be the base of filters of the list: one value out of a few, kept in the URL."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest

from ..models import Saga
from .selection import parse_number

MAX_SHOWN_CHARS = 60  # of a value that is none
SPANS = {
    "15m": ("Last 15 minutes", timedelta(minutes=15)),
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}


class QueryRefused(Exception):
    """Report a query of the list that cannot be followed; it says what would be understood."""


class ChoiceFilter(SimpleListFilter):
    """Narrow by one value out of a list; any other value in the URL is an error, and no rows are shown for it."""

    template = "admin/sagas/filters/choice.html"
    form = ""
    """What a value looks like where it may be another one than the choices."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Saga]) -> QuerySet[Saga]:
        """Return the rows that pass."""
        value = self.value()
        if value is None:
            return queryset
        if not self.accepts(value):
            raise IncorrectLookupParameters(refuse(str(self.parameter_name), value, self.form or self._list_values()))
        return self.narrow(queryset, value)

    def accepts(self, value: str) -> bool:
        """Tell whether a value of the URL can be filtered by."""
        return value in dict(self.lookup_choices)

    def narrow(self, queryset: QuerySet[Saga], value: str) -> QuerySet[Saga]:
        """Return the rows that have an accepted value."""
        raise NotImplementedError

    def _list_values(self) -> str:
        return f"one of {', '.join(str(value) for value, _ in self.lookup_choices)}"


def read_once(request: HttpRequest, name: str) -> str:
    """Return a parameter of the URL; empty when it is not there.

    Raises: QueryRefused when it comes several times: nobody knows which one is meant.
    """
    values = request.GET.getlist(name)
    if len(values) > 1:
        raise QueryRefused(f"{name} comes {len(values)} times; which one is meant?")
    return values[0] if values else ""


def read_choice(request: HttpRequest, name: str, choices: Collection[str]) -> str:
    """Return a parameter of the URL that is one of a few; empty when it is not there, or empty.

    Raises: QueryRefused.
    """
    value = read_once(request, name)
    if value and value not in choices:
        raise QueryRefused(refuse(name, value, f"one of {', '.join(choices)}"))
    return value


def read_number(request: HttpRequest, name: str, *, highest: int | None = None) -> int | None:
    """Return a number from 1 on out of the URL, from where a list goes on; None when it is not there, or empty.

    Raises: QueryRefused.
    """
    value = read_once(request, name)
    found = parse_number(value)
    if value and (not found or (highest is not None and found > highest)):
        form = "a number from 1" + (f" to {highest}" if highest is not None else " on")
        raise QueryRefused(refuse(name, value, f"{form}, as the page itself leads to"))
    return found


def refuse(name: str, value: str, form: str) -> str:
    """Return the sentence that a value of a parameter is none, and what would be one."""
    shown = value if len(value) <= MAX_SHOWN_CHARS else f"{value[:MAX_SHOWN_CHARS]}…"
    return f"{name} has no choice {shown!r}. It is {form}."
