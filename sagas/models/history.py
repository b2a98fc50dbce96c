"""History of sagas, append-only."""

from django.db import models
from django.db.models import F, Func, Value

from ..core.history_events import HistoryEvent
from .base import EngineModel
from .fields import MomentField
from .saga import Saga

OPERATOR_ACTED = HistoryEvent.OPERATOR_ACTED.value
NOTE_ADDED = HistoryEvent.NOTE_ADDED.value
BY_OPERATORS = (OPERATOR_ACTED, NOTE_ADDED)
SHELL_MARK = " ("  # between the account and the machine's account, for operations in a shell: ada (root@host)


def person_of(field: str) -> Func:
    """Return an actor's name without the machine's account after it, as an expression that is indexed."""
    return Func(F(field), Value(SHELL_MARK), Value(1), function="split_part", output_field=models.CharField())


class SagaHistory(EngineModel):
    """One entry: what changed, when, by whom and why, written in the transaction of the change.

    A trigger refuses UPDATE and DELETE except under the setting ``sagas.retention``, which only retention sets,
    for its own transaction.
    """

    saga = models.ForeignKey(Saga, on_delete=models.CASCADE, related_name="history")
    number = models.PositiveIntegerField(help_text="From 1, without gaps, per saga.")
    at = MomentField()
    what = models.CharField(max_length=40, help_text="Code of the event; see sagas.core.history_events.HistoryEvent.")
    step = models.CharField(max_length=60, blank=True, default="")
    from_state = models.CharField(max_length=30, blank=True, default="")
    to_state = models.CharField(max_length=30, blank=True, default="")
    actor = models.CharField(max_length=200, null=True, blank=True, help_text="NULL: the engine.")  # noqa: DJ001
    reason = models.TextField(blank=True, default="")
    data = models.JSONField(default=dict, blank=True)
    signature = models.CharField(
        max_length=60,
        blank=True,
        default="",
        db_default="",
        help_text="Keyed digest of the first and of operators' entries.",
    )

    class Meta:
        ordering = ("saga", "number")
        verbose_name_plural = "saga history"
        constraints = (models.UniqueConstraint(fields=["saga", "number"], name="saga_history_number_once"),)
        indexes = (
            models.Index(fields=["-at"], name="saga_history_by_person", condition=models.Q(actor__isnull=False)),
            models.Index(
                fields=["-at", "-id"], name="saga_history_operations", condition=models.Q(what__in=BY_OPERATORS)
            ),
            models.Index(
                person_of("actor"),
                F("at").desc(),
                F("id").desc(),
                name="saga_history_operations_by",
                condition=models.Q(what__in=BY_OPERATORS),
            ),
            models.Index(
                fields=["to_state", "-at", "-id"],
                name="saga_history_operation",
                condition=models.Q(what__in=BY_OPERATORS),
            ),
            models.Index(fields=["saga", "-number"], name="saga_history_notes", condition=models.Q(what=NOTE_ADDED)),
        )

    def __str__(self) -> str:
        return f"{self.number} {self.what}"
