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
from collections.abc import Callable
from uuid import UUID

from django.utils.module_loading import import_string

from .conf import get_settings

logger = logging.getLogger(__name__)

FLUSH_SECONDS = (
    1.0  # how long a short-lived process waits at its end for the last rings; a worker's sweep covers the rest
)
COMPLAIN_SECONDS = 30.0  # at most one warning about the broker in this time

Ring = tuple[UUID, str]
_found: dict[str, Callable[[UUID, str], None]] = {}


def ring(saga_id: UUID, queue_name: str = "") -> None:
    """Ask a worker that serves the queue to look at the saga. Never blocks, never raises."""
    settings = get_settings()
    try:
        path = settings.doorbell
        if path not in _found:
            _found[path] = import_string(path)
        _found[path](saga_id, queue_name or settings.default_queue)
    except Exception:
        logger.exception("Ring lost; the sweep will find the saga.", extra={"saga_id": str(saga_id)})


def ring_nobody(saga_id: UUID, queue_name: str) -> None:
    """Be the doorbell of a project without a broker, and of tests: everything is left to the sweep."""


def ring_celery(saga_id: UUID, queue_name: str) -> None:
    """Hand the ring to the thread that publishes through Celery."""
    _bell.put((saga_id, queue_name))


class _Bell:
    """Publish rings from one daemon thread per process, started at the first ring after a fork."""

    def __init__(self) -> None:
        self._rings: queue.Queue[Ring] = queue.Queue(maxsize=get_settings().doorbell_capacity)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._complained_at = -COMPLAIN_SECONDS

    def put(self, item: Ring) -> None:
        """Queue a ring, or drop it when the broker cannot keep up."""
        try:
            self._rings.put_nowait(item)
        except queue.Full:
            self._complain("Doorbell full; ring dropped, the sweep will find the saga.")
            return
        if self._thread is None:
            self._start()

    def flush(self, seconds: float) -> None:
        """Wait until every ring is out, at most so long."""
        end = time.monotonic() + seconds
        while self._rings.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.01)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._publish_all, name="sagas-doorbell", daemon=True)
                self._thread.start()

    def _publish_all(self) -> None:
        from .tasks import advance

        while True:
            saga_id, queue_name = self._rings.get()
            try:
                advance.apply_async(args=[str(saga_id)], queue=queue_name, retry=False, ignore_result=True)
            except Exception as error:  # noqa: BLE001 - whatever a broker client raises, the sweep covers it
                self._complain(f"Ring not published: {type(error).__name__}; the sweep will find the saga.")
            finally:
                self._rings.task_done()

    def _complain(self, message: str) -> None:
        now = time.monotonic()
        if now - self._complained_at >= COMPLAIN_SECONDS:
            self._complained_at = now
            logger.warning(message)


class _LazyBell:
    """Make the bell of this process at its first ring; a forked child makes its own."""

    def __init__(self) -> None:
        self._bell: _Bell | None = None

    def put(self, item: Ring) -> None:
        if self._bell is None:
            self._bell = _Bell()
        self._bell.put(item)

    def flush(self, seconds: float = FLUSH_SECONDS) -> None:
        if self._bell is not None:
            self._bell.flush(seconds)

    def forget(self) -> None:
        self._bell = None


_bell = _LazyBell()
os.register_at_fork(after_in_child=_bell.forget)
atexit.register(_bell.flush)
