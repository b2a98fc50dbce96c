"""Deletion of bulks that are over, and of frozen sets that can no longer be confirmed, with their rows.

Only the bulk row records who confirmed and who stopped it. It is kept as long as the access log, also when its sagas
are deleted earlier. Transactions are small, oldest rows first; a bulk locked by another transaction is passed over.
What a bulk did stays in the history of each saga.
"""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from django.db.models import Q, QuerySet

from .. import clock
from ..conf import get_settings
from ..models import BulkState, SagaBulk, SagaBulkItem
from ..transactions import own_transaction

BATCH_ROWS = 5_000  # item rows in one transaction; without children they go several times as fast as sagas
PAGE = 100


def delete_expired_bulks(ended_before: datetime, *, should_stop: Callable[[], bool] = lambda: False) -> int:
    """Delete bulks that ended before a time and longer than ACCESS_RETENTION ago, and sets too old to confirm.

    Returns: how many bulks.
    Tx: must not be inside one; opens one for each batch of rows. Locks: one bulk row, skipping locked ones.
    """
    count = 0
    passed_over: set[UUID] = set()
    while not should_stop():
        page = list(select_expired_bulks(ended_before).exclude(pk__in=passed_over).values_list("pk", flat=True)[:PAGE])
        if not page:
            break
        for bulk_id in page:
            is_gone = _delete_bulk(bulk_id, ended_before, should_stop)
            count += is_gone
            if not is_gone:
                passed_over.add(bulk_id)
    return count


def select_expired_bulks(ended_before: datetime) -> QuerySet[SagaBulk]:
    """Return the bulks that ``delete_expired_bulks`` would delete now, oldest first."""
    settings = get_settings()
    now = clock.read_now(settings.database)
    told_before = min(ended_before, now - settings.access_retention)
    is_over = Q(state__in=[BulkState.FINISHED.value, BulkState.STOPPED.value], ended_at__lt=told_before)
    is_forgotten = Q(state=BulkState.FROZEN.value, frozen_at__lt=now - settings.bulk_confirm_within)
    return SagaBulk.objects.using(settings.database).filter(is_over | is_forgotten).order_by("frozen_at", "pk")


def _delete_bulk(bulk_id: UUID, ended_before: datetime, should_stop: Callable[[], bool]) -> bool:
    """Delete one bulk, batch after batch.

    Returns: whether it is gone; False when another transaction holds it, or it was time to stop.
    """
    using = get_settings().database
    items = SagaBulkItem.objects.using(using).filter(bulk_id=bulk_id)
    while not should_stop():
        with own_transaction(using):
            free = select_expired_bulks(ended_before).filter(pk=bulk_id).select_for_update(skip_locked=True)
            bulk = free.first()
            if bulk is None:
                return False
            batch = list(items.order_by("pk").values_list("pk", flat=True)[:BATCH_ROWS])
            items.filter(pk__in=batch).delete()
            if len(batch) < BATCH_ROWS:
                bulk.delete(using=using)
                return True
    return False
