"""Live inside a Celery worker: sweep from a thread of its main process, and know what the worker can and shall do.

Connected by signals and boot steps when ``sagas.tasks`` is imported, so a project has nothing to set up. The thread
stays in the parent of a prefork pool and survives killed children; it starts with the worker, also where the broker is
away. The shutdown flag is shared memory that the children inherit.
"""

from __future__ import annotations

import logging
import mmap
import os
import threading
from typing import Any

from celery import bootsteps, current_app, signals
from celery.exceptions import WorkerShutdown, WorkerTerminate
from django.db import close_old_connections, connections

from ..conf import get_settings
from ..engine.notify import alert_dispatch, wakeup
from ..monitoring import timings
from . import due_work, sweeper
from .celery_strategy import list_consumed
from .consuming import guard_handler, share_thread_while_waiting, wake_after_tasks
from .decompression import limit_decompression
from .sweep_loop import sweep_loop

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0  # how long a worker waits for a sweep under way when it ends

_shutting_down = mmap.mmap(-1, 1)  # one byte, shared with every forked child
_stop = threading.Event()
_threads: list[threading.Thread] = []
_is_running_sagas = threading.Event()
# Nobody but a worker that has started knows better.
_is_consuming = threading.Event()
_is_consuming.set()
_main_pids: list[int] = []
_consumers: list[Any] = []


def is_shutting_down() -> bool:
    """Tell whether this worker was asked to stop; seen by its children too."""
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
    """Return whether this process is to end of an exception that came out of a task.

    A child of a prefork pool is: that is how it is told to, and another one takes its place. The main process, where
    the other pools execute, ends only when Celery wants it to.
    """
    is_main = os.getpid() in _main_pids
    return not is_main or isinstance(error, WorkerShutdown | WorkerTerminate)


def release_connections() -> None:
    """Close the database connections of a greenlet, which ends with its task; else they would stay open for a while."""
    if _consumers and os.getpid() in _main_pids and _consumers[0].pool.is_green:
        connections.close_all()


class SweepStep(bootsteps.StartStopStep):
    """The start of the sweeper: after a pool has forked, before the worker waits for its broker."""

    label: Any = "Sagas"
    requires: Any = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:
        """Start sweeping."""
        _start_sweeping()


class ConsumeStep(bootsteps.StartStopStep):
    """The knowledge whether the worker consumes: stopped and started again with every connection to the broker."""

    label: Any = "Sagas"
    requires: Any = ("celery.worker.consumer:Tasks",)

    def start(self, parent: Any) -> None:
        """Note that messages come in, and guard the worker from those that belong to no task."""
        guard_handler(parent)
        wake_after_tasks(parent)
        _consumers[:] = [parent]
        _is_consuming.set()

    def stop(self, parent: Any) -> None:
        """Note that none do."""
        _is_consuming.clear()


@signals.worker_init.connect(dispatch_uid="sagas.worker.lifecycle.init")
def _join_worker(sender: Any, **_: Any) -> None:
    sender.app.steps["worker"].add(SweepStep)
    sender.app.steps["consumer"].add(ConsumeStep)
    # Celery adds a queue whenever one is woken, and a worker without -Q consumes from all there are when it connects
    # again. So what it consumes from at its start is written down.
    queues = sender.app.amqp.queues
    queues.select(list(queues.consume_from))
    _main_pids[:] = [os.getpid()]
    _consumers.clear()
    _is_consuming.clear()
    limit_decompression()
    share_thread_while_waiting()


def _start_sweeping(**_: Any) -> None:
    _shutting_down[0] = 0
    _stop.clear()
    thread = threading.Thread(target=_sweep_for_ever, name="sagas-sweeper", daemon=True)
    _threads.append(thread)
    thread.start()


@signals.worker_shutting_down.connect(dispatch_uid="sagas.worker.lifecycle.shutting_down")
def _note_shutdown(**_: Any) -> None:
    _shutting_down[0] = 1


@signals.worker_shutdown.connect(dispatch_uid="sagas.worker.lifecycle.shutdown")
def _stop_sweeping(**_: Any) -> None:
    _stop.set()
    while _threads:
        thread = _threads.pop()
        thread.join(STOP_SECONDS)
        if thread.is_alive() and _is_running_sagas.is_set():
            # As a pool waits for its tasks: the step under way is finished and recorded.
            thread.join(_longest_attempt_seconds())


@signals.worker_process_shutdown.connect(dispatch_uid="sagas.worker.lifecycle.process_shutdown")
def _say_last_alerts(**_: Any) -> None:
    # A child of a prefork pool ends without the exit handlers of Python.
    alert_dispatch.flush()


def _sweep_for_ever() -> None:
    """Sweep and beat until the worker ends; no error ends it."""
    try:
        # Meanwhile the worker connects: until then it would take its broker for away.
        _wait()
        # Also a step that calls sys.exit() may not end the sweep of this worker for good.
        sweep_loop(_sweep_once, should_stop=_stop.is_set, wait=_wait, must_end_with=lambda _: False)
    finally:
        connections.close_all()


def _wait() -> None:
    _stop.wait(get_settings().sweep_interval.total_seconds())


def _sweep_once() -> None:
    queues = served_queues() or frozenset()
    if _must_run_sagas():
        _run_sagas(queues)
    else:
        due_work.wakeup_all_due(queues=None, serving=queues if _can_take_wakeups() else ())


def _run_sagas(queues: frozenset[str]) -> None:
    _is_running_sagas.set()
    try:
        due_work.run_all_due(queues=queues, should_stop=_must_stop_running)
    finally:
        _is_running_sagas.clear()
        close_old_connections()


def _must_run_sagas() -> bool:
    """Return whether this thread executes what is due: if the project asks for it, while no wake-up can come in."""
    if not get_settings().sweep_runs or is_shutting_down():
        return False
    return not _can_take_wakeups() or not wakeup.uses_celery() or wakeup.is_failing()


def _must_stop_running() -> bool:
    return _stop.is_set() or not _must_run_sagas()


def _can_take_wakeups() -> bool:
    """Return whether wake-ups reach this worker: they are sent, it is connected, and it reads the messages."""
    return wakeup.sends_anything() and _is_consuming.is_set() and timings.accepts_wakeups()


def _longest_attempt_seconds() -> float:
    settings = get_settings()
    timeout, _ = timings.find_longest_timeout(settings)
    return (timeout + settings.lease_margin).total_seconds()
