"""Sweeps of a command: once or in a loop, sending wake-ups or executing, with a heartbeat."""

from dataclasses import dataclass

from ..worker import sweeper
from ..worker.due_work import run_all_due, wake_all_due
from ..worker.sweep_loop import sweep_loop
from .stopping import Stop


@dataclass(kw_only=True)
class SweepReport:
    """Result of the sweeps."""

    sweeps: int = 0
    """Number of sweeps."""
    found: int = 0
    """Number of sagas woken or handled; one may count several times."""
    is_stopped: bool = False
    """Whether the command was asked to stop."""

    def note_found(self, count: int) -> None:
        """Add to the number of sagas."""
        self.found += count


def sweep(
    *,
    runs: bool,
    queues: frozenset[str] | None,
    interval_seconds: float | None,
    stop: Stop,
) -> SweepReport:
    """Sweep once, or repeatedly at an interval until asked to stop; ``runs``: execute all due work.

    Raises: the database's errors in a single sweep; a loop logs them and continues.
    """
    report = SweepReport()

    def sweep_once() -> None:
        report.sweeps += 1
        if runs:
            run_all_due(queues=queues, should_stop=stop, note_found=report.note_found)
        else:
            report.note_found(wake_all_due(queues=queues, serving=()))

    if interval_seconds is None:
        sweep_once()
        sweeper.stop_serving()
    else:
        sweep_loop(sweep_once, should_stop=stop, wait=lambda: stop.wait(interval_seconds))
    report.is_stopped = stop.is_asked
    return report
