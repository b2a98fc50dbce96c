"""Events that the tracker recorded for choreographed sagas."""

from django.db import models

from ..core.visible import show_invisible
from .base import EngineModel
from .events import MAX_ID_CHARS, MAX_SOURCE_CHARS, MAX_TYPE_CHARS
from .fields import MomentField
from .saga import Saga


class TrackedEvent(EngineModel):
    """Fact about one choreographed saga: an event that the tracker received, or what an operator stated instead."""

    saga = models.ForeignKey(Saga, on_delete=models.CASCADE, related_name="tracked")
    type = models.CharField(max_length=MAX_TYPE_CHARS)
    event_id = models.CharField(max_length=MAX_ID_CHARS)
    source = models.CharField(max_length=MAX_SOURCE_CHARS, help_text="Participant and key of the sender.")
    causation_id = models.CharField(max_length=MAX_ID_CHARS, blank=True)
    recorded_at = MomentField(null=True, blank=True, help_text="By the sender's clock.")
    tracked_at = MomentField(help_text="By the engine's clock.")
    is_assumed = models.BooleanField(default=False, help_text="Whether an operator stated it, so that none was sent.")

    class Meta:
        default_permissions = ()
        constraints = (models.UniqueConstraint(fields=["saga", "source", "event_id"], name="saga_tracked_event_once"),)

    def __str__(self) -> str:
        return show_invisible(self.type)
