"""Troubles of a job. Usable without installed apps."""

from django.db import models


class Trouble(models.TextChoices):
    """Trouble of a job until it is fixed."""

    NONE = "", "Nothing"
    CLOSED = "closed", "The workshop is closed"
    BUSY = "busy", "The workshop is still looking for a bench"
    SILENT = "silent", "The stencil cutter does not answer"
    SLOW = "slow", "The workshop answers after the lease is lost"
    NO_ACCOUNT = "no_account", "The shop has no account at the workshop"
    SPOILT = "spoilt", "The mug breaks, and the workshop demands payment"
    NO_COURIER = "no_courier", "No courier is available"
    COURIER_TOMORROW = "courier_tomorrow", "The courier comes tomorrow"
    SENT_BACK = "sent_back", "The courier returns the mug"
