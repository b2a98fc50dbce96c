"""Runs of saga definitions, and the business keys that find them."""

import secrets
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import models
from django.db.models import F, Q
from django_fsm import FSMField, FSMModelMixin, transition

from ..core.severity import Severity
from ..core.states import CLOSED_STATES, OPEN_STATES, AbortRequest, Coordination, Hold, SagaState
from .base import EngineModel
from .choices import choices_of, one_of
from .fields import MomentField

OPEN_VALUES = sorted(state.value for state in OPEN_STATES)
MANY_ATTEMPTS = 2  # most sagas need one attempt a step, so an index of the others stays small
ID_VERSION = 7
CLOSED_VALUES = sorted(state.value for state in CLOSED_STATES)


def new_saga_id() -> UUID:
    """Return a time-ordered UUID (version 7), so that new sagas are adjacent in every index.

    Source: RFC 9562, section 5.7.
    """
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | secrets.randbits(80)
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return UUID(int=value)


def read_started_at(saga_id: UUID) -> datetime:
    """Return when a process made this id, by its own clock.

    Returns: the year 1970 for an id that is not a UUID of version 7 or whose time is out of range.
    """
    began = datetime(1970, 1, 1, tzinfo=UTC)
    try:
        return began + timedelta(milliseconds=saga_id.int >> 80) if saga_id.version == ID_VERSION else began
    except OverflowError:
        return began


