"""Sweepers and when each was last seen."""

from django.db import models

from ..core.visible import show_invisible
from .base import EngineModel
from .fields import MomentField


class SagaWorker(EngineModel):
    """Heartbeat of one worker process or sweep command."""

    name = models.CharField(max_length=200, unique=True, help_text="host:pid")
    host = models.CharField(max_length=150)
    pid = models.PositiveIntegerField()
    queues = models.JSONField(default=list, blank=True)
    version = models.CharField(max_length=40, blank=True, default="")
    started_at = MomentField()
    last_sweep_at = MomentField()
    last_found = models.PositiveIntegerField(default=0, help_text="Due sagas found by the last sweep.")

    class Meta:
        indexes = (models.Index(fields=["last_sweep_at"], name="saga_worker_seen"),)

    def __str__(self) -> str:
        return show_invisible(self.name)
