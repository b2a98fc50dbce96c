"""Badges of the states of an event, in its outbox and with each consumer."""

from collections.abc import Mapping

from ...models import InboxState, OutboxState
from ...operators.presentation.badges import Badge, Tone

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
