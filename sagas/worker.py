"""Live inside a Celery worker: sweep from a thread of its main process, and know when it shuts down.

Connected by signals when ``sagas.tasks`` is imported, so a project has nothing to set up. The thread stays in the
parent of a prefork pool and survives killed children; the shutdown flag is shared memory that the children inherit.
"""

from __future__ import annotations

import logging
import mmap
import threading
from typing import Any

from celery import current_app, signals
from django.db import connections

from . import announcing, bulk_running, figures, owed_hooks, recovery
from .conf import get_settings

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0  # how long a worker waits for a sweep under way when it ends

_shutting_down = mmap.mmap(-1, 1)  # one byte, shared with every forked child
_stop = threading.Event()
_threads: list[threading.Thread] = []


def is_shutting_down() -> bool:
    """Tell whether this worker was asked to stop; seen by its children too."""
    return _shutting_down[0] != 0


def served_queues() -> frozenset[str] | None:
    """Return the queues that this worker consumes from, or None outside a worker."""
    consumed = current_app.amqp.queues.consume_from
    return frozenset(consumed) or None


def process_name() -> str:
    """Return host:pid of this process."""
    return recovery.worker_name()


@signals.worker_ready.connect(dispatch_uid="sagas.worker.ready")
def _start_sweeping(**_: Any) -> None:
    _shutting_down[0] = 0
    _stop.clear()
    thread = threading.Thread(target=_sweep_for_ever, name="sagas-sweeper", daemon=True)
    _threads.append(thread)
    thread.start()


@signals.worker_shutting_down.connect(dispatch_uid="sagas.worker.shutting_down")
def _note_shutdown(**_: Any) -> None:
    _shutting_down[0] = 1


@signals.worker_shutdown.connect(dispatch_uid="sagas.worker.shutdown")
def _stop_sweeping(**_: Any) -> None:
    _stop.set()
    while _threads:
        _threads.pop().join(STOP_SECONDS)


@signals.worker_process_shutdown.connect(dispatch_uid="sagas.worker.process_shutdown")
def _say_last_alerts(**_: Any) -> None:
    # A child of a prefork pool ends without the exit handlers of Python.
    announcing.flush()


def _sweep_for_ever() -> None:
    """Sweep and beat until the worker ends; no error ends it."""
    queues = served_queues() or frozenset()
    while not _stop.wait(get_settings().sweep_interval.total_seconds()):
        try:
            _sweep_once(queues)
        except Exception:
            logger.exception("Sweep failed; trying again.")
            connections.close_all()
    try:
        recovery.leave()
    except Exception:
        logger.warning("Heartbeat not removed.", exc_info=True)
    finally:
        connections.close_all()


def _sweep_once(queues: frozenset[str]) -> None:
    connections[get_settings().database].close_if_unusable_or_obsolete()
    page = get_settings().sweep_page
    found = recovery.ring_due(limit=page)
    owed_hooks.ring_owed(limit=page)
    bulk_running.ring_due()
    recovery.beat(queues=queues, found=found)
    figures.refresh_after_sweep()
