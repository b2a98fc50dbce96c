"""Intents: external calls that event handlers decided on, kept in the participant's database until they are over."""

import uuid

from django.db import models

from ..core.states import Attention, Hold, Outcome, SagaState, StepState, WaitingFor
from ..core.visible import show_invisible
from .attempt import ATTEMPT_EFFECTS
from .choices import choices_of, one_of
from .events import MAX_ID_CHARS, MAX_KEY_CHARS, MAX_PARTICIPANT_CHARS
from .fields import MomentField

INTENT_ID_VERSION = 4  # sagas have version 7, bulks 8, so that a wake-up says what it is for


class Intent(models.Model):
    """One external call, in the states of a saga with a single step, which the engine executes."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    definition = models.CharField(max_length=60, help_text="Participant and name of the declaration.")
    version = models.PositiveIntegerField(default=1)
    participant = models.CharField(max_length=MAX_PARTICIPANT_CHARS)
    key = models.CharField(max_length=MAX_KEY_CHARS, help_text="Key of the events, such as an order number.")
    correlation_id = models.CharField(max_length=MAX_ID_CHARS, blank=True)
    causation_id = models.CharField(max_length=MAX_ID_CHARS, blank=True, help_text="Event whose handler wrote it.")
    traceparent = models.CharField(max_length=64, blank=True)
    input = models.JSONField(default=dict)
    state = models.CharField(max_length=20, choices=choices_of(SagaState), default=SagaState.PENDING.value)
    hold = models.CharField(max_length=30, null=True, blank=True, choices=choices_of(Hold))  # noqa: DJ001 - NULL: not held
    attention = models.JSONField(default=list, blank=True)
    revision = models.PositiveIntegerField(default=1)
    history_count = models.PositiveIntegerField(default=0)
    cause = models.JSONField(null=True, blank=True, help_text="Why it ended without success.")
    pivot_passed_at = MomentField(null=True, blank=True)
    queue = models.CharField(max_length=60, blank=True, default="")
    due_at = MomentField(null=True, blank=True, help_text="When a worker must look at it again.")
    woken_at = MomentField(null=True, blank=True, help_text="When a sweep last woke it.")
    created_at = MomentField()
    updated_at = MomentField()
    closed_at = MomentField(null=True, blank=True)
    late_success_at = MomentField(null=True, blank=True, help_text="When it succeeded although it had been given up.")
    step_state = models.CharField(max_length=20, choices=choices_of(StepState), default=StepState.PENDING.value)
    step_hold = models.CharField(max_length=30, null=True, blank=True, choices=choices_of(Hold))  # noqa: DJ001 - NULL: not held
    step_attention = models.CharField(max_length=30, null=True, blank=True, choices=choices_of(Attention))  # noqa: DJ001 - NULL: none
    step_waiting_for = models.CharField(max_length=10, null=True, blank=True, choices=choices_of(WaitingFor))  # noqa: DJ001 - NULL: not waiting
    step_due_at = MomentField(null=True, blank=True)
    step_lease_token = models.UUIDField(null=True, blank=True)
    step_lease_until = MomentField(null=True, blank=True)
    step_action_attempts = models.PositiveIntegerField(default=0)
    step_budget_used = models.PositiveIntegerField(default=0)
    step_budget_started_at = MomentField(null=True, blank=True)
    step_result = models.JSONField(null=True, blank=True)
    step_is_assumed = models.BooleanField(default=False)
    step_is_woken = models.BooleanField(default=False)
    step_last_error = models.CharField(max_length=300, blank=True, default="")
    step_started_at = MomentField(null=True, blank=True)
    step_finished_at = MomentField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        constraints = (
            one_of("state", SagaState, "saga_intent_state_known"),
            one_of("step_state", StepState, "saga_intent_step_state_known"),
            models.CheckConstraint(
                condition=models.Q(closed_at__isnull=True) | models.Q(due_at__isnull=True),
                name="saga_intent_closed_is_never_due",
            ),
        )
        indexes = (
            models.Index(fields=["due_at"], name="saga_intent_due", condition=models.Q(due_at__isnull=False)),
            models.Index(fields=["key", "created_at"], name="saga_intent_key"),
            models.Index(fields=["correlation_id", "created_at"], name="saga_intent_correlation"),
            models.Index(fields=["created_at"], name="saga_intent_open", condition=models.Q(closed_at__isnull=True)),
            models.Index(fields=["closed_at"], name="saga_intent_closed", condition=models.Q(closed_at__isnull=False)),
        )

    def __str__(self) -> str:
        return show_invisible(f"{self.definition} {self.key}")


class IntentAttempt(models.Model):
    """One execution of an intent."""

    intent = models.ForeignKey(Intent, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    lease_token = models.UUIDField(unique=True)
    worker = models.CharField(max_length=120, blank=True)
    started_at = MomentField()
    deadline_at = MomentField()
    is_assumed = models.BooleanField(default=False, help_text="Whether an operator stated it.")
    ended_at = MomentField(null=True, blank=True)
    outcome = models.CharField(max_length=20, null=True, blank=True, choices=choices_of(Outcome))  # noqa: DJ001 - NULL: live
    effect = models.CharField(max_length=10)
    settles = models.BooleanField(default=False)
    error_class = models.CharField(max_length=200, blank=True)
    message = models.TextField(blank=True)
    traceback = models.TextField(blank=True)
    error_group = models.CharField(max_length=16, blank=True, default="")

    class Meta:
        default_permissions = ()
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(fields=["intent", "number"], name="saga_intent_attempt_number_once"),
            one_of("outcome", Outcome, "saga_intent_attempt_outcome_known"),
            one_of("effect", ATTEMPT_EFFECTS, "saga_intent_attempt_effect_known"),
        )

    def __str__(self) -> str:
        return f"attempt {self.number}"


class IntentHistory(models.Model):
    """Append-only history of an intent, written in the transaction of the change that it tells."""

    intent = models.ForeignKey(Intent, on_delete=models.CASCADE, related_name="history")
    number = models.PositiveIntegerField()
    at = MomentField()
    what = models.CharField(max_length=40)
    from_state = models.CharField(max_length=30, blank=True, default="")
    to_state = models.CharField(max_length=30, blank=True, default="")
    actor = models.CharField(max_length=200, null=True, blank=True, help_text="NULL: the engine.")  # noqa: DJ001
    reason = models.TextField(blank=True, default="")
    data = models.JSONField(default=dict, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ("id",)
        constraints = (models.UniqueConstraint(fields=["intent", "number"], name="saga_intent_history_number_once"),)

    def __str__(self) -> str:
        return f"{self.number} {self.what}"
