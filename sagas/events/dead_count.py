"""Number of events that wait for an operator, for every page: counted again after some seconds, and bounded."""

import time

from ..models import InboxEvent
from . import catalogue
from .asking import ask_each
from .dead_letters import STATES

MOST = 1_000  # of each database; more are not counted
KEEP_SECONDS = 10.0

_counted: tuple[float, int] | None = None
"""When this process counted, by the monotonic clock, and how many."""


def count_dead() -> int:
    """Return how many events are dead or parked in inboxes, as of some seconds ago; 0 where no database answers."""
    global _counted  # noqa: PLW0603 - one count per process
    now = time.monotonic()
    if _counted is None or now - _counted[0] > KEEP_SECONDS:
        answers = ask_each(catalogue.event_databases(), _count)
        _counted = now, sum(answers.found.values())
    return _counted[1]


def forget() -> None:
    """Count anew at the next call; for tests, and after an operation."""
    global _counted  # noqa: PLW0603 - one count per process
    _counted = None


def _count(alias: str) -> int:
    rows = InboxEvent.objects.using(alias).filter(state__in=[state.value for state in STATES])
    return rows.order_by()[: MOST + 1].count()
