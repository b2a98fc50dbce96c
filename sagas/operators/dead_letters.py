"""Retry of a whole group of dead letters: the same operation as on one event, once for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import Error

from ..events.dead_letters import DeadEvent, read_dead_letters
from ..events.errors import EventError
from ..exceptions import BadRequest, OperationRefused
from ..models import InboxState
from .actor import Actor
from .event_operations import PERMISSIONS, EventOperation, operate
from .operations import check_text

CONFIRM_COUNT_ABOVE = 100
MAX_RETRIED = 500  # at once, while the operator waits; a retry takes some milliseconds


@dataclass(frozen=True, kw_only=True)
class RetryResult:
    """What became of one event of a group."""

    event: DeadEvent
    is_done: bool
    message: str


def find_group(key: str, until: datetime | None = None) -> list[DeadEvent]:
    """Return the dead events of a group, oldest first, at most MAX_RETRIED. ``until``: only those that came before."""
    group = read_dead_letters().find(key)
    events = [] if group is None else [one for one in group.events if one.state is InboxState.DEAD]
    return sorted(
        (one for one in events if until is None or one.received_at <= until), key=lambda one: one.received_at
    )[:MAX_RETRIED]


def retry_group(
    key: str, *, actor: Actor, reason: str, until: datetime, confirmed: int | None = None
) -> list[RetryResult]:
    """Retry the events of a group that are still dead.

    ``until``: when the newest event of the plan came; later ones are left alone. ``confirmed``: how many events the
    operator typed in; needed above CONFIRM_COUNT_ABOVE.
    Raises: PermissionRefused, BadRequest; OperationRefused if none is left.
    Tx: must not be inside one; opens one for each event.
    """
    actor.require(PERMISSIONS[EventOperation.RETRY])
    check_text(reason, "The reason")
    events = find_group(key, until)
    if not events:
        raise OperationRefused("No event of this group is dead any more. Dead letters lists what is.")
    require_count(events, confirmed)
    return [_retry(event, actor, reason) for event in events]


def require_count(events: Sequence[DeadEvent], confirmed: int | None) -> None:
    """Check the number that an operator typed in.

    Raises: BadRequest.
    """
    if len(events) > CONFIRM_COUNT_ABOVE and confirmed != len(events):
        raise BadRequest(f"{len(events)} events would be retried: type this number to confirm it.")


def _retry(event: DeadEvent, actor: Actor, reason: str) -> RetryResult:
    try:
        done = operate(
            EventOperation.RETRY, event.id, actor=actor, reason=reason, consumer=event.consumer, source=event.source
        )
    except (OperationRefused, EventError) as error:
        return RetryResult(event=event, is_done=False, message=str(error))
    except Error as error:
        message = f"{type(error).__name__} of the database; see the event's page for whether it was done."
        return RetryResult(event=event, is_done=False, message=message)
    return RetryResult(event=event, is_done=True, message=done.message)
