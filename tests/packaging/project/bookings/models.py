"""Store bookings."""

from django.db import models


class Booking(models.Model):
    """One booking and what became of it."""

    seats = models.PositiveSmallIntegerField()
    held = models.PositiveSmallIntegerField(default=0)
    is_paid = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"Booking {self.pk}"