class Saga(FSMModelMixin, EngineModel):
    """One run of a saga definition.

    ``state``, ``hold`` and ``attention`` are separate: where it stands, what blocks it, why an operator should look.
    The transition methods below declare the legal transitions; the engine makes each as one guarded write with its
    history row.
    """

    id = models.UUIDField(primary_key=True, default=new_saga_id, editable=False)
    definition = models.CharField(max_length=60, help_text="Stored name of the definition.")
    version = models.PositiveIntegerField(help_text="Version of the definition that it keeps.")
    digest = models.CharField(max_length=64, help_text="Digest of the definition when it started.")
    coordination = models.CharField(
        max_length=13,
        choices=choices_of(Coordination),
        default=Coordination.ORCHESTRATION.value,
        db_default=Coordination.ORCHESTRATION.value,
        help_text="Whether the engine runs its steps, or participants react to events.",
    )
    state = FSMField(default=SagaState.PENDING.value, protected=True, choices=choices_of(SagaState), max_length=20)
    hold = models.CharField(max_length=30, null=True, blank=True, choices=choices_of(Hold))  # noqa: DJ001 - NULL: not held
    attention = models.JSONField(default=list, blank=True, help_text="Why it needs an operator; blocks nothing.")
    input = models.JSONField(default=dict, blank=True, help_text="References, as the definition's input dataclass.")
    revision = models.PositiveIntegerField(default=1, help_text="Grows with every decision; operators act on one.")
    history_count = models.PositiveIntegerField(default=0, help_text="Number of the last history row.")
    cause = models.JSONField(null=True, blank=True, help_text="The first failure; never overwritten.")
    abort_request = models.CharField(max_length=20, null=True, blank=True, choices=choices_of(AbortRequest))  # noqa: DJ001 - NULL: none
    abort_actor = models.CharField(max_length=200, blank=True, default="")
    abort_reason = models.CharField(max_length=500, blank=True, default="")
    effects_left = models.JSONField(null=True, blank=True, help_text="What an abandoned saga left behind.")
    started_by = models.CharField(max_length=200, blank=True, default="", help_text="Who started it, by value.")
    traceparent = models.CharField(max_length=55, blank=True, default="", help_text="W3C trace context.")
    queue = models.CharField(max_length=60, blank=True, default="", help_text="Queue of what is due next.")
    other_queues = models.JSONField(
        default=list, db_default=[], blank=True, help_text="Queues of what else is due or waits, in a group."
    )
    pivot_passed_at = MomentField(null=True, blank=True)
    deadline_at = MomentField(null=True, blank=True, help_text="When it should be over.")
    due_at = MomentField(null=True, blank=True, help_text="When a worker must look at it again.")
    woken_at = MomentField(null=True, blank=True, help_text="When a sweep last woke it.")
    owed = models.JSONField(
        default=list, db_default=[], blank=True, help_text="Events that participants owe, for a choreography."
    )
    owed_due_at = MomentField(
        null=True, blank=True, help_text="When the sweep of choreographies must look at it; such a saga has no due_at."
    )
    most_attempts = models.PositiveIntegerField(
        default=0, db_default=0, help_text="The most attempts that a step has had in one direction."
    )
    severity = models.PositiveSmallIntegerField(
        default=Severity.OPEN.value, db_default=Severity.OPEN.value, help_text="Which one to see first; lower is worse."
    )
    failing_group = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="Failure group that it fails with now."
    )
    operated_at = MomentField(null=True, blank=True, help_text="When an operator last acted on it or wrote a note.")
    hook_due_at = MomentField(
        null=True, blank=True, help_text="When on_closed is to be called; empty: nothing is owed."
    )
    hook_tries = models.PositiveIntegerField(
        default=0, db_default=0, help_text="How often on_closed was called for this end without success."
    )
    signature = models.CharField(
        max_length=60, blank=True, default="", db_default="", help_text="Keyed digest of what operators did to it."
    )
    signature_count = models.PositiveIntegerField(
        default=0, db_default=0, help_text="How many of its entries are signed."
    )
    created_at = MomentField()
    updated_at = MomentField()
    closed_at = MomentField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            one_of("state", SagaState, "saga_state_known"),
            one_of("hold", Hold, "saga_hold_known"),
            one_of("coordination", Coordination, "saga_coordination_known"),
            one_of("abort_request", AbortRequest, "saga_abort_known"),
            models.CheckConstraint(
                condition=Q(state__in=OPEN_VALUES, closed_at__isnull=True)
                | Q(state__in=CLOSED_VALUES, closed_at__isnull=False),
                name="saga_closed_at_tells_closed",
            ),
            models.CheckConstraint(
                condition=Q(state__in=OPEN_VALUES)
                | Q(due_at__isnull=True, owed_due_at__isnull=True, hold__isnull=True),
                name="saga_closed_is_never_due",
            ),
            models.CheckConstraint(
                condition=Q(coordination="orchestration", owed=[], owed_due_at__isnull=True)
                | Q(coordination="choreography", due_at__isnull=True),
                name="saga_is_due_in_one_way",
            ),
            models.CheckConstraint(
                condition=Q(hook_due_at__isnull=True) | Q(closed_at__isnull=False),
                name="saga_hook_is_owed_after_the_end",
            ),
            models.CheckConstraint(
                condition=Q(pivot_passed_at__isnull=True) | ~Q(state__in=["compensating", "compensated"]),
                name="saga_never_compensated_after_pivot",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["compensating", "compensated"]) | Q(cause__isnull=False),
                name="saga_compensates_for_a_cause",
            ),
        )
        indexes = (
            models.Index(fields=["due_at"], name="saga_due", condition=Q(due_at__isnull=False)),
            models.Index(fields=["owed_due_at"], name="saga_owed_due", condition=Q(owed_due_at__isnull=False)),
            models.Index(fields=["hook_due_at"], name="saga_hook_due", condition=Q(hook_due_at__isnull=False)),
            models.Index(fields=["-created_at", "-id"], name="saga_newest"),
            models.Index(
                fields=["severity", "-created_at", "-id"], name="saga_severest", condition=Q(closed_at__isnull=True)
            ),
            models.Index(
                fields=["failing_group"],
                name="saga_failing",
                condition=Q(closed_at__isnull=True) & ~Q(failing_group=""),
            ),
            models.Index(fields=["state", "-created_at"], name="saga_state_newest"),
            models.Index(fields=["definition", "version", "-created_at"], name="saga_definition_newest"),
            models.Index(fields=["closed_at", "id"], name="saga_closed", condition=Q(closed_at__isnull=False)),
            models.Index(fields=["created_at"], name="saga_open", condition=Q(closed_at__isnull=True)),
            models.Index(fields=["hold"], name="saga_held", condition=Q(hold__isnull=False)),
            models.Index(fields=["created_at"], name="saga_attention", condition=~Q(attention=[])),
            models.Index(fields=["state", "-closed_at"], name="saga_ended", condition=Q(closed_at__isnull=False)),
            models.Index(
                fields=["most_attempts", "-created_at"],
                name="saga_many_attempts",
                condition=Q(most_attempts__gte=MANY_ATTEMPTS),
            ),
            models.Index(fields=["-created_at", "-id"], name="saga_operated", condition=Q(operated_at__isnull=False)),
            models.Index(fields=["-operated_at"], name="saga_operated_when", condition=Q(operated_at__isnull=False)),
            models.Index(
                (F("closed_at") - F("created_at")).desc(),
                F("id").desc(),
                name="saga_slowest",
                condition=Q(closed_at__isnull=False),
            ),
        )
        permissions = (
            ("view_error", "Can see error texts of sagas"),
            ("view_payload", "Can see inputs, results and error texts of sagas"),
            ("retry_saga", "Can retry a saga now"),
            ("remedy_saga", "Can run remedies of a saga"),
            ("compensate_saga", "Can force a saga to compensate"),
            ("override_saga", "Can skip and mark steps of a saga"),
            ("pause_saga", "Can pause and resume a saga"),
            ("cancel_saga", "Can cancel a saga"),
            ("abandon_saga", "Can abandon a saga"),
            ("bulk_saga", "Can act on many sagas at once"),
            ("note_saga", "Can write notes on sagas"),
            ("share_view", "Can share saved views of the list of sagas"),
        )

    def __str__(self) -> str:
        return f"{self.definition} {self.id}"

    @transition(field=state, source=SagaState.PENDING.value, target=SagaState.RUNNING.value)
    def begin(self) -> None:
        """Move to *running* when the first step is claimed."""

    @transition(
        field=state, source=[SagaState.PENDING.value, SagaState.RUNNING.value], target=SagaState.COMPLETED.value
    )
    def complete(self) -> None:
        """Move to *completed* when every step is passed."""

    @transition(
        field=state, source=[SagaState.PENDING.value, SagaState.RUNNING.value], target=SagaState.COMPENSATING.value
    )
    def turn_back(self) -> None:
        """Move to *compensating* at the first definite failure, a granted abort request or an operation."""

    @transition(field=state, source=SagaState.COMPENSATING.value, target=SagaState.COMPENSATED.value)
    def finish_compensating(self) -> None:
        """Move to *compensated* when every effect is none or removed."""

    @transition(field=state, source=SagaState.COMPENSATED.value, target=SagaState.COMPENSATING.value)
    def reopen(self) -> None:
        """Move back to *compensating* when a late effect shows after everything was compensated."""

    @property
    def is_choreographed(self) -> bool:
        """Whether participants react to events, so that the engine runs no step of it."""
        return self.coordination == Coordination.CHOREOGRAPHY

    @transition(field=state, source=OPEN_VALUES, target=SagaState.ABANDONED.value)
    def abandon(self) -> None:
        """Move to *abandoned* when an operator gives the saga up, with the list of effects left behind."""


class SagaKey(EngineModel):
    """Business key that finds a saga, such as an order number."""

    saga = models.ForeignKey(Saga, on_delete=models.CASCADE, related_name="keys")
    name = models.CharField(max_length=40)
    value = models.CharField(max_length=120)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["saga", "name"], name="saga_key_once"),)
        indexes = (
            models.Index(fields=["name", "value"], name="saga_key_exact"),
            models.Index(fields=["value"], name="saga_key_prefix", opclasses=["varchar_pattern_ops"]),
        )

    def __str__(self) -> str:
        return f"{self.name}={self.value}"
