"""Go on behind a row of an ordered list, by its place instead of an offset: nothing is skipped or shown twice."""

from __future__ import annotations

from typing import Any

from django.db.models import Q


def is_below(field: str, value: Any, pk: Any) -> Q:
    """Return the condition of the rows behind a place where the greatest come first, by a field and then by id."""
    # The last part says nothing new; it is what an index can begin at.
    return (Q(**{f"{field}__lt": value}) | Q(**{field: value, "pk__lt": pk})) & Q(**{f"{field}__lte": value})


def is_above(field: str, value: Any, pk: Any) -> Q:
    """Return the condition of the rows behind a place where the least come first, by a field and then by id."""
    return (Q(**{f"{field}__gt": value}) | Q(**{field: value, "pk__gt": pk})) & Q(**{f"{field}__gte": value})
