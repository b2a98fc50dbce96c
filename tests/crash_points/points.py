"""Points where a process affects the world: every statement, BEGIN, COMMIT and outside call.

Django passes its statements to ``execute_wrapper``, but not BEGIN, COMMIT and ROLLBACK: those are caught where
psycopg sends them. Outside calls are caught at the functions that make them. A test may count an event, die or freeze
before it, or let it fail.
"""

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from uuid import UUID

import psycopg
from django.db import connections

from tests.servers import PARTICIPANTS

TABLE = re.compile(r'\b(?:FROM|INTO|UPDATE|TABLE)\s+"?([a-z][a-z_]+)', re.IGNORECASE)


class Kind(Enum):
    """Kind of an event."""

    STATEMENT = auto()
    """Statement that Django sends, including savepoints."""
    BOUNDARY = auto()
    """COMMIT, ROLLBACK, or a BEGIN that was just sent."""
    CALL = auto()
    """Call, or a stand-in for one, that is about to leave the process."""
    ANSWER = auto()
    """Return of that call."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that is about to happen."""

    kind: Kind
    place: str
    """Alias of the database, or name of the called service."""
    what: str
    """Head of the statement, or name of the call."""

    @property
    def is_commit(self) -> bool:
        """Return whether a transaction is about to be committed."""
        return self.kind is Kind.BOUNDARY and self.what == "COMMIT"

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


class Failure(Enum):
    """What can be done to an event instead; with the SQLSTATE that the server reports."""

    DEADLOCK = "40P01"
    SERIALIZATION = "40001"
    SHUTDOWN = "57P01"
    """The server ends this connection."""
    ANSWER_LOST = "answer lost"
    """The statement takes place, and the connection breaks before the answer."""
    DROPPED = "dropped"
    """The connection breaks before the statement arrives."""


Visit = Callable[[Event], Failure | None]

# Current observer of the events of this process.
_visits: list[Visit] = []


@contextmanager
def watching(visit: Visit) -> Iterator[None]:
    """Call ``visit`` before every event of this thread's databases and of all outside calls."""
    with ExitStack() as stack:
        for alias in connections:
            stack.enter_context(connections[alias].execute_wrapper(_show_statement))
        stack.enter_context(_boundaries_shown())
        _visits.append(visit)
        try:
            yield
        finally:
            _visits.remove(visit)


def call_outside(place: str, what: str, function: Callable[[], Any]) -> Any:
    """Make a call that leaves the process, with a point before and after it."""
    _show(Event(kind=Kind.CALL, place=place, what=what))
    result = function()
    _show(Event(kind=Kind.ANSWER, place=place, what=what))
    return result


# Sagas for which a wake-up was sent, oldest first.
woken: list[UUID] = []


def send(saga_id: UUID, queue_name: str) -> None:
    """Record a wake-up instead of sending it."""
    call_outside("wakeup", "send", lambda: woken.append(saga_id))


class Watched:
    """Proxy of an object whose methods are all outside calls."""

    def __init__(self, place: str, target: Any) -> None:
        self._place = place
        self._target = target

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._target, name)
        return lambda *args, **kwargs: call_outside(self._place, name, lambda: method(*args, **kwargs))


def describe_statement(statement: Any) -> str:
    """Return the head of a statement: its verb and the tables it names."""
    text = statement if isinstance(statement, str) else str(statement)
    verb = text.split(None, 1)[0].upper() if text.strip() else ""
    if verb in ("SAVEPOINT", "RELEASE", "ROLLBACK", "SET"):
        return " ".join(text.split()[:2])
    tables = list(dict.fromkeys(TABLE.findall(text)))
    return " ".join([verb, *(tables[:6] or [" ".join(text.split()[1:4])[:60]])])


def find_participants(points: Iterable[str]) -> list[str]:
    """Return those of these points that precede an event in a participant's database."""
    return [point for point in points if point.partition(": ")[0] in PARTICIPANTS]


def number_beside_participants(points: Iterable[str]) -> list[int]:
    """Return the points before and after each change of a participant's database.

    Between two of them every crash leaves the same in the participants' databases: open transactions are rolled back,
    and committed ones stay. So only these points depend on the number of databases.
    """
    chosen, is_inside, was_change = [], False, False
    for number, point in enumerate(points, start=1):
        place, _, what = point.partition(": ")
        is_change = place in PARTICIPANTS and (what == "COMMIT" or not is_inside)
        if what != "BEGIN" and (is_change or was_change):
            chosen.append(number)
        if place in PARTICIPANTS and what in ("BEGIN", "COMMIT"):
            is_inside = what == "BEGIN"
        was_change = is_change and what != "BEGIN"
    return chosen


def _show(event: Event) -> Failure | None:
    for visit in _visits:
        if failure := visit(event):
            return failure
    return None


def _show_statement(execute: Any, statement: Any, params: Any, many: bool, context: Any) -> Any:
    event = Event(kind=Kind.STATEMENT, place=context["connection"].alias, what=describe_statement(statement))
    failure = _show(event)
    if failure is None:
        return execute(statement, params, many, context)
    if failure is Failure.SHUTDOWN:
        return execute("SELECT pg_terminate_backend(pg_backend_pid())", None, False, context)
    message = f"DO $$BEGIN RAISE 'planted' USING ERRCODE = '{failure.value}'; END$$"
    return execute(message, None, False, context)


@contextmanager
def _boundaries_shown() -> Iterator[None]:
    """Observe what psycopg sends itself: BEGIN before a transaction's first statement, COMMIT and ROLLBACK."""
    original = psycopg.Connection._exec_command

    def send(self: Any, command: Any, *args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        text = command.decode() if isinstance(command, bytes) else str(command)
        alias = _alias_of(self)
        # A connection that Django is still setting up has no alias yet, and no events.
        event = Event(kind=Kind.BOUNDARY, place=alias, what=text.split()[0].upper())
        if not alias or event.what == "BEGIN":
            # The point before BEGIN is that of the statement it is sent for, so this is the one after.
            result = yield from original(self, command, *args, **kwargs)
            if alias:
                _show(event)
            return result
        failure = _show(event)
        if failure is None:
            return (yield from original(self, command, *args, **kwargs))
        if failure is Failure.ANSWER_LOST:
            yield from original(self, command, *args, **kwargs)
        self.pgconn.finish()
        raise psycopg.OperationalError(f"planted: {failure.value}")

    psycopg.Connection._exec_command = send
    try:
        yield
    finally:
        psycopg.Connection._exec_command = original


def _alias_of(connection: Any) -> str:
    found = [alias for alias in connections if connections[alias].connection is connection]
    return found[0] if found else ""
