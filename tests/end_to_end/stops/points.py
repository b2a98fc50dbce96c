"""Stop points. An order carries one in its second address line, so that only its saga stops.

Imports nothing from Django, because tests outside the project's processes use it too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

DIRECTORY_VARIABLE = "ACCEPTANCE_STOPS"
"""Environment variable that names the directory of the marks; without it nobody stops."""


class Moment(StrEnum):
    """When a worker stops, relative to a step function."""

    BEFORE = "before"  #: claimed, function not started
    AFTER = "after"  #: function returned; a local step has not committed, an external one is not recorded
    COMMITTED = "committed"  #: committed in the participant's own database, not recorded by the engine
    DEATH = "death"  #: as AFTER, but the worker kills itself, at every attempt
    LATE_DEATH = "late-death"  #: as BEFORE, and after its release and the function's end it kills itself


@dataclass(frozen=True, kw_only=True)
class StopPoint:
    """Place where a worker stops.

    step, direction, moment: where. Written as four words after ``stop at``.
    """

    step: str
    direction: str
    moment: Moment

    def __str__(self) -> str:
        return f"stop at {self.step} {self.direction} {self.moment}"

    @classmethod
    def parse(cls, text: str) -> StopPoint | None:
        """Parse the output of ``str``; None for any other text."""
        words = text.split()
        if words[:2] != ["stop", "at"] or len(words) != 5:
            return None
        return cls(step=words[2], direction=words[3], moment=Moment(words[4]))


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Exchange with a stopped worker through files: it writes its process id, and waits for its release.

    directory: shared by the test and the worker.
    """

    directory: Path

    def find_stopped(self, order_number: str) -> int | None:
        """Return the process id of the worker that stopped for an order, or None."""
        mark = self._mark(order_number)
        return int(mark.read_text()) if mark.exists() else None

    def release(self, order_number: str, *, once_shutting_down: bool = False) -> None:
        """Release the stopped worker, perhaps only after it has noticed a shutdown request."""
        draft = self.directory / f"{order_number}.draft"
        draft.write_text("once shutting down" if once_shutting_down else "now")
        draft.rename(self._permission(order_number))

    def put(self, order_number: str) -> bool:
        """Report that this process stops here.

        Returns: False if one has stopped for this order before.
        """
        draft = self.directory / f"{order_number}.{os.getpid()}.draft"
        draft.write_text(str(os.getpid()))
        try:
            os.link(draft, self._mark(order_number))
        except FileExistsError:
            return False
        return True

    def read_permission(self, order_number: str) -> str:
        """Return the release condition of the stopped worker; an empty string: not released."""
        permission = self._permission(order_number)
        return permission.read_text() if permission.exists() else ""

    def _mark(self, order_number: str) -> Path:
        return self.directory / f"{order_number}.stopped"

    def _permission(self, order_number: str) -> Path:
        return self.directory / f"{order_number}.go"
