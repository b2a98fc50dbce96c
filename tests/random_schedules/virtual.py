"""Virtual clock of the engine that moves only when read or told to, so that a seed repeats a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import connections

from sagas import clock

TICK = timedelta(milliseconds=1)  # no two timestamps are equal, as in a real database
BEGINNING = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class VirtualClock:
    """Time of the engine."""

    now: datetime = BEGINNING

    def read(self, _moment: datetime) -> datetime:
        """Return the time, advancing it by a tick."""
        self.now += TICK
        return self.now

    def read_shift(self) -> float:
        """Return how far the database's clock is behind, for statements that read it themselves."""
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            return float((self.now - cursor.fetchone()[0]).total_seconds())

    def move(self, seconds: float) -> None:
        """Advance the time."""
        self.now += timedelta(seconds=seconds)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Replace the engine's clock inside the block."""
        before = clock.shifted, clock.shift_seconds
        clock.shifted, clock.shift_seconds = self.read, self.read_shift
        try:
            yield
        finally:
            clock.shifted, clock.shift_seconds = before
