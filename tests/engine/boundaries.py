"""Count every SQL boundary of a piece of work, and break it at the n-th: a killed process, a cut connection, a COMMIT
without an answer.

A boundary stands before each statement, and before and after each COMMIT, in every database. (Nothing happens between a
statement and what follows it, so a boundary after each would find nothing new.)
"""

import gc
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

Tick = Callable[[BaseDatabaseWrapper, str], None]
BEFORE_STATEMENT, BEFORE_COMMIT, AFTER_COMMIT = "before a statement", "before COMMIT", "after COMMIT"


@contextmanager
def watched(tick: Tick) -> Iterator[None]:
    """Call ``tick`` with the connection and the kind of boundary at every boundary of this thread."""

    def wrap(execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        tick(context["connection"], BEFORE_STATEMENT)
        return execute(sql, params, many, context)

    real = BaseDatabaseWrapper._commit

    def commit(self: BaseDatabaseWrapper) -> None:
        tick(self, BEFORE_COMMIT)
        real(self)
        tick(self, AFTER_COMMIT)

    with ExitStack() as stack:
        for alias in connections:
            stack.enter_context(connections[alias].execute_wrapper(wrap))
        BaseDatabaseWrapper._commit = commit
        stack.callback(setattr, BaseDatabaseWrapper, "_commit", real)
        yield


def count_boundaries(work: Callable[[], object]) -> list[str]:
    """Return the kinds of the boundaries that ``work`` crosses, in order."""
    seen: list[str] = []
    with watched(lambda _connection, kind: seen.append(kind)):
        work()
    return seen


class _Countdown:
    def __init__(self, number: int, act: Tick) -> None:
        self.left, self.act = number, act
        self.is_reached = False

    def __call__(self, connection: BaseDatabaseWrapper, kind: str) -> None:
        if self.left == 0:
            self.left = -1
            self.is_reached = True
            self.act(connection, kind)
        elif self.left > 0:
            self.left -= 1


def kill_at(number: int, work: Callable[[], object]) -> bool:
    """Run ``work`` in a child process that is killed at a boundary.

    Returns: whether it was reached.
    """
    pid = os.fork()
    if pid == 0:
        try:
            gc.disable()  # the collector would write to every page shared with the parent, and so copy it
            _forget_connections()
            with watched(_Countdown(number, lambda _connection, _kind: os.kill(os.getpid(), signal.SIGKILL))):
                work()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


# Connections inherited by the child, which must neither use nor close them: the parent still does.
_inherited: list[BaseDatabaseWrapper] = []


def _forget_connections() -> None:
    for alias in connections:
        _inherited.append(connections[alias])
        del connections[alias]


def cut_at(number: int, work: Callable[[], object]) -> bool:
    """Run ``work`` and cut its database connection at a boundary; after a COMMIT, its answer is lost.

    Returns: whether the boundary was reached.
    """

    def cut(connection: BaseDatabaseWrapper, kind: str) -> None:
        connection.connection.close()
        if kind in (BEFORE_COMMIT, AFTER_COMMIT):
            connection.errors_occurred = True
            raise OperationalError("server closed the connection unexpectedly")

    countdown = _Countdown(number, cut)
    # A worker's task would raise this error; the next wake-up goes on.
    with watched(countdown), suppress(OperationalError):
        work()
    return countdown.is_reached
