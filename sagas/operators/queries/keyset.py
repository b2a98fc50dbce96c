"""Keyset pagination: continue after a row by its place, not by an offset, so no row is skipped or shown twice."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.models import Q

from ...moments import read_timestamp


def is_below(field: str, value: Any, pk: Any) -> Q:
    """Return the condition of the rows after a place in descending order of a field and then the id."""
    # The last part is redundant; it lets an index scan begin at the place.
    return (Q(**{f"{field}__lt": value}) | Q(**{field: value, "pk__lt": pk})) & Q(**{f"{field}__lte": value})


def is_above(field: str, value: Any, pk: Any) -> Q:
    """Return the condition of the rows after a place in ascending order of a field and then the id."""
    return (Q(**{f"{field}__gt": value}) | Q(**{field: value, "pk__gt": pk})) & Q(**{f"{field}__gte": value})


def is_less_severe(severity: int, at: datetime, pk: UUID) -> Q:
    """Return the condition of the sagas after a place in the order of severity, and then newest first."""
    return Q(severity__gte=severity) & (Q(severity__gt=severity) | is_below("created_at", at, pk))


def write_place(at: datetime, pk: UUID) -> str:
    """Return the place of a saga in a list ordered by start, as text."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}~{pk}"


def read_place(text: str) -> tuple[datetime, UUID] | None:
    """Return start and id of a place; None when the text is no place."""
    at, _, pk = text.partition("~")
    try:
        moment, found = read_timestamp(at), UUID(pk)
    except ValueError:
        return None
    return (moment, found) if moment else None
