"""Orderly stop of long commands: the current step or batch is finished first."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A handler must not take a lock that the main thread could hold; it sets a flag, which waits poll this often.
LOOK_SECONDS = 0.1


class Stop:
    """Flag that the process was asked to end."""

    def __init__(self) -> None:
        self.is_asked = False

    def __call__(self) -> bool:
        """Return whether the process was asked to end."""
        return self.is_asked

    def wait(self, seconds: float) -> None:
        """Wait for this time, or until the process is asked to end."""
        end = time.monotonic() + seconds
        while not self.is_asked and (left := end - time.monotonic()) > 0:
            time.sleep(min(LOOK_SECONDS, left))


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Catch the first SIGTERM or SIGINT and set the flag; a second one ends the process as usual.

    Outside the main thread, where Python handles no signals, the flag is never set.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(_number: int, _frame: FrameType | None) -> None:
        stop.is_asked = True
        for number in SIGNALS:
            signal.signal(number, before[number])

    try:
        for number in SIGNALS:
            signal.signal(number, note)
        yield stop
    finally:
        for number in SIGNALS:
            signal.signal(number, before[number])
