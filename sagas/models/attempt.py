"""Attempts: executions of actions and compensations."""

from django.db import models
from django.db.models import Q

from ..core.states import Direction, Effect, Outcome
from .base import EngineModel
from .choices import choices_of, one_of
from .fields import MomentField
from .saga import Saga
from .step import SagaStep

ATTEMPT_EFFECTS = (Effect.NONE, Effect.MAYBE, Effect.YES)


class SagaAttempt(EngineModel):
    """One execution, written by the claim before anything runs and closed by the record.

    A definite outcome is written once and never changed; *unknown* may still become definite.
    """

    saga = models.ForeignKey(Saga, on_delete=models.CASCADE, related_name="attempts")
    step = models.ForeignKey(SagaStep, on_delete=models.CASCADE, related_name="attempts")
    direction = models.CharField(max_length=12, choices=choices_of(Direction))
    number = models.PositiveIntegerField(help_text="From 1, per step and direction.")
    epoch = models.PositiveSmallIntegerField(default=0)
    lease_token = models.UUIDField(unique=True)
    worker = models.CharField(max_length=120, blank=True, default="")
    started_at = MomentField()
    deadline_at = MomentField(help_text="When its time-out ends.")
    ended_at = MomentField(null=True, blank=True)
    outcome = models.CharField(max_length=15, null=True, blank=True, choices=choices_of(Outcome))  # noqa: DJ001 - NULL: live
    effect = models.CharField(max_length=10, default=Effect.MAYBE.value, choices=choices_of(ATTEMPT_EFFECTS))
    settles = models.BooleanField(default=False, help_text="Whether it answers for earlier unsettled attempts too.")
    is_assumed = models.BooleanField(default=False, help_text="Whether an operator stated it; not an execution.")
    error_class = models.CharField(max_length=200, blank=True, default="")
    message = models.TextField(blank=True, default="")
    traceback = models.TextField(blank=True, default="")
    error_group = models.CharField(
        max_length=16, blank=True, default="", db_default="", help_text="Which failures it is one of; empty: none."
    )

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(fields=["step", "direction", "number"], name="saga_attempt_number_once"),
            models.UniqueConstraint(fields=["step"], name="saga_attempt_one_live", condition=Q(ended_at__isnull=True)),
            one_of("direction", Direction, "saga_attempt_direction_known"),
            one_of("outcome", Outcome, "saga_attempt_outcome_known"),
            one_of("effect", ATTEMPT_EFFECTS, "saga_attempt_effect_known"),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True, outcome__isnull=True)
                | Q(ended_at__isnull=False, outcome__isnull=False),
                name="saga_attempt_ends_with_outcome",
            ),
        )
        indexes = (
            models.Index(fields=["saga", "id"], name="saga_attempt_by_saga"),
            models.Index(fields=["started_at"], name="saga_attempt_started"),
            models.Index(fields=["started_at"], name="saga_attempt_failed", condition=~Q(error_group="")),
            models.Index(fields=["error_group", "started_at"], name="saga_attempt_group", condition=~Q(error_group="")),
        )

    def __str__(self) -> str:
        return f"{self.direction} {self.number}"
