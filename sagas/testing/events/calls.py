"""Performing the external calls that handlers decided on, without a worker."""

from datetime import datetime, timedelta

from ... import clock
from ...conf import get_settings
from ...intents import declaration, performing
from ...models import Intent
from .outboxes import require_events

SHORTEST = timedelta(milliseconds=1)


def perform_intents(patience: timedelta = timedelta(hours=2)) -> int:
    """Perform the intents of all participants as workers do, until all are over, held, or due only after ``patience``.

    What follows the calls is published in the transaction that records each. The engine's clock is moved to the times
    at which calls are repeated, and restored at the end.
    Returns: how many calls were made.
    Raises: ImproperlyConfigured when events are off.
    """
    require_events()
    calls = 0
    with clock.restored():
        now = clock.read_now(get_settings().database)
        ends_at = now + patience
        while True:
            calls += performing.perform_due()
            due_at = _find_due()
            if due_at is None or due_at > ends_at:
                return calls
            clock.move(max(due_at - clock.read_now(get_settings().database), SHORTEST))


def _find_due() -> datetime | None:
    """Return when the next intent is due."""
    found: list[datetime | None] = []
    for alias in declaration.intent_databases():
        rows = Intent.objects.using(alias).exclude(due_at=None).order_by("due_at")
        found += rows.values_list("due_at", flat=True)[:1]
    return min((moment for moment in found if moment is not None), default=None)
