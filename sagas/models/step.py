"""Steps of sagas."""

from django.db import models
from django.db.models import Q
from django_fsm import FSMField, FSMModelMixin, transition

from ..core.states import Attention, Hold, Kind, StepState, WaitingFor
from .base import EngineModel
from .choices import choices_of, one_of
from .fields import MomentField
from .saga import Saga

UNFINISHED = [StepState.WAITING.value, StepState.UNKNOWN.value]


class SagaStep(FSMModelMixin, EngineModel):
    """One named position of a definition in one saga.

    A step is *live* while it has a lease token: a worker may be executing it until ``lease_until``. Its effect is
    computed from its attempts and never stored here.
    """

    saga = models.ForeignKey(Saga, on_delete=models.CASCADE, related_name="steps")
    name = models.CharField(max_length=60)
    position = models.PositiveSmallIntegerField(help_text="Place among all steps.")
    rank = models.PositiveSmallIntegerField(help_text="Steps of one rank may run at the same time.")
    kind = models.CharField(max_length=20, choices=choices_of(Kind))
    state = FSMField(default=StepState.PENDING.value, protected=True, choices=choices_of(StepState), max_length=20)
    hold = models.CharField(max_length=30, null=True, blank=True, choices=choices_of(Hold))  # noqa: DJ001 - NULL: not held
    attention = models.CharField(max_length=30, null=True, blank=True, choices=choices_of(Attention))  # noqa: DJ001 - NULL: none
    waiting_for = models.CharField(max_length=10, null=True, blank=True, choices=choices_of(WaitingFor))  # noqa: DJ001 - NULL: not waiting
    due_at = MomentField(null=True, blank=True, help_text="When it may be claimed again.")
    lease_token = models.UUIDField(null=True, blank=True, help_text="Token of the live attempt.")
    lease_until = MomentField(null=True, blank=True, help_text="When the live attempt is given up.")
    action_attempts = models.PositiveIntegerField(default=0)
    compensation_attempts = models.PositiveIntegerField(default=0)
    budget_used = models.PositiveIntegerField(default=0, help_text="Attempts counted against the present budget.")
    budget_started_at = MomentField(null=True, blank=True)
    epoch = models.PositiveSmallIntegerField(default=0, help_text="How often its compensation was reopened.")
    result = models.JSONField(null=True, blank=True)
    is_assumed = models.BooleanField(default=False, help_text="Whether an operator stated its present state.")
    is_woken = models.BooleanField(
        default=False, db_default=False, help_text="Whether it is asked again as soon as its live attempt ends."
    )
    last_error = models.CharField(max_length=300, blank=True, default="")
    started_at = MomentField(null=True, blank=True)
    finished_at = MomentField(null=True, blank=True)

    class Meta:
        ordering = ("saga", "position")
        constraints = (
            models.UniqueConstraint(fields=["saga", "position"], name="saga_step_position_once"),
            models.UniqueConstraint(fields=["saga", "name"], name="saga_step_name_once"),
            models.UniqueConstraint(fields=["saga"], name="saga_step_one_pivot", condition=Q(kind=Kind.PIVOT.value)),
            one_of("kind", Kind, "saga_step_kind_known"),
            one_of("state", StepState, "saga_step_state_known"),
            one_of("hold", Hold, "saga_step_hold_known"),
            one_of("attention", Attention, "saga_step_attention_known"),
            one_of("waiting_for", WaitingFor, "saga_step_waiting_for_known"),
            models.CheckConstraint(
                condition=Q(lease_token__isnull=True, lease_until__isnull=True)
                | Q(lease_token__isnull=False, lease_until__isnull=False, state__in=["running", "compensating"]),
                name="saga_step_lease_is_whole",
            ),
            models.CheckConstraint(
                condition=~Q(state="running") | Q(lease_token__isnull=False), name="saga_step_running_is_leased"
            ),
            models.CheckConstraint(
                condition=Q(is_woken=False) | Q(lease_token__isnull=False), name="saga_step_woken_only_while_live"
            ),
            models.CheckConstraint(
                condition=Q(due_at__isnull=True)
                | Q(lease_token__isnull=True, hold__isnull=True, state__in=["waiting", "unknown", "compensating"]),
                name="saga_step_due_only_when_asked_again",
            ),
            models.CheckConstraint(
                condition=~Q(kind="pivot") | ~Q(state__in=["skipped", "compensating", "compensated"]),
                name="saga_step_pivot_never_undone",
            ),
            models.CheckConstraint(
                condition=~Q(kind="retriable") | ~Q(state__in=["compensating", "compensated"]),
                name="saga_step_retriable_never_undone",
            ),
        )
        indexes = (
            models.Index(fields=["hold"], name="saga_step_held", condition=Q(hold__isnull=False)),
            models.Index(fields=["name", "state"], name="saga_step_name_state"),
        )

    def __str__(self) -> str:
        return self.name

    @transition(field=state, source=[StepState.PENDING.value, *UNFINISHED], target=StepState.RUNNING.value)
    def run(self) -> None:
        """Move to *running* when an attempt of the action is claimed."""

    @transition(field=state, source=StepState.PENDING.value, target=StepState.WAITING.value)
    def await_event(self) -> None:
        """Move to *waiting* when a participant owes the event that answers it."""

    @transition(field=state, source=[StepState.RUNNING.value, *UNFINISHED], target=StepState.SUCCEEDED.value)
    def succeed(self) -> None:
        """Move to *succeeded* when the action succeeded, now or late, or an operator marks it so."""

    @transition(field=state, source=[StepState.RUNNING.value, *UNFINISHED], target=StepState.REFUSED.value)
    def refuse(self) -> None:
        """Move to *refused* when the participant refused, now or late, or an operator marks it so."""

    @transition(field=state, source=StepState.RUNNING.value, target=StepState.WAITING.value)
    def wait(self) -> None:
        """Move to *waiting* when it is tried again, or its attempt ended without effect after the saga turned back."""

    @transition(field=state, source=[StepState.RUNNING.value, StepState.WAITING.value], target=StepState.UNKNOWN.value)
    def lose_sight(self) -> None:
        """Move to *unknown* when the action may have happened."""

    @transition(
        field=state,
        source=[StepState.PENDING.value, StepState.WAITING.value, StepState.REFUSED.value],
        target=StepState.SKIPPED.value,
    )
    def skip(self) -> None:
        """Move to *skipped* when an operator lets the saga continue without it; its effect is none."""

    @transition(
        field=state,
        source=[StepState.SUCCEEDED.value, StepState.REFUSED.value, *UNFINISHED],
        target=StepState.COMPENSATING.value,
    )
    def compensate(self) -> None:
        """Move to *compensating* when its compensation is claimed; also after a refusal with an unsettled attempt."""

    @transition(field=state, source=StepState.REFUSED.value, target=StepState.WAITING.value)
    def reconsider(self) -> None:
        """Move to *waiting* when an operator retries or marks a refused retriable step (a contract violation)."""

    @transition(field=state, source=StepState.COMPENSATING.value, target=StepState.COMPENSATED.value)
    def finish_compensating(self) -> None:
        """Move to *compensated* when its effect is removed."""

    @transition(field=state, source=StepState.COMPENSATED.value, target=StepState.COMPENSATING.value)
    def reopen(self) -> None:
        """Move back to *compensating* when a late effect shows after it was compensated."""

    @property
    def is_live(self) -> bool:
        """Whether a worker holds its lease."""
        return self.lease_token is not None
