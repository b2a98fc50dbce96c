"""Sweep from a command: once or for ever, sending wake-ups or running, with a heartbeat."""

from __future__ import annotations

from dataclasses import dataclass

from ..worker import sweeper
from ..worker.due_work import run_all_due, wakeup_all_due
from ..worker.sweep_loop import sweep_loop
from .stopping import Stop


@dataclass(kw_only=True)
class SweepReport:
    """What the sweeps did."""

    sweeps: int = 0
    """How often it looked for what is due."""
    found: int = 0
    """Sagas woken, or looked at; one may count several times."""
    is_stopped: bool = False
    """Whether it ended because it was asked to."""

    def note_found(self, count: int) -> None:
        """Count sagas."""
        self.found += count


def sweep(
    *,
    runs: bool,
    queues: frozenset[str] | None,
    interval_seconds: float | None,
    stop: Stop,
) -> SweepReport:
    """Sweep once, or with an interval until asked to stop; ``runs``: execute what is due until nothing is.

    Raises: the database's errors when it sweeps once; in a loop it logs them and goes on.
    """
    report = SweepReport()

    def sweep_once() -> None:
        report.sweeps += 1
        if runs:
            run_all_due(queues=queues, should_stop=stop, note_found=report.note_found)
        else:
            report.note_found(wakeup_all_due(queues=queues, serving=()))

    if interval_seconds is None:
        sweep_once()
        sweeper.stop_serving()
    else:
        sweep_loop(sweep_once, should_stop=stop, wait=lambda: stop.wait(interval_seconds))
    report.is_stopped = stop.is_asked
    return report
