"""Questions to the databases of events, in parallel, each with a limit of a second.

A participant's database that is away or slow must not take the others' answers along. It is read in a thread of its
own, over a connection of its own. The engine's database, without which no page works, is read over the caller's.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db import Error, connections

from ..conf import get_settings
from ..databases import is_beyond_statement
from ..transactions import own_transaction

SECONDS = 1.0
AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, kw_only=True)
class Unreachable:
    """Failure of a database to answer, with the reason."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Answers(Generic[AnswerT]):
    """What databases answered."""

    found: dict[str, AnswerT]
    """By alias."""
    unreachable: dict[str, str]
    """Reason by the alias of a database that did not answer."""


_asked: dict[str, threading.Thread] = {}
"""Threads that did not answer in time, by alias; a database that hangs is not asked again meanwhile."""


def ask_each(aliases: Iterable[str], read: Callable[[str], AnswerT]) -> Answers[AnswerT]:
    """Call a function with each alias, inside a transaction with a limit of a second for each statement.

    Returns: after little more than a second.
    Raises: errors of the engine's database other than a time-out; whatever else the function raises.
    """
    own, wanted = get_settings().database, list(aliases)
    ends_at = time.monotonic() + SECONDS
    answers: dict[str, AnswerT | Unreachable] = {}
    raised: list[Exception] = []
    threads = {alias: _begin(alias, read, answers, raised) for alias in wanted if alias != own}
    if own in wanted:
        answers[own] = _read_own(own, read)
    for alias, thread in threads.items():
        if thread is not None:
            thread.join(max(0.0, ends_at - time.monotonic()))
            if thread.is_alive():
                _asked[alias] = thread
    if raised:
        raise raised[0]
    got = {alias: answers.get(alias, Unreachable(reason=f"no answer within {SECONDS:g} s")) for alias in wanted}
    return Answers(
        found={alias: one for alias, one in got.items() if not isinstance(one, Unreachable)},
        unreachable={alias: one.reason for alias, one in got.items() if isinstance(one, Unreachable)},
    )


def _begin(
    alias: str,
    read: Callable[[str], AnswerT],
    answers: dict[str, AnswerT | Unreachable],
    raised: list[Exception],
) -> threading.Thread | None:
    """Start to read a database; None while an earlier reader hangs in it."""
    hanging = _asked.get(alias)
    if hanging is not None and hanging.is_alive():
        return None

    def run() -> None:
        try:
            with _limited(alias):
                answers[alias] = read(alias)
        except Error as error:
            answers[alias] = _describe(error)
        except Exception as error:  # noqa: BLE001 - raised again by the waiting thread
            raised.append(error)
        finally:
            connections[alias].close()

    thread = threading.Thread(target=run, name=f"sagas-events-{alias}", daemon=True)
    thread.start()
    return thread


def _read_own(alias: str, read: Callable[[str], AnswerT]) -> AnswerT | Unreachable:
    try:
        with _limited(alias):
            return read(alias)
    except Error as error:
        if is_beyond_statement(error):
            raise
        return _describe(error)


@contextmanager
def _limited(alias: str) -> Iterator[None]:
    with own_transaction(alias), connections[alias].cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{SECONDS:g}s"])
        yield


def _describe(error: Error) -> Unreachable:
    return Unreachable(reason=(str(error).strip().splitlines() or [type(error).__name__])[0])
