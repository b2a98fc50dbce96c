"""Barrier rows of a participant's own database: what was done under which key."""

from enum import StrEnum

from django.db import models

from ..core.states import Direction
from ..core.visible import show_invisible
from .choices import choices_of, one_of
from .fields import MomentField


class BarrierState(StrEnum):
    """State of a barrier row."""

    INTENT = "intent"  #: an external call was announced and may have been made; its answer is not stored
    DONE = "done"  #: the call happened; its result is stored
    TOMBSTONE = "tombstone"  #: the compensation came first; a late action is fenced


class SagaBarrier(models.Model):
    """Guard of one step key, direction and epoch against repeats, late actions and empty compensations.

    Source: DTM, the sub-transaction barrier.
    """

    key = models.CharField(max_length=120)
    direction = models.CharField(max_length=12, choices=choices_of(Direction))
    epoch = models.PositiveSmallIntegerField(default=0)
    state = models.CharField(max_length=10, choices=choices_of(BarrierState))
    result = models.JSONField(null=True, blank=True)
    created_at = MomentField()
    finished_at = MomentField(null=True, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["key", "direction", "epoch"], name="saga_barrier_once"),
            one_of("state", BarrierState, "saga_barrier_state_known"),
            one_of("direction", Direction, "saga_barrier_direction_known"),
        )
        indexes = (models.Index(fields=["created_at"], name="saga_barrier_created"),)

    def __str__(self) -> str:
        return show_invisible(f"{self.key} {self.direction} {self.epoch}")
