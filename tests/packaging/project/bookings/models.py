"""Bookings."""

from django.db import models


class Booking(models.Model):
    """Booking and its status."""

    seats = models.PositiveSmallIntegerField()
    held = models.PositiveSmallIntegerField(default=0)
    is_paid = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"Booking {self.pk}"
