"""Background runner of bulks: processes the sagas one after the other and survives crashes of the worker.

One worker at a time has a bulk, by a lease. Each saga is one transaction: the operation, its history and the item's
result commit together, under the lease token, so a crash never makes an operation run twice. When a worker dies, the
sweep finds its bulk after the lease ends. The pace is stored in the row, so it does not depend on the number of
workers, and no worker sleeps for it.

Source: GCRA (ITU-T I.371, the virtual scheduling algorithm): ``due_at`` is the time from which the next saga may be
processed; each saga moves it by 1/rate.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from django.db import connections
from django.db.models import F

from ... import clock
from ...conf import get_settings
from ...core.survival import ends_process
from ...databases import is_beyond_statement, refresh_connection
from ...engine.notify import wakeup_sending
from ...exceptions import OperationRefused, SagaNotFound, StaleRevision
from ...models import BulkResult, BulkState, SagaBulk, SagaBulkItem
from ...models.bulk import BULK_ID_VERSION
from ...transactions import own_transaction
from ..actor import Actor, find_account
from ..operations import perform_operation
from ..preconditions import Operation
from . import preconditions
from .freezing import end_bulk, select_items, wait_in_line

logger = logging.getLogger(__name__)

BURST = timedelta(seconds=10)  # the idle time that may be made up for; longer than sweep and wake-up interval together
MAX_FAILURES = 3  # failures of one saga after which the bulk gives it up


@dataclass(frozen=True, kw_only=True)
class _Lease:
    """Lease of a bulk by one worker."""

    bulk_id: UUID
    token: UUID
    allowance: int
    """How many sagas the rate allows now."""


class _Turn(StrEnum):
    """End of one turn."""

    ACTED = "acted"
    OVER = "over"  #: nothing is left, the bulk was stopped, or another worker has the lease


def is_bulk_id(wanted: UUID) -> bool:
    """Return whether an id is that of a bulk and not of a saga."""
    return wanted.version == BULK_ID_VERSION


def advance(bulk_id: UUID, *, should_stop: Callable[[], bool] = lambda: False) -> int:
    """Process as many sagas of a bulk as its rate, this worker's time slice and ``should_stop`` allow now.

    Returns: how many; 0 also when another worker has it, or there is nothing to do.
    Raises: database errors if the database is unavailable; the lease then ends by itself.
    Locks: the bulk row, then one saga row, for each saga. Tx: must not be inside one; opens one for each saga.
    """
    settings = get_settings()
    refresh_connection(settings.database)
    ends_at = time.monotonic() + settings.time_slice.total_seconds()
    lease = _claim(bulk_id)
    if lease is None:
        return 0
    count = 0
    while count < lease.allowance and not should_stop() and time.monotonic() < ends_at:
        if _act_or_note(lease) is _Turn.OVER:
            return count
        count += 1
    _release(lease, count)
    return count


def wake_due() -> int:
    """Send wake-ups to bulks that are due and that no worker has, each at most once per wake-up interval.

    Returns: how many.
    """
    settings = get_settings()
    now = "(clock_timestamp() + %(shift)s * interval '1 second')"
    sql = f"""
        WITH page AS (
            SELECT id FROM sagas_sagabulk
            WHERE due_at <= {now} AND (woken_at IS NULL OR woken_at <= {now} - %(interval)s)
                AND (lease_until IS NULL OR lease_until <= {now})
            ORDER BY due_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
        )
        UPDATE sagas_sagabulk AS bulk SET woken_at = {now} FROM page WHERE bulk.id = page.id RETURNING bulk.id
    """  # noqa: S608 - the parts are constants above
    values: dict[str, Any] = {
        "shift": clock.shift_seconds(),
        "interval": settings.wakeup_interval,
        "limit": settings.sweep_page,
    }
    with own_transaction(settings.database), connections[settings.database].cursor() as cursor:
        cursor.execute(sql, values)
        found = [row[0] for row in cursor.fetchall()]
    for bulk_id in found:
        wakeup_sending.send(bulk_id)
    return len(found)


def run_due(*, should_stop: Callable[[], bool] = lambda: False) -> int:
    """Process every due bulk in this process, without a broker. An error in one does not stop the others.

    Returns: how many sagas.
    """
    using = get_settings().database
    due = SagaBulk.objects.using(using).filter(due_at__lte=clock.read_now(using)).order_by("due_at")
    count = 0
    for bulk_id in list(due.values_list("pk", flat=True)[: get_settings().sweep_page]):
        if should_stop():
            break
        try:
            count += advance(bulk_id, should_stop=should_stop)
        except BaseException as error:
            if ends_process(error):
                raise
            logger.exception("Bulk could not be advanced.", extra={"bulk_id": str(bulk_id)})
    return count


def _claim(bulk_id: UUID) -> _Lease | None:
    """Claim a bulk that is due and that no worker has.

    Returns: None when there is no such bulk.
    """
    settings = get_settings()
    token = uuid4()
    now = "(clock_timestamp() + %(shift)s * interval '1 second')"
    sql = f"""
        UPDATE sagas_sagabulk SET lease_token = %(token)s, lease_until = {now} + %(lease)s,
            due_at = greatest(due_at, {now} - %(burst)s)
        WHERE id = %(id)s AND due_at <= {now} AND (lease_until IS NULL OR lease_until <= {now})
        RETURNING extract(epoch FROM {now} - due_at)
    """  # noqa: S608 - the parts are constants above
    values: dict[str, Any] = {
        "shift": clock.shift_seconds(), "token": token, "lease": settings.time_slice + settings.lease_margin,
        "burst": BURST, "id": bulk_id,
    }  # fmt: skip
    with own_transaction(settings.database), connections[settings.database].cursor() as cursor:
        cursor.execute(sql, values)
        row = cursor.fetchone()
    if row is None:
        return None
    return _Lease(bulk_id=bulk_id, token=token, allowance=int(float(row[0]) * settings.bulk_rate) + 1)


def _release(lease: _Lease, count: int) -> None:
    """Release a bulk, or end it when nothing is left; the next saga is due when the rate allows it."""
    settings = get_settings()
    with own_transaction(settings.database, durable=True):
        bulk = _lock_leased(lease)
        if bulk is None:
            return
        if not select_items(bulk.pk).filter(result__isnull=True).exists():
            end_bulk(bulk, BulkState.FINISHED)
            return
        bulk.due_at = F("due_at") + timedelta(seconds=count / settings.bulk_rate)
        bulk.lease_token = bulk.lease_until = bulk.woken_at = None
        bulk.save(using=settings.database, update_fields=["due_at", "lease_token", "lease_until", "woken_at"])


def _act_or_note(lease: _Lease) -> _Turn:
    """Act on the next saga; after an error retry it after the others, and give it up after MAX_FAILURES."""
    using = get_settings().database
    tried: list[SagaBulkItem] = []
    try:
        with own_transaction(using, durable=True):
            return _act_on_next(lease, tried)
    except Exception as error:
        if not tried or is_beyond_statement(error):
            raise
        facts = {"bulk_id": str(lease.bulk_id), "saga_id": str(tried[0].saga_id)}
        logger.exception("Saga of a bulk could not be acted on.", extra=facts)
        return _note_failure(lease, tried[0].pk, error)


def _act_on_next(lease: _Lease, tried: list[SagaBulkItem]) -> _Turn:
    """Act on one saga and write its result, in the caller's transaction."""
    bulk = _lock_leased(lease)
    if bulk is None:
        return _Turn.OVER
    waiting = select_items(bulk.pk).filter(result__isnull=True).order_by("failures", "position")
    item = waiting.first()
    if item is None:
        end_bulk(bulk, BulkState.FINISHED)
        return _Turn.OVER
    tried.append(item)
    actor, operation = _find_actor(bulk), Operation(bulk.operation)
    if lapse := preconditions.find_lapse(actor, operation):
        now = clock.read_now(get_settings().database)
        waiting.order_by().update(result=BulkResult.REFUSED.value, message=lapse, ended_at=now)
        end_bulk(bulk, BulkState.FINISHED)
        return _Turn.OVER
    item.result, item.message = _act(bulk, item, actor, operation)
    item.ended_at = clock.read_now(get_settings().database)
    item.save(using=get_settings().database, update_fields=["result", "message", "ended_at"])
    return _Turn.ACTED


