"""Call of a function in a thread of its own, with a time limit."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import connections

MAX_HANGING = 8  # per process; further calls are refused, so that threads cannot pile up
_hanging: list[threading.Thread] = []


class NotAnswered(Exception):
    """The function has not returned within its time limit, or was not called because too many others hang."""


def call_within(timeout: timedelta, function: Callable[[], Any]) -> Any:
    """Return what a function returns; it has connections of its own, which are closed afterwards.

    A function that exceeds its limit cannot be stopped: it goes on, and what it returns is lost.
    Raises: NotAnswered; any exception of the function.
    """
    _hanging[:] = [thread for thread in _hanging if thread.is_alive()]
    if len(_hanging) >= MAX_HANGING:
        raise NotAnswered(f"It was not called: {MAX_HANGING} earlier calls of this process still hang.")
    returned: list[Any] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            returned.append(function())
        except BaseException as error:  # noqa: BLE001 - raised again by the waiting thread
            raised.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, name="sagas-remedy", daemon=True)
    thread.start()
    thread.join(timeout.total_seconds())
    if thread.is_alive():
        _hanging.append(thread)
        raise NotAnswered(f"It did not answer within {timeout.total_seconds():g} s and may still be running.")
    if raised:
        if isinstance(raised[0], Exception):
            raise raised[0]
        raise NotAnswered(f"It ended its thread by {type(raised[0]).__name__}.") from raised[0]
    return returned[0]
