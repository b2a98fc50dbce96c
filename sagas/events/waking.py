"""Wake-ups of the relay: after a commit, one thread of the publishing process sends what was published.

It is a relay like any other, and may be lost at any time: polling relays find every unsent event.
"""

import atexit
import logging
import os

from django.db import connections

from ..core.background_queue import BackgroundQueue
from ..core.rare_warnings import RareWarnings
from ..databases import refresh_connections
from . import relay
from .settings import get_event_settings

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0  # how long a short-lived process waits at exit for its last events
CAPACITY = 100  # a wake-up covers everything that is unsent in its database, so few are ever needed


def wake_relay(alias: str) -> None:
    """Have this process send what is unsent in a database. Never blocks, never raises."""
    if get_event_settings().relay_on_commit:
        _waker.wake(alias)


class _Waker:
    """Databases with something unsent, and the thread that relays it."""

    def __init__(self) -> None:
        self._queue: BackgroundQueue[str] = BackgroundQueue(
            self._relay,
            on_error=self._note_failure,
            thread_name="sagas-relay",
            capacity=lambda: CAPACITY,
            on_idle=refresh_connections,
        )
        self.forget()

    def forget(self) -> None:
        """Reset the state in a forked child."""
        self._queue.forget()
        self._waiting: set[str] = set()
        self._warnings = RareWarnings(logger)

    def wake(self, alias: str) -> None:
        """Queue a database, unless it waits already."""
        if alias not in self._waiting:
            self._waiting.add(alias)
            if not self._queue.put(alias):
                self._waiting.discard(alias)

    def flush(self, seconds: float = FLUSH_SECONDS) -> None:
        """Wait until everything queued was relayed once, at most ``seconds``."""
        self._queue.flush(seconds)

    def _relay(self, alias: str) -> None:
        self._waiting.discard(alias)  # before the search: what commits from now on needs another one
        relay.relay_all(alias)

    def _note_failure(self, alias: str, error: BaseException, _may_repeat: bool) -> None:
        self._warnings.warn(f"Events not sent: {type(error).__name__}: {error}. A polling relay sends them.")
        connections[alias].close()
        relay.close_transport()


_waker = _Waker()
os.register_at_fork(after_in_child=_waker.forget)
atexit.register(_waker.flush)
