"""What the workshop has been asked to engrave, and what goes wrong with it."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from .troubles import Trouble


class JobStatus(models.TextChoices):
    """How a job stands with the shop."""

    PENDING = "pending", "Pending"
    SENT = "sent", "Sent"
    STRUCK = "struck", "Struck off"


class Job(models.Model):
    """Hold one mug to engrave."""

    number = models.CharField(max_length=40, unique=True)
    text = models.CharField(max_length=40)
    trouble = models.CharField(max_length=20, choices=Trouble, blank=True, default=Trouble.NONE)
    status = models.CharField(max_length=10, choices=JobStatus, default=JobStatus.PENDING)
    saga_id = models.UUIDField(unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.number
