"""Ferries, crossings, and what other companies were asked for."""

from django.db import models


class Ferry(models.Model):
    """A ferry with so many free places."""

    free_places = models.PositiveIntegerField()
    is_clean = models.BooleanField(default=False)


class Crossing(models.Model):
    """A crossing that somebody wants.

    trouble: what goes wrong with it: "", "declined", "port" (it has not decided yet) or "bank" (it is closed).
    """

    ferry = models.ForeignKey(Ferry, on_delete=models.PROTECT)
    places = models.PositiveIntegerField()
    trouble = models.CharField(max_length=10, blank=True)
    status = models.CharField(max_length=10, default="pending")
    cars_on_board = models.PositiveIntegerField(default=0)
    meals = models.PositiveIntegerField(default=0)


class Deal(models.Model):
    """A row in the books of the port or of the bank; one key makes one deal."""

    key = models.CharField(max_length=200, primary_key=True)
    what = models.CharField(max_length=20)
    is_open = models.BooleanField(default=True)
