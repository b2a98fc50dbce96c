"""Two participants and a handful of events: payments sends, inventory remembers, fails and answers on demand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db import connections, transaction

from sagas.events import NotYet, Received, catalogue, consumer, event, on, publish, relay
from sagas.events.inbox import Result
from sagas.models import InboxEvent, OutboxEvent

SENDER, CONSUMER = "payments", "inventory"


@event("TestPaid", key="order_id", sender=SENDER, flow="tests")
class Paid:
    order_id: str
    amount_minor: int = 100


@event("TestVoided", key="order_id", sender=SENDER, flow="tests")
class Voided:
    order_id: str


@event("TestStored", key="order_id", sender=CONSUMER, flow="tests")
class Stored:
    order_id: str


@event("TestNoticed", sender=SENDER, flow="tests")
class Noticed:
    text: str


@dataclass
class Behaviour:
    """What the handlers do, and what they were called with."""

    calls: list[tuple[str, str, int]] = field(default_factory=list)
    """Event, key and attempt of each run, also of those that are rolled back."""
    fails: dict[str, BaseException] = field(default_factory=dict)
    """What to raise for a key."""
    needs: set[str] = field(default_factory=set)
    """Keys whose beginning has not arrived."""
    does: dict[str, Callable[[], object]] = field(default_factory=dict)
    """What else to do for a key."""
    answers: bool = True
    """Whether a payment is answered by an event."""


behaviour = Behaviour()


@on(Paid, consumer=CONSUMER)
def store(paid: Paid, received: Received) -> None:
    behaviour.calls.append(("TestPaid", paid.order_id, received.attempt))
    note_effect(paid.order_id, "paid")
    if paid.order_id in behaviour.needs:
        raise NotYet(f"{paid.order_id} is unknown")
    if paid.order_id in behaviour.does:
        behaviour.does[paid.order_id]()
    if paid.order_id in behaviour.fails:
        raise behaviour.fails[paid.order_id]
    if behaviour.answers:
        publish(Stored(order_id=paid.order_id))


@on(Voided, consumer=CONSUMER, undoes=True)
def forget(voided: Voided) -> None:
    behaviour.calls.append(("TestVoided", voided.order_id, 1))
    note_effect(voided.order_id, "voided")


@on(Noticed, consumer=CONSUMER)
def notice(noticed: Noticed) -> None:
    behaviour.calls.append(("TestNoticed", noticed.text, 1))
    if noticed.text in behaviour.does:
        behaviour.does[noticed.text]()
    if noticed.text in behaviour.fails:
        raise behaviour.fails[noticed.text]


def note_effect(key: str, what: str) -> None:
    """Write the effect of a handler into the consumer's database."""
    with connections[catalogue.database_of(CONSUMER)].cursor() as cursor:
        cursor.execute("INSERT INTO events_effect (key, what) VALUES (%s, %s)", [key, what])


def list_effects() -> list[tuple[str, str]]:
    """Return all effects, in order."""
    with connections[catalogue.database_of(CONSUMER)].cursor() as cursor:
        cursor.execute("SELECT key, what FROM events_effect ORDER BY id")
        return list(cursor.fetchall())


def send(*events: Any, **options: Any) -> list[Any]:
    """Publish events, each in a transaction, and relay them."""
    alias = catalogue.database_of(SENDER)
    ids = []
    for one in events:
        with transaction.atomic(using=alias):
            ids.append(publish(one, **options))
    relay.relay_all(alias)
    return ids


def consume(**options: Any) -> dict[Result, int]:
    """Run the consumer of inventory until nothing is left."""
    runner = consumer.ParticipantConsumer(CONSUMER, instance="test:1", should_stop=lambda: False)
    runner.run(once=True, **options)
    return runner.tally.counts


def outbox(participant: str = SENDER) -> list[OutboxEvent]:
    """Return what a participant published."""
    rows = OutboxEvent.objects.using(catalogue.database_of(participant)).filter(participant=participant)
    return list(rows.order_by("id"))


def inbox() -> list[InboxEvent]:
    """Return the consumer's inbox."""
    return list(InboxEvent.objects.using(catalogue.database_of(CONSUMER)).order_by("id"))