def _act(bulk: SagaBulk, item: SagaBulkItem, actor: Actor, operation: Operation) -> tuple[str, str]:
    """Perform the operation on one saga.

    Returns: its result and a sentence.
    """
    try:
        found = perform_operation(
            operation, item.saga_id, actor=replace(actor, bulk=bulk.pk), reason=bulk.reason, revision=item.revision
        )
    except StaleRevision as error:
        return BulkResult.STALE.value, str(error)
    except OperationRefused as error:
        return BulkResult.REFUSED.value, str(error)
    except SagaNotFound:
        return BulkResult.GONE.value, "The saga is deleted."
    return (BulkResult.ALREADY if found.is_repeat else BulkResult.DONE).value, found.message


def _note_failure(lease: _Lease, item_id: int, error: Exception) -> _Turn:
    using = get_settings().database
    with own_transaction(using, durable=True):
        bulk = _lock_leased(lease)
        if bulk is None:
            return _Turn.OVER
        # Read again: the row in memory may contain a result that was rolled back.
        item = select_items(bulk.pk).get(pk=item_id)
        item.failures += 1
        if item.failures >= MAX_FAILURES:
            item.result = BulkResult.FAILED.value
            item.message = f"Gave up after {item.failures} failures: {type(error).__name__}. See the log."
            item.ended_at = clock.read_now(using)
        item.save(using=using, update_fields=["failures", "result", "message", "ended_at"])
    return _Turn.ACTED


def _lock_leased(lease: _Lease) -> SagaBulk | None:
    """Lock a bulk of this worker, so that no one stops or claims it while a saga is processed.

    Returns: None when it was stopped, or the lease ended and another worker claimed it.
    """
    wait_in_line(lease.bulk_id)
    bulks = SagaBulk.objects.using(get_settings().database).select_for_update(no_key=True)
    return bulks.filter(pk=lease.bulk_id, lease_token=lease.token).first()


def _find_actor(bulk: SagaBulk) -> Actor:
    """Return the actor of a bulk with the account's current permissions; without an account if it was deleted."""
    user = find_account("pk", bulk.account) if bulk.account else None
    is_trusted = bulk.is_trusted and not bulk.account
    return Actor(name=bulk.actor, user=user, is_trusted=is_trusted)
