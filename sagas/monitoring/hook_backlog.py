"""Number of ``on_closed`` hooks that are owed, for the doctor and the metrics."""

from dataclasses import dataclass
from datetime import datetime

from ..conf import get_settings
from ..models import Saga

MAX_COUNTED = 10_000  # an exact larger number is not needed, and a page must not wait for it


@dataclass(frozen=True, kw_only=True)
class OwedHooks:
    """Backlog of owed hook calls."""

    count: int
    """Number of calls not made, or failed; at most MAX_COUNTED are counted."""
    failing: int
    """Number of these calls that were tried before, and failed or did not return in time."""
    oldest_closed_at: datetime | None
    """When the first of their sagas was closed; None: no call is owed."""
    most_tries: int
    """Highest number of tries of one call."""


def count_owed() -> OwedHooks:
    """Count the calls that are owed."""
    using = get_settings().database
    rows = Saga.objects.using(using).filter(hook_due_at__isnull=False).order_by("hook_due_at")
    found = list(rows.values_list("hook_tries", "closed_at")[:MAX_COUNTED])
    return OwedHooks(
        count=len(found),
        failing=sum(tries > 1 for tries, _ in found),
        oldest_closed_at=min((closed_at for _, closed_at in found if closed_at is not None), default=None),
        most_tries=max((tries for tries, _ in found), default=0),
    )
