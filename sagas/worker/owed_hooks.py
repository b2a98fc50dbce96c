"""Sweep of hooks of closed sagas that are owed and due: lost wake-ups, dead workers, failed calls.

Only wakes and runs; ``sagas.engine.closed_hooks`` claims a call and makes it. Any worker may call a hook; its wake-up
goes to the common queue.
"""

import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db import connections

from .. import clock
from ..conf import get_settings
from ..core.survival import ends_process
from ..engine import advance
from ..engine.notify import wakeup_sending
from ..models import Saga
from ..transactions import own_transaction
from . import sweeper

logger = logging.getLogger(__name__)

BUSY_PART = 4  # as for sagas: a quarter of a page in its queue keeps a worker busy
CLAIM_OWED = """
    WITH page AS (
        SELECT id FROM sagas_saga
        WHERE hook_due_at <= {now} AND (woken_at IS NULL OR woken_at <= {now} - %(interval)s::interval)
        ORDER BY woken_at NULLS FIRST, hook_due_at LIMIT %(limit)s::bigint FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE sagas_saga AS saga SET woken_at = {now} FROM page WHERE saga.id = page.id RETURNING saga.id
"""


def wake_owed(*, limit: int | None = None) -> int:
    """Wake a page of due hooks, each at most once per wake-up interval over all sweepers.

    Returns: the number of hooks.
    Locks: the saga rows of the page, skipping locked ones, for one statement.
    """
    settings = get_settings()
    page = limit or settings.sweep_page
    if wakeup_sending.count_waiting(settings.common_queue) > page // BUSY_PART:
        page = 1
    values: dict[str, Any] = {"shift": clock.shift_seconds(), "interval": settings.wakeup_interval, "limit": page}
    sql = CLAIM_OWED.format(now="(clock_timestamp() + %(shift)s::float8 * interval '1 second')")
    with own_transaction(settings.database), connections[settings.database].cursor() as cursor:
        cursor.execute(sql, values)
        found = [row[0] for row in cursor.fetchall()]
    for saga_id in found:
        wakeup_sending.send(saga_id, settings.common_queue)
    return len(found)


def run_owed(
    *, should_stop: Callable[[], bool] = lambda: False, progress: Callable[[int], None] = lambda _count: None
) -> int:
    """Call every due hook once in this process, without a broker. A failing hook does not stop the others.

    Returns: the number of sagas handled.
    """
    count = 0
    for saga_id in _list_due():
        if should_stop():
            break
        count += 1
        try:
            advance.advance(saga_id, worker=sweeper.worker_name(), should_stop=should_stop)
        except BaseException as error:
            if ends_process(error):
                raise
            logger.exception("Hook could not be called.", extra={"saga_id": str(saga_id)})
        progress(1)
    return count


def _list_due() -> list[UUID]:
    using = get_settings().database
    rows = Saga.objects.using(using).filter(hook_due_at__lte=clock.read_now(using)).order_by("hook_due_at")
    return list(rows.values_list("pk", flat=True)[: get_settings().sweep_page])
