"""Jobs of the workshop, and their troubles."""

from django.db import models
from django.utils import timezone

from .troubles import Trouble


class JobStatus(models.TextChoices):
    """Status of a job."""

    PENDING = "pending", "Pending"
    SENT = "sent", "Sent"
    STRUCK = "struck", "Struck off"


class Job(models.Model):
    """Mug to engrave."""

    number = models.CharField(max_length=40, unique=True)
    text = models.CharField(max_length=40)
    trouble = models.CharField(max_length=20, choices=Trouble, blank=True, default=Trouble.NONE)
    status = models.CharField(max_length=10, choices=JobStatus, default=JobStatus.PENDING)
    saga_id = models.UUIDField(unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.number
