"""Badges of events: where one stands in its sender's outbox, and with each consumer."""

from collections.abc import Mapping

from ...choreography.deliveries import SagaEvent
from ...models import InboxState, OutboxState
from .badges import Badge, Tone

OUTBOX_BADGES: Mapping[str, Badge] = {
    OutboxState.UNSENT: Badge(word="unsent", icon="hourglass", tone=Tone.ACTIVE),
    OutboxState.SENT: Badge(word="sent", icon="check", tone=Tone.GOOD),
    OutboxState.PARKED: Badge(word="parked", icon="hand", tone=Tone.URGENT),
}
INBOX_BADGES: Mapping[str, Badge] = {
    InboxState.HANDLED: Badge(word="handled", icon="check", tone=Tone.GOOD),
    InboxState.RETRYING: Badge(word="retrying", icon="repeat", tone=Tone.WAITING),
    InboxState.NOT_YET: Badge(word="not yet", icon="hourglass", tone=Tone.WAITING),
    InboxState.HELD: Badge(word="held", icon="hand", tone=Tone.WAITING),
    InboxState.DEAD: Badge(word="dead", icon="warning", tone=Tone.URGENT),
    InboxState.PARKED: Badge(word="parked", icon="hand", tone=Tone.URGENT),
    InboxState.DISCARDED: Badge(word="discarded", icon="dash", tone=Tone.QUIET),
}
NOT_HANDLED = Badge(word="not handled", icon="circle", tone=Tone.WAITING)
FOREIGN = Badge(word="sent elsewhere", icon="check", tone=Tone.QUIET)
STATED = Badge(word="stated by an operator", icon="hand", tone=Tone.QUIET)
NOT_RECEIVED = Badge(word="not received", icon="circle", tone=Tone.QUIET)
EXPLANATIONS: Mapping[str, str] = {
    InboxState.HANDLED: "Its effect is committed.",
    InboxState.RETRYING: "Its handler failed and runs again at the time shown.",
    InboxState.NOT_YET: "What it builds on has not arrived; it is tried with each event of its key.",
    InboxState.HELD: "An earlier event of its key failed; it follows when that one is handled or discarded.",
    InboxState.DEAD: "Its handler failed too often. Events of its key wait behind it.",
    InboxState.PARKED: "It was never run: unreadable, unknown, or its sender has no authority.",
    InboxState.DISCARDED: "An operator gave it up.",
}
# The worst state with any consumer decides.
WORST = (
    InboxState.DEAD, InboxState.PARKED, InboxState.HELD, InboxState.RETRYING, InboxState.NOT_YET, InboxState.DISCARDED,
)  # fmt: skip


def badge_of_event(event: SagaEvent) -> Badge:
    """Return the badge of an event: trouble with a consumer before its state in the outbox."""
    states = {entry.state for entry in event.received}
    for state in WORST:
        if state in states:
            return INBOX_BADGES[state]
    if event.sent is not None:
        return OUTBOX_BADGES[event.sent.state]
    return STATED if event.fact is not None and event.fact.is_assumed else FOREIGN
