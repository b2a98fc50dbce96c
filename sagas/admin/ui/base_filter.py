"""Strict reading of URL parameters, and the base class of the list's filters."""

from collections.abc import Collection
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest

from ...exceptions import BadRequest
from ...models import Saga
from ...operators.queries.saga_filter import parse_filter, refuse_value
from .page_selection import parse_number


class QueryRefused(Exception):
    """Invalid query parameters; the message names what is accepted."""


class CriterionFilter(SimpleListFilter):
    """Filter beside the list for one criterion of ``SagaFilter``; a refused value shows no rows."""

    template = "admin/sagas/filters/choice.html"

    def has_output(self) -> bool:
        """Return True: a filter for free values works without choices."""
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Saga]) -> QuerySet[Saga]:
        """Return the rows that match the value."""
        value = self.value()
        return queryset if value is None else narrow_list(queryset, {str(self.parameter_name): value})


def narrow_list(queryset: QuerySet[Saga], given: dict[str, Any]) -> QuerySet[Saga]:
    """Return the rows that match the parameters.

    Raises: IncorrectLookupParameters.
    """
    try:
        return parse_filter(given).narrow(queryset)
    except BadRequest as error:
        raise IncorrectLookupParameters(str(error)) from error


def read_once(request: HttpRequest, name: str) -> str:
    """Return a URL parameter; empty when it is absent.

    Raises: QueryRefused when it is repeated, which is ambiguous.
    """
    values = request.GET.getlist(name)
    if len(values) > 1:
        raise QueryRefused(f"{name} comes {len(values)} times; give it once.")
    return values[0] if values else ""


def read_choice(request: HttpRequest, name: str, choices: Collection[str]) -> str:
    """Return a URL parameter with fixed choices; empty when it is absent or empty.

    Raises: QueryRefused.
    """
    value = read_once(request, name)
    if value and value not in choices:
        raise QueryRefused(refuse_value(name, value, f"one of {', '.join(choices)}"))
    return value


def read_number(request: HttpRequest, name: str, *, highest: int | None = None) -> int | None:
    """Return a URL parameter for a list position, a number of at least 1; None when it is absent or empty.

    Raises: QueryRefused.
    """
    value = read_once(request, name)
    found = parse_number(value)
    if value and (not found or (highest is not None and found > highest)):
        form = "a number from 1" + (f" to {highest}" if highest is not None else " on")
        raise QueryRefused(refuse_value(name, value, f"{form}, as in the links of the page"))
    return found
