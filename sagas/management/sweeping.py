"""Sweep from a command: once or for ever, ringing or running, with a heartbeat."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

from django.db import Error, connections
from django.db.models import Q

from .. import bulk_running, clock, engine, figures, owed_hooks, recovery, registry
from ..conf import get_settings
from ..databases import refresh_connection
from ..models import Saga
from .stopping import Stop

logger = logging.getLogger(__name__)

# One saga at a time: several commands share the work evenly, a stop leaves nothing claimed behind, and the heartbeat
# is never older than one saga's time slice.
RUN_PAGE = 1
# Due sagas that were rung for lately are looked at in pages of this size, once each.
RUNG_PAGE = 100


@dataclass(kw_only=True)
class SweepReport:
    """Say what the sweeps did."""

    sweeps: int = 0
    """How often it looked for what is due."""
    found: int = 0
    """Sagas rung for, or looked at; one may count several times."""
    is_stopped: bool = False
    """Whether it ended because it was asked to."""


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
        stop.wait(interval_seconds)
    try:
        recovery.leave()
    except Error as error:
        logger.warning("Heartbeat not removed.", extra={"error": str(error)})


def _sweep_once(report: SweepReport, runs: bool, queues: frozenset[str] | None, stop: Stop) -> None:
    report.sweeps += 1
    if runs:
        _run_all(report, queues, stop)
        return
    found = recovery.ring_due(queues=queues)
    if _serves_common_queue(queues):
        owed_hooks.ring_owed()
        bulk_running.ring_due()
    recovery.beat(queues=(), found=found)
    figures.refresh_after_sweep()
    report.found += found


def _run_all(report: SweepReport, queues: frozenset[str] | None, stop: Stop) -> None:
    """Run what is due until nothing is: first what nobody was rung for, then what was rung for and is due all the same.

    The second may be on its way to a worker, or lost with a broker; running it twice is harmless, its claim decides.
    """
    pulse = _Pulse(queues if queues is not None else frozenset({get_settings().common_queue, *registry.queues()}))
    pulse.beat()
    if _serves_common_queue(queues):
        # First: what it makes due is run below.
        bulk_running.run_due(should_stop=stop)
    has_moved = True
    while has_moved and not stop():
        while not stop() and (count := recovery.run_due(limit=RUN_PAGE, queues=queues, should_stop=stop)):
            report.found += count
            pulse.count(count)
        has_moved = _run_rung(report, pulse, queues, stop)
        if _serves_common_queue(queues):
            report.found += owed_hooks.run_owed(should_stop=stop, progress=pulse.count)
    pulse.beat()
    figures.refresh_after_sweep()


def _serves_common_queue(queues: frozenset[str] | None) -> bool:
    """Tell whether bulks and hooks, which belong to the common queue, are this command's business."""
    return queues is None or get_settings().common_queue in queues


def _run_rung(report: SweepReport, pulse: _Pulse, queues: frozenset[str] | None, stop: Stop) -> bool:
    """Run due sagas that were rung for within the ring interval, each once.

    Returns: whether any of them did something, so that another look is worth it.
    """
    has_moved = False
    for saga_id in _list_due(queues):
        if stop():
            break
        report.found += 1
        try:
            attempts = engine.advance(saga_id, queues=queues, worker=recovery.worker_name(), should_stop=stop)
        except Exception:
            logger.exception("Saga could not be advanced.", extra={"saga_id": str(saga_id)})
            continue
        has_moved = has_moved or attempts > 0
        pulse.count(1)
    return has_moved


def _list_due(queues: frozenset[str] | None) -> list[UUID]:
    using = get_settings().database
    rows = Saga.objects.using(using).filter(due_at__lte=clock.read_now(using))
    if queues is not None:
        rows = rows.filter(Q(queue__in=sorted(queues)) | Q(other_queues__has_any_keys=sorted(queues)))
    return list(rows.order_by("due_at").values_list("pk", flat=True)[:RUNG_PAGE])


class _Pulse:
    """Beat at most once per sweep interval while sagas are run."""

    def __init__(self, queues: frozenset[str]) -> None:
        self.queues = queues
        self.found = 0
        self._beat_at = monotonic()

    def count(self, found: int) -> None:
        self.found += found
        if monotonic() - self._beat_at >= get_settings().sweep_interval.total_seconds():
            self.beat()

    def beat(self) -> None:
        recovery.beat(queues=self.queues, found=self.found)
        self._beat_at = monotonic()
