"""Ferries, crossings, and deals with other companies."""

from django.db import models


class Ferry(models.Model):
    """Ferry with a number of free places."""

    free_places = models.PositiveIntegerField()
    is_clean = models.BooleanField(default=False)


class Crossing(models.Model):
    """Crossing a customer wants.

    trouble: its fault: "", "declined", "port" (undecided) or "bank" (closed).
    """

    ferry = models.ForeignKey(Ferry, on_delete=models.PROTECT)
    places = models.PositiveIntegerField()
    trouble = models.CharField(max_length=10, blank=True)
    status = models.CharField(max_length=10, default="pending")
    cars_on_board = models.PositiveIntegerField(default=0)
    meals = models.PositiveIntegerField(default=0)


class Deal(models.Model):
    """Row in the ledger of the port or of the bank; one key makes one deal."""

    key = models.CharField(max_length=200, primary_key=True)
    what = models.CharField(max_length=20)
    is_open = models.BooleanField(default=True)
