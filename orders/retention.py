"""Delete what the checkout no longer needs to remember."""

from dataclasses import dataclass

from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now

from sagas.core.states import OPEN_STATES
from sagas.models import Saga

from .models import IdempotencyRecord, ThrottleBucket

# Small transactions: no lock is held for long, whatever has piled up.
BATCH_SIZE = 500
OPEN_VALUES = [state.value for state in OPEN_STATES]


@dataclass(frozen=True, kw_only=True)
class CleanupReport:
    """What was deleted, or would be."""

    idempotency_records: int
    """Answers to checkout requests."""
    throttle_buckets: int
    """Counters that stand at nothing."""


def clean_up(*, dry_run: bool = False, batch_size: int = BATCH_SIZE) -> CleanupReport:
    """Delete expired idempotency records, except those of open sagas, and throttle counters that mean nothing any more.

    Tx: must not be inside one; opens one for each batch.
    """
    count = _count if dry_run else _delete
    return CleanupReport(
        idempotency_records=count(find_expired_records(), batch_size),
        throttle_buckets=count(ThrottleBucket.objects.filter(free_at__lt=Now()).order_by("free_at"), batch_size),
    )


def find_expired_records() -> QuerySet[IdempotencyRecord]:
    """Return what may be deleted, oldest first."""
    is_open = Exists(Saga.objects.filter(pk=OuterRef("order__saga_id"), state__in=OPEN_VALUES))
    return IdempotencyRecord.objects.filter(~is_open, expires_at__lt=Now()).order_by("expires_at", "id")


def _count(rows: QuerySet, _batch_size: int) -> int:
    return rows.count()


def _delete(rows: QuerySet, batch_size: int) -> int:
    deleted = 0
    while batch := list(rows.values_list("pk", flat=True)[:batch_size]):
        # The condition is asked again: a counter may have been used since the batch was read.
        count, _ = rows.order_by().filter(pk__in=batch).delete()
        deleted += count
    return deleted
