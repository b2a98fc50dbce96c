"""Points in time from anywhere in a project: turned to UTC to be shown and compared, and read from texts.

What the engine's own columns hold is aware and in UTC already; see ``sagas.models.fields``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from django.utils import timezone

MAX_TIMESTAMP_CHARS = 40
TIMESTAMP_FORM = "an ISO 8601 timestamp with a time zone, such as 2026-11-20T03:00:00Z"
# At the ends of the calendar the zone of a database session could lead beyond it.
MARGIN = timedelta(days=2)


def in_utc(moment: datetime, *, zone: tzinfo | None = None) -> datetime:
    """Return a moment in UTC: arithmetic in any other zone is wrong by an hour where clocks are put back.

    ``zone``: of a naive one; None: it is local time in the project's TIME_ZONE. Of an hour that comes twice ``fold``
    says which one is meant, as Django sets it from what the database says.
    """
    if moment.tzinfo is UTC:
        return moment
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone or timezone.get_default_timezone())
    return aware.astimezone(UTC)


def read_timestamp(text: str, *, zone: tzinfo | None = None) -> datetime | None:
    """Return the point in time of an ISO 8601 text, in UTC; None when it is none.

    ``zone``: the zone of a text that names none; without it such a text is refused.
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
