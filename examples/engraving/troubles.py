"""Troubles of a job. Usable without installed apps."""

from django.db import models


class Trouble(models.TextChoices):
    """Trouble of a job until it is mended."""

    NONE = "", "Nothing"
    CLOSED = "closed", "The workshop is closed"
    BUSY = "busy", "The workshop is still looking for a bench"
    SILENT = "silent", "The stencil cutter does not answer"
    SLOW = "slow", "The workshop answers when nobody listens any more"
    NO_ACCOUNT = "no_account", "The workshop knows no account of the shop"
    SPOILT = "spoilt", "The mug breaks, and the workshop wants its bench paid"
    NO_COURIER = "no_courier", "There is no courier"
    COURIER_TOMORROW = "courier_tomorrow", "The courier comes tomorrow"
    SENT_BACK = "sent_back", "The courier brings the mug back"
