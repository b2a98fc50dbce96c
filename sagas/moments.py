"""Points in time from anywhere in a project, turned to UTC to be shown and compared.

What the engine's own columns hold is aware and in UTC already; see ``sagas.models.fields``.
"""

from __future__ import annotations

from datetime import UTC, datetime

from django.utils import timezone


def in_utc(moment: datetime) -> datetime:
    """Return a moment in UTC; a naive one is local time in the project's TIME_ZONE.

    Of an hour that comes twice ``fold`` says which one is meant, as Django sets it from what the database says.
    """
    if moment.tzinfo is UTC:
        return moment
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.get_default_timezone())
    return aware.astimezone(UTC)
