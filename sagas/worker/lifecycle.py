"""Celery integration: threads of sweeper and events, shutdown flag and state of the worker's consumer.

Connected by signals and boot steps when ``sagas.tasks`` is imported, so a project has nothing to set up. The threads
run in the parent of a prefork pool and survive killed children. They start with the worker, even if the broker is
unavailable. The shutdown flag is in shared memory that the children inherit.
"""

import logging
import mmap
import os
import threading
from typing import Any

from celery import bootsteps, current_app, signals
from celery.exceptions import WorkerShutdown, WorkerTerminate
from django.db import close_old_connections, connections

from ..conf import get_settings
from ..engine.notify import alert_dispatch, wakeup_sending
from ..events import supervision
from ..monitoring import timings
from . import due_work, sweeper
from .celery_strategy import list_consumed
from .consuming import guard_handler, share_thread_while_waiting, wake_after_tasks
from .decompression import limit_decompression
from .sweep_loop import sweep_loop

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0  # how long a terminating worker waits for a running sweep

_shutting_down = mmap.mmap(-1, 1)  # one byte, shared with every forked child
_stop = threading.Event()
_threads: list[threading.Thread] = []
_is_running_sagas = threading.Event()
# Set by default: only a started worker knows that it does not consume.
_is_consuming = threading.Event()
_is_consuming.set()
_main_pids: list[int] = []
_consumers: list[Any] = []


def is_shutting_down() -> bool:
    """Return whether this worker was asked to stop; its children see the flag, too."""
    return _shutting_down[0] != 0


def served_queues() -> frozenset[str] | None:
    """Return the queues that this worker consumes from, or None outside a worker."""
    if _consumers:
        return frozenset(list_consumed(_consumers[0]))
    consumed = current_app.amqp.queues.consume_from
    return frozenset(consumed) or None


def process_name() -> str:
    """Return host:pid of this process."""
    return sweeper.worker_name()


def must_end_with(error: BaseException) -> bool:
    """Return whether an exception raised by a task must end this process.

    It ends a child of a prefork pool: children are stopped that way, and another one replaces it. The main process,
    where the other pools execute, ends only on Celery's own request.
    """
    is_main = os.getpid() in _main_pids
    return not is_main or isinstance(error, WorkerShutdown | WorkerTerminate)


def release_connections() -> None:
    """Close a greenlet's database connections when its task ends; otherwise they would stay open for a while."""
    if _consumers and os.getpid() in _main_pids and _consumers[0].pool.is_green:
        connections.close_all()


class SweepStep(bootsteps.StartStopStep):
    """Boot step of sweeper and events: after the pool has forked, before the worker waits for its broker."""

    label: Any = "Sagas"
    requires: Any = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:
        """Start the threads."""
        _start_threads()


class ConsumeStep(bootsteps.StartStopStep):
    """Boot step that tracks whether the worker consumes: restarted with every connection to the broker."""

    label: Any = "Sagas"
    requires: Any = ("celery.worker.consumer:Tasks",)

    def start(self, parent: Any) -> None:
        """Note that the worker consumes, and guard it from messages that belong to no task."""
        guard_handler(parent)
        wake_after_tasks(parent)
        _consumers[:] = [parent]
        _is_consuming.set()

    def stop(self, parent: Any) -> None:
        """Note that the worker does not consume."""
        _is_consuming.clear()


@signals.worker_init.connect(dispatch_uid="sagas.worker.lifecycle.init")
def _join_worker(sender: Any, **_: Any) -> None:
    sender.app.steps["worker"].add(SweepStep)
    sender.app.steps["consumer"].add(ConsumeStep)
    # Celery adds a queue whenever one is woken, and after a reconnect a worker without -Q consumes from all known
    # queues. So the queues at its start are selected explicitly.
    queues = sender.app.amqp.queues
    queues.select(list(queues.consume_from))
    _main_pids[:] = [os.getpid()]
    _consumers.clear()
    _is_consuming.clear()
    limit_decompression()
    share_thread_while_waiting()


def _start_threads(**_: Any) -> None:
    _shutting_down[0] = 0
    _stop.clear()
    for name, target in (("sagas-sweeper", _sweep_for_ever), ("sagas-events", _supervise_events)):
        thread = threading.Thread(target=target, name=name, daemon=True)
        _threads.append(thread)
        thread.start()


@signals.worker_shutting_down.connect(dispatch_uid="sagas.worker.lifecycle.shutting_down")
def _note_shutdown(**_: Any) -> None:
    _shutting_down[0] = 1


@signals.worker_shutdown.connect(dispatch_uid="sagas.worker.lifecycle.shutdown")
def _stop_threads(**_: Any) -> None:
    _stop.set()
    while _threads:
        thread = _threads.pop()
        thread.join(STOP_SECONDS)
        if thread.is_alive() and _is_running_sagas.is_set():
            # Like a pool that waits for its tasks: the running step finishes and is recorded.
            thread.join(_longest_attempt_seconds())


@signals.worker_process_shutdown.connect(dispatch_uid="sagas.worker.lifecycle.process_shutdown")
def _say_last_alerts(**_: Any) -> None:
    # A child of a prefork pool ends without running Python's exit handlers.
    alert_dispatch.flush()


def _sweep_for_ever() -> None:
    """Sweep and write heartbeats until the worker ends; no error ends the loop."""
    try:
        # The worker connects meanwhile: before that, a sweep would treat the broker as unavailable.
        _wait()
        # Even a step that calls sys.exit() must not end this worker's sweeps.
        sweep_loop(_sweep_once, should_stop=_stop.is_set, wait=_wait, must_end_with=lambda _: False)
    finally:
        connections.close_all()


def _supervise_events() -> None:
    """Relay and reconcile the events of the participants that run here until the worker ends, unless events are off."""
    supervision.supervise_all(should_stop=_stop.is_set, announce=alert_dispatch.announce)


def _wait() -> None:
    _stop.wait(get_settings().sweep_interval.total_seconds())


def _sweep_once() -> None:
    queues = served_queues() or frozenset()
    if _must_run_sagas():
        _run_sagas(queues)
    else:
        due_work.wake_all_due(queues=None, serving=queues if _can_take_wakeups() else ())


def _run_sagas(queues: frozenset[str]) -> None:
    _is_running_sagas.set()
    try:
        due_work.run_all_due(queues=queues, should_stop=_must_stop_running)
    finally:
        _is_running_sagas.clear()
        close_old_connections()


def _must_run_sagas() -> bool:
    """Return whether this thread executes due sagas: if the project enables it and no wake-ups can arrive."""
    if not get_settings().sweep_runs or is_shutting_down():
        return False
    return not _can_take_wakeups() or not wakeup_sending.uses_celery() or wakeup_sending.is_failing()


def _must_stop_running() -> bool:
    return _stop.is_set() or not _must_run_sagas()


def _can_take_wakeups() -> bool:
    """Return whether wake-ups reach this worker: they are sent, it consumes, and it accepts their content type."""
    return wakeup_sending.sends_anything() and _is_consuming.is_set() and timings.accepts_wakeups()


def _longest_attempt_seconds() -> float:
    settings = get_settings()
    timeout, _ = timings.find_longest_timeout(settings)
    return (timeout + settings.lease_margin).total_seconds()
