"""Operations on one event for console and commands: permission and reason first, then the room of events.

Who did what, and why, is kept with the event, in the database of the participant.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum

from ..events import dead_count
from ..events.operations import OperationResult, Order, discard_event, replay_event, retry_event
from .actor import Actor
from .operations import check_text

VIEW = "view_event"
VIEW_PAYLOAD, VIEW_PERSONAL = "view_event_payload", "view_event_personal"


class EventOperation(StrEnum):
    """What operators do to an event."""

    RETRY = "retry"  #: one consumer runs its handler again, with a fresh budget
    REPLAY = "replay"  #: sent again to all, or one consumer's handler run again
    DISCARD = "discard"  #: given up for one consumer


PERMISSIONS: Mapping[EventOperation, str] = {
    EventOperation.RETRY: "retry_event",
    EventOperation.REPLAY: "replay_event",
    EventOperation.DISCARD: "discard_event",
}
_FUNCTIONS: Mapping[EventOperation, Callable[[Order], OperationResult]] = {
    EventOperation.RETRY: retry_event,
    EventOperation.REPLAY: replay_event,
    EventOperation.DISCARD: discard_event,
}


def operate(
    operation: EventOperation,
    event_id: str,
    *,
    actor: Actor,
    reason: str,
    consumer: str = "",
    source: str = "",
    version: str = "",
) -> OperationResult:
    """Perform an operation on an event.

    ``consumer``: app label; empty: the event is sent again to all. ``source``: where two senders used the same id.
    ``version``: that of the plan that the decision was based on; empty: any.
    Raises: PermissionRefused, BadRequest, OperationRefused, EventNotFound.
    Tx: must not be inside one; opens its own.
    """
    actor.require(PERMISSIONS[operation])
    checked = check_text(reason, "The reason")
    result = _FUNCTIONS[operation](
        Order(event_id=event_id, actor=actor.name, reason=checked, consumer=consumer, source=source, version=version)
    )
    dead_count.forget()
    return result


def plan(
    operation: EventOperation, event_id: str, *, actor: Actor, consumer: str = "", source: str = ""
) -> OperationResult:
    """Return what an operation would do now; nothing is changed.

    Raises: PermissionRefused, BadRequest, OperationRefused, EventNotFound.
    Tx: must not be inside one; opens its own.
    """
    actor.require(PERMISSIONS[operation])
    order = Order(
        event_id=event_id, actor=actor.name, reason="A plan needs none.", consumer=consumer, source=source,
        is_trial=True,
    )  # fmt: skip
    return _FUNCTIONS[operation](order)
