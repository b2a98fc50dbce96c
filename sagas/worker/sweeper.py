"""Sweep of due sagas that were not woken: lost wake-ups, dead workers, retries, deadlines.

Many sweepers may run at once: a due saga is claimed by ``woken_at``, at most once per wake-up interval, oldest first.
Time is the database's clock.

Source: riverqueue/river ``internal/maintenance/job_rescuer.go``; oban-bg/oban ``lib/oban/plugins``.
"""

import json
import logging
import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connections

from .. import clock
from .._version import __version__
from ..conf import get_settings
from ..core.definition import registry
from ..core.survival import ends_process
from ..engine import advance
from ..engine.notify import wakeup_sending
from ..models import SagaWorker
from ..transactions import own_transaction

logger = logging.getLogger(__name__)

BUSY_PART = 4  # a quarter of a page in its queue keeps a worker busy until the next sweep
FORGET_WORKERS_AFTER = timedelta(days=1)  # age at which heartbeat rows of dead processes are deleted


@dataclass(frozen=True, kw_only=True)
class DueSaga:
    """A due saga and the queues to wake for it."""

    id: UUID
    queues: tuple[str, ...]
    """Queues to wake: more than one when steps of one group name several."""


def claim_due(
    *, limit: int | None = None, queues: Iterable[str] | None = None, exclude: Iterable[str] = ()
) -> list[DueSaga]:
    """Claim a page of due sagas for this sweep: first those not woken since they changed, oldest first.

    Sagas that wake-ups did not advance come last, so that they never fill every page. ``queues``: only sagas with work
    in one of these; each has all its queues, because a claim for one keeps the others from being woken. ``exclude``:
    queues to leave out.
    Returns: sagas not woken within the wake-up interval; rows locked by a worker are skipped.
    Locks: the saga rows of the page, skipping locked ones, for one statement.
    """
    settings = get_settings()
    wanted = sorted(set(queues)) if queues is not None else None
    only = "AND (queue = ANY(%(queues)s) OR other_queues ?| %(queues)s::text[])" if wanted is not None else ""
    excluded = sorted(set(exclude))
    only += " AND (queue <> ALL(%(exclude)s) OR NOT other_queues <@ to_jsonb(%(exclude)s::text[]))" if excluded else ""
    now = "(clock_timestamp() + %(shift)s * interval '1 second')"
    sql = f"""
        WITH page AS (
            SELECT id, due_at FROM sagas_saga
            WHERE due_at <= {now} AND (woken_at IS NULL OR woken_at <= {now} - %(interval)s) {only}
            ORDER BY woken_at NULLS FIRST, due_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
        ), woken AS (
            UPDATE sagas_saga AS s SET woken_at = {now} FROM page WHERE s.id = page.id
            RETURNING s.id, jsonb_build_array(s.queue) || s.other_queues AS queues, page.due_at
        )
        SELECT id, queues::text FROM woken ORDER BY due_at
    """  # noqa: S608 - the parts are constants above
    values: dict[str, Any] = {
        "shift": clock.shift_seconds(),
        "interval": settings.wakeup_interval,
        "limit": limit or settings.sweep_page,
        "queues": wanted,
        "exclude": excluded,
    }
    with own_transaction(settings.database), connections[settings.database].cursor() as cursor:
        cursor.execute(sql, values)
        found = [(pk, json.loads(named)) for pk, named in cursor.fetchall()]
    return [DueSaga(id=pk, queues=tuple(name for name in names if name not in excluded)) for pk, names in found]


def wake_due(*, limit: int | None = None, queues: Iterable[str] | None = None) -> int:
    """Wake a page of due sagas.

    A queue with a backlog gets one wake-up: more would delay other work without any gain. For a queue that this code
    does not know, because older or newer code has its step, the common queue is woken: a worker there knows the step,
    or holds the saga with the reason.
    Returns: the number of sagas.
    """
    page, common = limit or get_settings().sweep_page, get_settings().common_queue
    known = {common, *registry.queues()}
    served = set(queues) if queues is not None else known
    busy = {queue for queue in served if wakeup_sending.count_waiting(queue) > page // BUSY_PART}
    due = claim_due(limit=page, queues=queues, exclude=busy)
    if busy:
        due += claim_due(limit=1, queues=busy)
    for saga in due:
        for queue in dict.fromkeys(name if name in known | served else common for name in saga.queues):
            wakeup_sending.send(saga.id, queue)
    return len(due)


def run_due(
    *,
    limit: int | None = None,
    queues: Iterable[str] | None = None,
    worker: str = "",
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Execute a page of due sagas in this process, without a broker. A saga that raises does not stop the others.

    Raises: SystemExit and KeyboardInterrupt, which are meant to end the process.
    Returns: the number of sagas handled.
    """
    served = frozenset(queues) if queues is not None else None
    count = 0
    for saga in claim_due(limit=limit, queues=served):
        if should_stop():
            break
        count += 1
        try:
            advance.advance(saga.id, queues=served, worker=worker or worker_name(), should_stop=should_stop)
        except BaseException as error:
            if ends_process(error):
                raise
            logger.exception("Saga could not be advanced.", extra={"saga_id": str(saga.id)})
    return count


def worker_name() -> str:
    """Return the name of this process: host:pid."""
    return f"{platform.node()}:{os.getpid()}"


def beat(*, queues: Iterable[str], found: int, started_at: datetime | None = None) -> None:
    """Write the heartbeat of this process.

    ``queues``: those whose steps it executes; empty if it only sends wake-ups.
    """
    using = get_settings().database
    now = clock.read_now(using)
    SagaWorker.objects.using(using).update_or_create(
        name=worker_name(),
        defaults={
            "queues": sorted(queues), "last_sweep_at": now, "last_found": found, "version": __version__,
        },
        create_defaults={
            "host": platform.node()[:150], "pid": os.getpid(), "queues": sorted(queues), "version": __version__,
            "started_at": started_at or now, "last_sweep_at": now, "last_found": found,
        },
    )  # fmt: skip
    SagaWorker.objects.using(using).filter(last_sweep_at__lt=now - FORGET_WORKERS_AFTER).delete()


def stop_serving() -> None:
    """Record that this process executes nothing any more; its last sweep stays recorded."""
    SagaWorker.objects.using(get_settings().database).filter(name=worker_name()).update(queues=[])


def leave() -> None:
    """Remove the heartbeat of this process on an orderly exit."""
    SagaWorker.objects.using(get_settings().database).filter(name=worker_name()).delete()
