"""Be the base of filters of the list: one value out of a few, kept in the URL."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest

from ..models import Saga

SPANS = {
    "15m": ("Last 15 minutes", timedelta(minutes=15)),
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}


class ChoiceFilter(SimpleListFilter):
    """Narrow by one value out of a list; any other value in the URL is an error, which the admin answers politely."""

    template = "admin/sagas/filters/choice.html"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Saga]) -> QuerySet[Saga]:
        """Return the rows that pass."""
        value = self.value()
        if value is None:
            return queryset
        if not self.accepts(value):
            raise IncorrectLookupParameters(f"{self.parameter_name} has no choice {value!r}.")
        return self.narrow(queryset, value)

    def accepts(self, value: str) -> bool:
        """Tell whether a value of the URL can be filtered by."""
        return value in dict(self.lookup_choices)

    def narrow(self, queryset: QuerySet[Saga], value: str) -> QuerySet[Saga]:
        """Return the rows that have an accepted value."""
        raise NotImplementedError
