"""Call the hooks of ``SAGAS["ON_ATTENTION"]`` after the commit, without ever making the engine wait or fail.

Alerts go into a bounded queue of this process, and one daemon thread calls the hooks: it holds no lease, no lock and
no transaction, and gives its database connections back whenever it has nothing to do. A hook that fails is called
again a few times. This is best effort: what a process has not said when it dies, or has no room for, is never said.
The rows keep the attention, and so do the metrics; alert on those, too.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from django.db import connections
from django.utils.module_loading import import_string

from . import shapes
from .alerts import Alert
from .conf import get_settings

logger = logging.getLogger(__name__)

CAPACITY = 1_000  # alerts that one process keeps for slow hooks
PAUSES_SECONDS = (1.0, 10.0, 60.0)  # before a hook that failed is called again; then it is given up
IDLE_SECONDS = 3600.0
FLUSH_SECONDS = 5.0  # how long a process that ends waits for its last alerts
COMPLAIN_SECONDS = 30.0  # at most one warning about a full queue in this time


@dataclass(frozen=True, kw_only=True)
class _Call:
    """Hold one hook that is to be told of one alert."""

    hook: str
    alert: Alert
    due: float = 0.0
    tries: int = 0


def announce(alerts: Iterable[Alert]) -> None:
    """Have every hook told of every alert. Never blocks, never raises.

    Tx: call it after the commit.
    """
    try:
        for hook in get_settings().on_attention:
            for alert in alerts:
                _announcer.put(_Call(hook=hook, alert=alert))
    except Exception:
        logger.exception("Alerts lost; the sagas keep their attention.")


def flush(seconds: float = FLUSH_SECONDS) -> None:
    """Wait until every hook was called once for everything announced so far, at most so long."""
    _announcer.flush(seconds)


class _Announcer:
    """Call hooks from one daemon thread, started at the first alert."""

    def __init__(self) -> None:
        self._calls: queue.Queue[_Call] = queue.Queue(maxsize=CAPACITY)
        self._later: list[_Call] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._complained_at = -COMPLAIN_SECONDS

    def put(self, call: _Call) -> None:
        """Queue a call, or drop it when the hooks cannot keep up."""
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self._complain()
            return
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="sagas-alerts", daemon=True)
                self._thread.start()

    def flush(self, seconds: float) -> None:
        """Wait until nothing is queued, at most so long; calls that wait for their next try are not waited for."""
        end = time.monotonic() + seconds
        while self._calls.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.01)

    def _work(self) -> None:
        while True:
            call = self._take()
            if call is not None:
                try:
                    self._make(call)
                finally:
                    self._calls.task_done()
            self._repeat()

    def _take(self) -> _Call | None:
        """Return the next call, or None when one that failed is due again."""
        try:
            return self._calls.get_nowait()
        except queue.Empty:
            self._close_connections()
        pause = min((call.due - time.monotonic() for call in self._later), default=IDLE_SECONDS)
        try:
            return self._calls.get(timeout=max(0.0, pause))
        except queue.Empty:
            return None

    def _close_connections(self) -> None:
        try:
            connections.close_all()
        except Exception:
            logger.warning("A database connection could not be closed.", exc_info=True)

    def _repeat(self) -> None:
        now = time.monotonic()
        due = [call for call in self._later if call.due <= now]
        self._later = [call for call in self._later if call.due > now]
        for call in due:
            self._make(call)

    def _make(self, call: _Call) -> None:
        facts = {"hook": call.hook, "saga_id": str(call.alert.saga_id), "reason": call.alert.reason}
        try:
            shapes.require_finished(import_string(call.hook)(call.alert), call.hook)
        except BaseException:
            # Also of a hook that calls sys.exit(): it may not silence all others for good.
            if call.tries >= len(PAUSES_SECONDS) or len(self._later) >= CAPACITY:
                logger.exception("Alert given up.", extra=facts)
                return
            logger.warning("Alert failed; trying again.", extra=facts, exc_info=True)
            due = time.monotonic() + PAUSES_SECONDS[call.tries]
            self._later.append(replace(call, due=due, tries=call.tries + 1))

    def _complain(self) -> None:
        now = time.monotonic()
        if now - self._complained_at >= COMPLAIN_SECONDS:
            self._complained_at = now
            logger.warning("Alerts dropped: the hooks of SAGAS['ON_ATTENTION'] are too slow.")


class _LazyAnnouncer:
    """Make the announcer of this process at its first alert; a forked child makes its own."""

    def __init__(self) -> None:
        self._announcer: _Announcer | None = None

    def put(self, call: _Call) -> None:
        if self._announcer is None:
            self._announcer = _Announcer()
        self._announcer.put(call)

    def flush(self, seconds: float) -> None:
        if self._announcer is not None:
            self._announcer.flush(seconds)

    def forget(self) -> None:
        self._announcer = None


_announcer = _LazyAnnouncer()
os.register_at_fork(after_in_child=_announcer.forget)
atexit.register(flush)
