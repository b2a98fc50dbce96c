"""Bulks: one operation on a frozen set of sagas, and its result for each of them."""

from enum import StrEnum
from uuid import UUID

from django.db import models
from django.db.models import Q

from .base import EngineModel
from .choices import choices_of, one_of
from .fields import MomentField
from .saga import new_saga_id

BULK_ID_VERSION = 8


def new_bulk_id() -> UUID:
    """Return a time-ordered UUID of version 8, which distinguishes a bulk from a saga without a query.

    Source: RFC 9562, section 5.8.
    """
    value = new_saga_id().int
    return UUID(int=(value & ~(0xF << 76)) | (BULK_ID_VERSION << 76))


class BulkState(StrEnum):
    """State of a bulk."""

    FROZEN = "frozen"  #: its sagas are frozen; it is not confirmed yet
    RUNNING = "running"  #: confirmed; workers process one saga after the other
    FINISHED = "finished"  #: every saga has its result
    STOPPED = "stopped"  #: an operator ended it; the remaining sagas stay untouched


class BulkResult(StrEnum):
    """Result of one saga of a bulk."""

    DONE = "done"
    ALREADY = "already"  #: nothing to do: the operation was done before
    STALE = "stale"  #: the saga has changed since the set was frozen; nothing was done
    REFUSED = "refused"  #: not possible or not allowed; nothing was done
    GONE = "gone"  #: the saga is deleted
    FAILED = "failed"  #: the database raised an error several times


class SagaBulk(EngineModel):
    """One operation that an operator applies to many sagas.

    The set and each saga's revision are frozen before the bulk is confirmed. The operator confirms what was shown,
    whatever the filter would find later.
    """

    id = models.UUIDField(primary_key=True, default=new_bulk_id, editable=False)
    operation = models.CharField(max_length=20, help_text="The action; see sagas.operators.preconditions.Operation.")
    state = models.CharField(max_length=10, default=BulkState.FROZEN.value, choices=choices_of(BulkState))
    actor = models.CharField(max_length=200, help_text="Who froze and confirmed it, by value.")
    account = models.CharField(max_length=255, blank=True, default="", help_text="Key of the account to check.")
    is_trusted = models.BooleanField(default=False, help_text="Whether no permission is checked: from a shell.")
    reason = models.CharField(max_length=500, blank=True, default="")
    filter = models.JSONField(null=True, blank=True, help_text="The filter by name; NULL: selected by hand.")
    words = models.CharField(max_length=500, help_text="How the sagas were chosen, in words.")
    total = models.PositiveIntegerField(help_text="How many sagas it has.")
    counts = models.JSONField(null=True, blank=True, help_text="Sagas by result, once it is over.")
    frozen_at = MomentField()
    started_at = MomentField(null=True, blank=True)
    ended_at = MomentField(null=True, blank=True)
    stopped_by = models.CharField(max_length=200, blank=True, default="", help_text="Who stopped it, by value.")
    stop_reason = models.CharField(max_length=500, blank=True, default="")
    due_at = MomentField(null=True, blank=True, help_text="When the next saga may be acted on.")
    woken_at = MomentField(null=True, blank=True, help_text="When a sweep last woke it.")
    lease_token = models.UUIDField(null=True, blank=True)
    lease_until = MomentField(null=True, blank=True, help_text="When its lease ends.")

    class Meta:
        ordering = ("-frozen_at", "-id")
        verbose_name = "bulk"
        verbose_name_plural = "bulks"
        constraints = (
            one_of("state", BulkState, "saga_bulk_state_known"),
            models.CheckConstraint(
                condition=Q(state=BulkState.RUNNING.value, due_at__isnull=False)
                | (~Q(state=BulkState.RUNNING.value) & Q(due_at__isnull=True, lease_token__isnull=True)),
                name="saga_bulk_running_is_due",
            ),
            models.CheckConstraint(
                condition=Q(state=BulkState.FROZEN.value) | ~Q(reason=""), name="saga_bulk_has_a_reason"
            ),
        )
        indexes = (
            models.Index(fields=["due_at"], name="saga_bulk_due", condition=Q(due_at__isnull=False)),
            models.Index(fields=["-frozen_at", "-id"], name="saga_bulk_newest"),
        )

    def __str__(self) -> str:
        return f"{self.operation} of {self.total} sagas"

    @property
    def is_over(self) -> bool:
        """Whether no further saga of it will be processed."""
        return self.state in (BulkState.FINISHED, BulkState.STOPPED)

    @property
    def is_unfiltered(self) -> bool:
        """Whether it was frozen from all open sagas, without a filter."""
        return self.filter == {}


class SagaBulkItem(EngineModel):
    """One saga of a bulk, stored by value: a bulk does not keep a saga from being deleted."""

    bulk = models.ForeignKey(SagaBulk, on_delete=models.CASCADE, related_name="items")
    position = models.PositiveIntegerField(help_text="Place in the set, from 1.")
    saga_id = models.UUIDField()
    revision = models.PositiveIntegerField(help_text="The saga's revision when the set was frozen.")
    result = models.CharField(max_length=10, null=True, blank=True, choices=choices_of(BulkResult))  # noqa: DJ001 - NULL: none yet
    message = models.TextField(blank=True, default="")
    failures = models.PositiveSmallIntegerField(default=0, help_text="How often the database refused it.")
    ended_at = MomentField(null=True, blank=True)

    class Meta:
        ordering = ("bulk", "position")
        constraints = (
            models.UniqueConstraint(fields=["bulk", "saga_id"], name="saga_bulk_item_saga_once"),
            models.UniqueConstraint(fields=["bulk", "position"], name="saga_bulk_item_position_once"),
            one_of("result", BulkResult, "saga_bulk_item_result_known"),
        )
        indexes = (
            models.Index(
                fields=["bulk", "failures", "position"], name="saga_bulk_item_next", condition=Q(result__isnull=True)
            ),
            models.Index(fields=["bulk", "result", "position"], name="saga_bulk_item_result"),
        )

    def __str__(self) -> str:
        return f"{self.position} {self.saga_id}"
