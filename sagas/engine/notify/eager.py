"""Eager wake-ups for ``task_always_eager``, as projects set it in tests and for local development.

A wake-up is handled in the thread that sends it, after the commit, on that thread's open connections, for steps of any
queue, and never inside another saga's step. Retries, deadlines and wake-ups inside a transaction wait for a sweep or
for ``sagas.testing.drain``.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import connections, transaction

logger = logging.getLogger(__name__)


Look = Callable[[UUID], None]


class _Waiting(threading.local):
    """Wake-ups of one thread that are not handled yet; None: they may be handled at once."""

    wakeups: deque[tuple[UUID, Look]] | None = None


_waiting = _Waiting()


def answer(saga_id: UUID, look: Look) -> None:
    """Call ``look`` for a saga or a bulk now, or as soon as this thread has finished with another one.

    Raises: KeyboardInterrupt only.
    """
    if _waiting.wakeups is not None:
        _waiting.wakeups.append((saga_id, look))
        return
    with held_back():
        answer(saga_id, look)


@contextmanager
def held_back(*, is_answered: bool = True) -> Iterator[None]:
    """Hold back wake-ups sent inside, and handle them at the end unless an exception or ``is_answered`` forbids it."""
    if _waiting.wakeups is not None:
        yield
        return
    wakeups: deque[tuple[UUID, Look]] = deque()
    _waiting.wakeups = wakeups
    try:
        yield
        while wakeups and is_answered:
            _call(*wakeups.popleft())
    finally:
        _waiting.wakeups = None


def _call(saga_id: UUID, look: Look) -> None:
    if _is_in_transaction():
        logger.info("Wake-up inside a transaction left to the sweep.", extra={"saga_id": str(saga_id)})
        return
    try:
        look(saga_id)
    except KeyboardInterrupt:
        raise
    except BaseException:
        # The sender has committed and must not fail; a sweep finds the saga.
        logger.exception("Saga could not be advanced.", extra={"saga_id": str(saga_id)})


def _is_in_transaction() -> bool:
    """Return whether a transaction is open that a step must not join; that of a TestCase does not count."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            try:
                with transaction.atomic(using=connection.alias, durable=True, savepoint=False):
                    pass
            except RuntimeError:
                return True
    return False
