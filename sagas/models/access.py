"""Access log: who saw which payloads."""

from django.db import models

from ..core.visible import show_invisible
from .base import EngineModel
from .fields import MomentField


class SagaAccess(EngineModel):
    """One access to inputs, results or error texts. Stored by value, so it outlives the saga and the account.

    A trigger refuses UPDATE and DELETE as for history.
    """

    at = MomentField()
    actor = models.CharField(max_length=200, help_text="Who saw it.")
    what = models.CharField(max_length=20, help_text="Kind; see sagas.operators.audit.access_log.What.")
    saga_id = models.UUIDField(null=True, blank=True, help_text="NULL: at many, see the detail.")
    detail = models.CharField(max_length=300, blank=True, default="", help_text="Which part of it, or which sagas.")

    class Meta:
        ordering = ("-at", "-id")
        verbose_name = "access to payloads"
        verbose_name_plural = "accesses to payloads"
        indexes = (
            models.Index(fields=["-at", "-id"], name="saga_access_newest"),
            models.Index(fields=["saga_id", "-at"], name="saga_access_saga"),
            models.Index(fields=["actor", "-at"], name="saga_access_actor"),
        )

    def __str__(self) -> str:
        return show_invisible(f"{self.actor} {self.what}")
