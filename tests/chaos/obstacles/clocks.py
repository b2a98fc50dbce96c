"""Wrong clock of one process. The monotonic clock stays right, as on a real machine."""

import itertools
import os
import threading
import time
from datetime import UTC, datetime, timedelta

import time_machine

JUMPING = "jumping"
JUMPS = (timedelta(hours=1), timedelta(hours=-2), timedelta(), timedelta(days=1), timedelta(minutes=-10))
JUMP_SECONDS = 0.3


def disturb(how: str) -> None:
    """Move the clock of this process and of those that it forks."""
    shift = timedelta() if how == JUMPING else timedelta(seconds=float(how))
    traveller = time_machine.travel(datetime.now(UTC) + shift, tick=True)
    clock = traveller.start()
    if how != JUMPING:
        return

    def jump() -> None:
        # The correct time continues next to the wrong one.
        started, right = time.monotonic(), datetime.now(UTC)
        for shift in itertools.cycle(JUMPS):
            clock.move_to(right + timedelta(seconds=time.monotonic() - started) + shift, tick=True)
            time.sleep(JUMP_SECONDS)

    def start() -> None:
        threading.Thread(target=jump, name="jumping-clock", daemon=True).start()

    start()
    os.register_at_fork(after_in_child=start)
