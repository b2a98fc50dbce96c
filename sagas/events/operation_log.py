"""What operators did to events lately, in all databases."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from ..models import EventOperation
from ..models.history import SHELL_MARK
from . import catalogue
from .asking import ask_each

MAX_LOGGED = 50


@dataclass(frozen=True, kw_only=True)
class LoggedEventOperations:
    """Operations on events."""

    rows: list[EventOperation]
    """Newest first, at most MAX_LOGGED."""
    unreachable: dict[str, str]
    """Reason by the alias of a database that did not answer."""


def read_event_operations(*, actor: str = "", since: datetime | None = None) -> LoggedEventOperations:
    """Return the newest operations. ``actor``: exact name, also with a machine's account behind it."""
    wanted = Q(actor=actor) | Q(actor__startswith=f"{actor}{SHELL_MARK}") if actor else Q()
    if since is not None:
        wanted &= Q(at__gte=since)
    answers = ask_each(
        catalogue.event_databases(),
        lambda alias: list(EventOperation.objects.using(alias).filter(wanted).order_by("-id")[:MAX_LOGGED]),
    )
    rows = sorted((row for found in answers.found.values() for row in found), key=lambda row: row.at, reverse=True)
    return LoggedEventOperations(rows=rows[:MAX_LOGGED], unreachable=answers.unreachable)
