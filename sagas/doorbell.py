"""Say "look at this saga" to a worker, without ever waiting for a broker.

A ring is put into a bounded queue of this process and one daemon thread publishes it. A slow, frozen or absent
broker costs nothing but the ring: what is not delivered is found by the sweep.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from uuid import UUID

from celery import current_app
from django.db import transaction
from django.utils.module_loading import import_string

from . import eager
from .celery_apps import TASK
from .conf import get_settings

logger = logging.getLogger(__name__)

FLUSH_SECONDS = (
    1.0  # how long a short-lived process waits at its end for the last rings; a worker's sweep covers the rest
)
COMPLAIN_SECONDS = 30.0  # at most one warning about the broker in this time
STUCK_SECONDS = 5.0  # a broker that takes longer for one ring counts as away
ANSWER_HOLDS_SWEEPS = 3  # a broker that has not answered for so many sweeps may hold anything

Ring = tuple[UUID, str]
Question = str  # a queue whose length somebody wants to know
_found: dict[str, Callable[[UUID, str], None]] = {}


def ring(saga_id: UUID, queue_name: str = "") -> None:
    """Ask a worker that serves the queue to look at the saga. Never blocks, never raises."""
    settings = get_settings()
    try:
        _find(settings.doorbell)(saga_id, queue_name or settings.common_queue)
    except Exception:
        logger.exception("Ring lost; the sweep will find the saga.", extra={"saga_id": str(saga_id)})


def ring_after_commit(saga_id: UUID, queues: Iterable[str] = ("",)) -> None:
    """Ring for a saga or a bulk once what is written now is committed, in each of the queues.

    Tx: of the engine's database; without one at once.
    """
    for name in queues:
        # A function, since Django asks a callback that fails for its name.
        transaction.on_commit(
            lambda name=name: ring(saga_id, name),  # type: ignore[misc]
            using=get_settings().database,
            robust=True,
        )


def _find(path: str) -> Callable[[UUID, str], None]:
    if path not in _found:
        _found[path] = import_string(path)
    return _found[path]


def ring_nobody(saga_id: UUID, queue_name: str) -> None:
    """Be the doorbell of a project without a broker, and of tests: everything is left to the sweep."""


def ring_celery(saga_id: UUID, queue_name: str) -> None:
    """Hand the ring to the thread that publishes through Celery, or answer it here if Celery is eager."""
    if current_app.conf.task_always_eager:
        eager.answer(saga_id, current_app.tasks[TASK].look)
        return
    _bell.put((saga_id, queue_name))


def rings_celery() -> bool:
    """Return whether rings go to Celery; else nobody is rung for, or somebody whom the engine does not know."""
    return _find(get_settings().doorbell) is ring_celery


def rings_anybody() -> bool:
    """Return whether rings go anywhere; else all is left to sweeps that run what is due."""
    return _find(get_settings().doorbell) is not ring_nobody


def is_failing() -> bool:
    """Return whether the broker did not take the latest ring of this process, or lets it wait."""
    return _bell.is_failing()


def count_waiting(queue_name: str) -> int:
    """Return about how many rings wait to be answered, in this process and in the broker's queue.

    Never blocks: it is what the broker said the last time, and asks it anew. 0 when nothing is known, also where
    another function than ``ring_celery`` rings.
    """
    if not rings_celery() or current_app.conf.task_always_eager:
        return 0
    return _bell.count_waiting(queue_name)


class _Bell:
    """Publish rings from one daemon thread per process, started at the first ring after a fork."""

    def __init__(self) -> None:
        self._rings: queue.Queue[Ring | Question] = queue.Queue(maxsize=get_settings().doorbell_capacity)
        self._asked: set[str] = set()
        self._answers: dict[str, tuple[int, float]] = {}
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._complained_at = -COMPLAIN_SECONDS
        self._has_failed = False
        self._busy_since: float | None = None

    def is_failing(self) -> bool:
        """Return whether the latest publishing failed, or takes too long."""
        since = self._busy_since
        return self._has_failed or (since is not None and time.monotonic() - since > STUCK_SECONDS)

    def count_waiting(self, queue_name: str) -> int:
        """Return what is known, and have the broker asked again unless it has yet to answer."""
        count, answered_at = self._answers.get(queue_name, (0, 0.0))
        is_old = time.monotonic() - answered_at > ANSWER_HOLDS_SWEEPS * get_settings().sweep_interval.total_seconds()
        unsent = self._rings.qsize()
        if queue_name not in self._asked:
            self._asked.add(queue_name)
            self.put(queue_name)
        return unsent + (0 if is_old else count)

    def put(self, item: Ring | Question) -> None:
        """Queue a ring or a question, or drop it when the broker cannot keep up."""
        try:
            self._rings.put_nowait(item)
        except queue.Full:
            if isinstance(item, str):
                self._asked.discard(item)
            self._complain("Doorbell full; ring dropped, the sweep will find the saga.")
            return
        if self._thread is None or not self._thread.is_alive():
            self._start()

    def flush(self, seconds: float) -> None:
        """Wait until every ring is out, at most so long."""
        end = time.monotonic() + seconds
        while self._rings.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.01)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._publish_all, name="sagas-doorbell", daemon=True)
                self._thread.start()

    def _publish_all(self) -> None:
        while True:
            item = self._rings.get()
            self._busy_since = time.monotonic()
            try:
                self._publish(item)
                self._has_failed = False
            except BaseException as error:  # noqa: BLE001 - whatever a broker client raises, the sweep covers it
                self._has_failed = True
                self._complain(f"Ring not published: {type(error).__name__}; the sweep will find the saga.")
            finally:
                self._busy_since = None
                self._rings.task_done()

    def _publish(self, item: Ring | Question) -> None:
        if isinstance(item, str):
            self._asked.discard(item)
            self._answers[item] = _ask_broker(item), time.monotonic()
        else:
            current_app.tasks[TASK].apply_async(args=[str(item[0])], queue=item[1], retry=False, ignore_result=True)

    def _complain(self, message: str) -> None:
        now = time.monotonic()
        if now - self._complained_at >= COMPLAIN_SECONDS:
            self._complained_at = now
            logger.warning(message)


def _ask_broker(queue_name: str) -> int:
    """Return how many messages a queue holds that no worker has taken."""
    declared = current_app.amqp.queues[queue_name]
    with current_app.pool.acquire(block=True) as connection, connection.channel() as channel:
        # Declared as it would be for a message; asking passively fails with Redis under a key prefix (kombu 5.7).
        answer = channel.queue_declare(
            queue=declared.name,
            durable=declared.durable,
            exclusive=declared.exclusive,
            auto_delete=declared.auto_delete,
            arguments=declared.queue_arguments,
        )
        return int(answer.message_count)


class _LazyBell:
    """Make the bell of this process at its first ring; a forked child makes its own."""

    def __init__(self) -> None:
        self._bell: _Bell | None = None

    def put(self, item: Ring) -> None:
        self._get().put(item)

    def count_waiting(self, queue_name: str) -> int:
        return self._get().count_waiting(queue_name)

    def is_failing(self) -> bool:
        return self._bell is not None and self._bell.is_failing()

    def flush(self, seconds: float = FLUSH_SECONDS) -> None:
        if self._bell is not None:
            self._bell.flush(seconds)

    def forget(self) -> None:
        self._bell = None

    def _get(self) -> _Bell:
        if self._bell is None:
            self._bell = _Bell()
        return self._bell


_bell = _LazyBell()
os.register_at_fork(after_in_child=_bell.forget)
atexit.register(_bell.flush)
