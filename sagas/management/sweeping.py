"""Sweep from a command: once or for ever, ringing or running, with a heartbeat."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import Error, connections

from .. import bulk_running, figures, owed_hooks, recovery
from ..conf import get_settings
from ..databases import refresh_connection
from ..survival import ends_process
from ..sweeping import logger, run_all_due, serves_common_queue
from .stopping import Stop


@dataclass(kw_only=True)
class SweepReport:
    """Say what the sweeps did."""

    sweeps: int = 0
    """How often it looked for what is due."""
    found: int = 0
    """Sagas rung for, or looked at; one may count several times."""
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
    if interval_seconds is None:
        _sweep_once(report, runs, queues, stop)
        recovery.stop_serving()
    else:
        _sweep_for_ever(report, runs, queues, interval_seconds, stop)
    report.is_stopped = stop.is_asked
    return report


def _sweep_for_ever(
    report: SweepReport,
    runs: bool,
    queues: frozenset[str] | None,
    interval_seconds: float,
    stop: Stop,
) -> None:
    while not stop():
        try:
            refresh_connection(get_settings().database)
            _sweep_once(report, runs, queues, stop)
        except Error as error:
            logger.warning("Sweep failed; trying again.", extra={"error": str(error)})
            connections.close_all()
        except BaseException as error:
            if ends_process(error):
                raise
            logger.exception("Sweep failed; trying again.")
            connections.close_all()
        stop.wait(interval_seconds)
    try:
        recovery.leave()
    except Error as error:
        logger.warning("Heartbeat not removed.", extra={"error": str(error)})


def _sweep_once(report: SweepReport, runs: bool, queues: frozenset[str] | None, stop: Stop) -> None:
    report.sweeps += 1
    if runs:
        run_all_due(queues=queues, should_stop=stop, note_found=report.note_found)
        return
    found = recovery.ring_due(queues=queues)
    if serves_common_queue(queues):
        owed_hooks.ring_owed()
        bulk_running.ring_due()
    recovery.beat(queues=(), found=found)
    figures.refresh_after_sweep()
    report.note_found(found)
