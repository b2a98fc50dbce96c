"""Forked child processes that run a path and count its points, die at one, or freeze at one until resumed.

A point is the gap before an event, plus one after the last: dying in every gap means dying before and after every
event. The child opens its own connections and never touches inherited ones; it ends by SIGKILL or ``os._exit``, so
that nothing of the test run is cleaned up twice.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from django.db import Error, connections

from sagas import clock

from .points import Event, Failure, watching

# The system ends a child that does not end by itself; no path takes that long, even on a busy machine.
LONGEST_SECONDS = 300
# Between two checks of the database; constant polling would slow it down.
LOOK_SECONDS = 0.002
ENDED, FROZEN = "ended", "frozen"


class ChildFailed(Exception):
    """Unexpected end of a child, with its output."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a child that was not killed ended."""

    points: tuple[str, ...]
    """Event after each point, in order."""
    error: str
    """Exception that left the path; empty if none."""
    is_database_error: bool
    """Whether the exception reports a database failure, such as an ended session."""


def count_points(run: Callable[[], object]) -> tuple[str, ...]:
    """Run a path to its end in a child.

    Returns: what stands after each point; the last one is the end.
    Raises: ChildFailed when the path raises.
    """
    child = Child.start(run)
    ending = child.wait_for_end()
    if ending.error:
        raise ChildFailed(f"The path does not even work undisturbed: {ending.error}")
    return ending.points


def kill_at(run: Callable[[], object], point: int) -> None:
    """Run a path in a child that kills itself at a point, and wait until the database has noticed.

    Raises: ChildFailed when it never got there.
    """
    child = Child.start(run, dies_at=point)
    message = child.read()
    status = child.wait()
    if message or not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        raise ChildFailed(f"Point {point} was not reached; status {status}, {message}")
    child.wait_for_sessions_to_end()


class Child:
    """Handle of a forked process."""

    def __init__(self, pid: int, inbox: int, outbox: int) -> None:
        self.pid = pid
        self.name = name_of(pid)
        self._inbox = os.fdopen(inbox)
        self._outbox = os.fdopen(outbox, "w")

    @classmethod
    def start(cls, run: Callable[[], object], *, dies_at: int | None = None, freezes_at: int | None = None) -> Child:
        """Fork a child that runs a path."""
        from_child, to_parent = os.pipe()
        from_parent, to_child = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(from_child)
            os.close(to_child)
            _be_child(run, _Gaps(dies_at=dies_at, freezes_at=freezes_at, inbox=from_parent, outbox=to_parent))
        os.close(to_parent)
        os.close(from_parent)
        return cls(pid, from_child, to_child)

    def read(self) -> dict[str, Any]:
        """Read a message of the child; an empty one if it is dead."""
        line = self._inbox.readline()
        return json.loads(line) if line else {}

    def wait(self) -> int:
        """Wait until the child has ended."""
        self._inbox.close()
        self._outbox.close()
        return os.waitpid(self.pid, 0)[1]

    def wait_for_end(self) -> Ending:
        """Wait until the child has run its path to the end.

        Raises: ChildFailed when it died.
        """
        message = self.read()
        status = self.wait()
        if message.get("what") != ENDED:
            raise ChildFailed(f"The child died: status {status}, {message}")
        self.wait_for_sessions_to_end()
        return Ending(
            points=tuple(message["points"]), error=message["error"], is_database_error=message["is_database_error"]
        )

    def wait_until_frozen(self) -> None:
        """Wait until the child is frozen, and end its idle transaction as the database does.

        Raises: ChildFailed when it never got there.
        """
        message = self.read()
        if message.get("what") != FROZEN:
            raise ChildFailed(f"The child did not stand still: status {self.wait()}, {message}")
        self._query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = %s AND state LIKE 'idle in transaction%%'"
        )
        self._wait_until_none("state LIKE 'idle in transaction%%'")

    def thaw(self, shift_seconds: float) -> None:
        """Resume the child, with the engine's current clock."""
        self._outbox.write(f"{shift_seconds}\n")
        self._outbox.flush()

    def wait_for_sessions_to_end(self) -> None:
        """Wait until the child's transactions are rolled back and its locks are free."""
        self._wait_until_none("true")

    def _wait_until_none(self, condition: str) -> None:
        statement = f"SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND {condition}"  # noqa: S608
        gives_up_at = time.monotonic() + LONGEST_SECONDS
        while self._query(statement):
            if time.monotonic() > gives_up_at:
                raise ChildFailed(f"Sessions of {self.name} do not end.")
            time.sleep(LOOK_SECONDS)

    def _query(self, statement: str) -> list[Any]:
        with connections["default"].cursor() as cursor:
            cursor.execute(statement, [self.name])
            return list(cursor.fetchall())


class _Gaps:
    """Counter of the points that a child passes, which stops it at one."""

    def __init__(self, *, dies_at: int | None, freezes_at: int | None, inbox: int, outbox: int) -> None:
        self.passed: list[str] = []
        self._dies_at = dies_at
        self._freezes_at = freezes_at
        self._inbox = os.fdopen(inbox)
        self._outbox = os.fdopen(outbox, "w")

    def pass_by(self, event: Event | str) -> Failure | None:
        """Pass the point before an event."""
        self.passed.append(str(event))
        if len(self.passed) == self._dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if len(self.passed) == self._freezes_at:
            self.report(what=FROZEN)
            ahead = float(self._inbox.readline()) - clock.shift_seconds()
            clock.move(timedelta(seconds=ahead))
        return None

    def report(self, **message: Any) -> None:
        """Send a message to the parent."""
        self._outbox.write(json.dumps(message) + "\n")
        self._outbox.flush()


def name_of(pid: int) -> str:
    """Return the name of a child's database sessions."""
    return f"faults-child-{pid}"


def _be_child(run: Callable[[], object], gaps: _Gaps) -> NoReturn:
    code = 1
    try:
        gc.disable()  # the collector would write to every page shared with the parent, and so copy it
        signal.alarm(LONGEST_SECONDS)
        _forget_connections()
        error, is_database_error = "", False
        with watching(gaps.pass_by):
            try:
                run()
            except Exception as raised:  # noqa: BLE001 - the parent judges what left the path
                error, is_database_error = f"{type(raised).__name__}: {raised}", isinstance(raised, Error)
            gaps.pass_by("the end")
        gaps.report(what=ENDED, points=gaps.passed, error=error, is_database_error=is_database_error)
        code = 0
    finally:
        os._exit(code)


# Connections inherited by the child, which must neither use nor close them: the parent still does.
_inherited: list[Any] = []


def _forget_connections() -> None:
    for alias in connections:
        _inherited.append(connections[alias].connection)
        del connections[alias]
        connections.settings[alias]["OPTIONS"]["application_name"] = name_of(os.getpid())
