"""Points in time from anywhere in a project: conversion to UTC for display and comparison, and parsing.

The engine's own columns are already aware and in UTC; see ``sagas.models.fields``.
"""

from datetime import UTC, datetime, timedelta, tzinfo

from django.utils import timezone

MAX_TIMESTAMP_CHARS = 40
TIMESTAMP_FORM = "an ISO 8601 timestamp with a time zone, such as 2026-11-20T03:00:00Z"
# At the ends of the calendar, the zone of a database session could exceed it.
MARGIN = timedelta(days=2)


def in_utc(moment: datetime, *, zone: tzinfo | None = None) -> datetime:
    """Return a time in UTC: arithmetic in other zones is wrong by an hour where clocks are put back.

    ``zone``: zone of a naive time; None: the project's TIME_ZONE. In a repeated hour ``fold`` selects the occurrence,
    as Django sets it from the database's value.
    """
    if moment.tzinfo is UTC:
        return moment
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone or timezone.get_default_timezone())
    return aware.astimezone(UTC)


def read_timestamp(text: str, *, zone: tzinfo | None = None) -> datetime | None:
    """Return the point in time of an ISO 8601 text, in UTC; None if the text is invalid.

    ``zone``: zone of a text that names none; without it, such a text is refused.
    """
    if len(text) > MAX_TIMESTAMP_CHARS or not text.isascii():
        return None
    try:
        found = datetime.fromisoformat(text)
        aware = found.replace(tzinfo=zone) if found.tzinfo is None else found
        if aware.tzinfo is None:
            return None
        utc = aware.astimezone(UTC)
        return utc if utc - MARGIN < utc + MARGIN else None
    except (ValueError, OverflowError):
        return None
