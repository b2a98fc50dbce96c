"""The engine's clock: the database's clock, plus the shift that tests set.

No decision of the engine depends on the clock of its machine, or on the time zone of the project or of a session.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import cast

from django.db import connections

from .moments import in_utc

_shift = timedelta()


def read_now(using: str) -> datetime:
    """Return the current time of the database's clock, aware, in UTC."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT clock_timestamp() AT TIME ZONE 'UTC'")
        return shifted(cast("datetime", cursor.fetchone()[0]))


def shifted(moment: datetime) -> datetime:
    """Return a time read from the database, aware or naive in UTC, with the shift applied."""
    return in_utc(moment, zone=UTC) + _shift


def shift_seconds() -> float:
    """Return the shift in seconds, for SQL that reads the database's clock itself."""
    return _shift.total_seconds()


def move(by: timedelta) -> None:
    """Shift the engine's clock further; for tests in one process."""
    global _shift  # noqa: PLW0603 - one clock per process
    _shift += by


@contextmanager
def restored() -> Iterator[None]:
    """Restore the clock on exit; for tests."""
    global _shift  # noqa: PLW0603 - one clock per process
    before = _shift
    try:
        yield
    finally:
        _shift = before
