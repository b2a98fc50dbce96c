"""One sweep: wakes due work, or executes it in this process, without a broker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from time import monotonic
from uuid import UUID

from django.db.models import Q

from .. import clock
from ..choreography import sweeping as choreographies
from ..conf import get_settings
from ..core.definition import registry
from ..core.survival import ends_process
from ..engine import advance
from ..intents import performing
from ..models import Saga
from ..operators.bulk import runner
from ..operators.queries import statistics
from . import owed_hooks, sweeper

logger = logging.getLogger(__name__)

# One saga at a time: several processes share the work evenly, a stopped process leaves nothing claimed, and the
# heartbeat is never older than one saga's time slice.
RUN_PAGE = 1
# Page size of due sagas that were woken recently; each is tried once.
WOKEN_PAGE = 100


def wake_all_due(*, queues: frozenset[str] | None, serving: Iterable[str]) -> int:
    """Wake a page of due sagas of these queues (None: of all), and write the heartbeat.

    ``serving``: the queues whose steps this process executes; empty if it only sends wake-ups.
    Returns: the number of sagas.
    Raises: the database's errors when it is unavailable.
    """
    found = sweeper.wake_due(queues=queues) + performing.wake_due(queues)
    if serves_common_queue(queues):
        owed_hooks.wake_owed()
        choreographies.sweep()
        runner.wake_due()
    sweeper.beat(queues=serving, found=found)
    statistics.refresh_after_sweep()
    return found


def run_all_due(
    *,
    queues: frozenset[str] | None,
    should_stop: Callable[[], bool],
    note_found: Callable[[int], None] = lambda _: None,
) -> None:
    """Execute due work until none is left: first sagas that were not woken, then woken ones that are still due.

    The wake-up of the latter may be on its way to a worker, or lost with a broker. Trying both is harmless: the claim
    decides. ``queues``: only work of these; None: of all. ``note_found`` is called with the number of sagas handled
    since its last call.
    Raises: SystemExit and KeyboardInterrupt; the database's errors when it is unavailable.
    Tx: must not be inside one.
    """
    served = queues if queues is not None else frozenset({get_settings().common_queue, *registry.queues()})
    pulse = _Pulse(served, note_found)
    pulse.beat()
    if serves_common_queue(queues):
        # First, because the sagas that it makes due are executed below.
        runner.run_due(should_stop=should_stop)
    has_moved = True
    while has_moved and not should_stop():
        while not should_stop() and (count := sweeper.run_due(limit=RUN_PAGE, queues=queues, should_stop=should_stop)):
            pulse.count(count)
        has_moved = _run_woken(pulse, queues, should_stop)
        while not should_stop() and (
            count := performing.perform_due(queues=queues, worker=sweeper.worker_name(), should_stop=should_stop)
        ):
            pulse.count(count)
        if serves_common_queue(queues):
            owed_hooks.run_owed(should_stop=should_stop, progress=pulse.count)
    if serves_common_queue(queues):
        choreographies.sweep(should_stop=should_stop)
    pulse.beat()
    statistics.refresh_after_sweep()


def serves_common_queue(queues: frozenset[str] | None) -> bool:
    """Return whether these queues include the common queue, to which bulks and hooks belong."""
    return queues is None or get_settings().common_queue in queues


def _run_woken(pulse: _Pulse, queues: frozenset[str] | None, should_stop: Callable[[], bool]) -> bool:
    """Advance due sagas that were woken within the wake-up interval, each once.

    Returns: whether any of them ran an attempt, so that another pass may find more.
    """
    has_moved = False
    for saga_id in _list_due(queues):
        if should_stop():
            break
        try:
            attempts = advance.advance(saga_id, queues=queues, worker=sweeper.worker_name(), should_stop=should_stop)
        except BaseException as error:
            if ends_process(error):
                raise
            logger.exception("Saga could not be advanced.", extra={"saga_id": str(saga_id)})
            attempts = 0
        has_moved = has_moved or attempts > 0
        pulse.count(1)
    return has_moved


def _list_due(queues: frozenset[str] | None) -> list[UUID]:
    using = get_settings().database
    rows = Saga.objects.using(using).filter(due_at__lte=clock.read_now(using))
    if queues is not None:
        rows = rows.filter(Q(queue__in=sorted(queues)) | Q(other_queues__has_any_keys=sorted(queues)))
    return list(rows.order_by("due_at").values_list("pk", flat=True)[:WOKEN_PAGE])


class _Pulse:
    """Heartbeat of a process that executes sagas: at most once per sweep interval."""

    def __init__(self, queues: frozenset[str], note_found: Callable[[int], None]) -> None:
        self.queues = queues
        self.note_found = note_found
        self.found = 0
        self._beat_at = monotonic()

    def count(self, found: int) -> None:
        self.found += found
        self.note_found(found)
        if monotonic() - self._beat_at >= get_settings().sweep_interval.total_seconds():
            self.beat()

    def beat(self) -> None:
        sweeper.beat(queues=self.queues, found=self.found)
        self._beat_at = monotonic()
