"""Tell the time of the engine: the database's clock, plus the shift that tests set.

No decision of the engine depends on the clock of the machine it runs on, nor on the time zone of the project or of
a session.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import cast

from django.db import connections

from .moments import in_utc

_shift = timedelta()


def read_now(using: str) -> datetime:
    """Return the present time by the database's clock, aware, in UTC."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT clock_timestamp() AT TIME ZONE 'UTC'")
        return shifted(cast("datetime", cursor.fetchone()[0]))


def shifted(moment: datetime) -> datetime:
    """Return a moment read from the database, aware in UTC or naive in UTC, as the engine should see it."""
    return in_utc(moment, zone=UTC) + _shift


def shift_seconds() -> float:
    """Return the shift in seconds, for statements that compare with the clock themselves."""
    return _shift.total_seconds()


def move(by: timedelta) -> None:
    """Shift the engine's clock further; for tests in one process."""
    global _shift  # noqa: PLW0603 - one clock per process
    _shift += by


@contextmanager
def restored() -> Iterator[None]:
    """Put the clock back on exit; for tests."""
    global _shift  # noqa: PLW0603 - one clock per process
    before = _shift
    try:
        yield
    finally:
        _shift = before
