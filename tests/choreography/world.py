"""A choreography like the shop's, with events of its own, whose participants are told what to send."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.db import transaction

from sagas.choreography import ChoreographyDefinition, Expected, start
from sagas.conf import get_settings
from sagas.events import catalogue, consumer, event, publish, relay
from sagas.events.inbox import Result
from sagas.models import Saga, SagaHistory, SagaStep

KEY = "ORD-1"
LIMIT, DEADLINE = timedelta(minutes=5), timedelta(minutes=15)


def _declare(name: str, sender: str) -> type:
    """Declare an event with nothing but its key."""
    cls = type(name, (), {"__annotations__": {"order_id": str}, "__module__": __name__})
    return event(f"Chor{name}", key="order_id", sender=sender, flow="choreography")(cls)


Begun = _declare("Begun", "orders")
Paid, Unpaid, Refunded = (_declare(name, "payments") for name in ("Paid", "Unpaid", "Refunded"))
Stored, Short, Released, Gone = (_declare(name, "inventory") for name in ("Stored", "Short", "Released", "Gone"))
Quoted, Unserved, Booked = (_declare(name, "shipping") for name in ("Quoted", "Unserved", "Booked"))
Confirmed, Cancelled = (_declare(name, "orders") for name in ("Confirmed", "Cancelled"))


@dataclass
class Decider:
    """What the deciding participant is asked, and does about it."""

    asked: list[tuple[str, str]] = field(default_factory=list)
    answer: Callable[[str], None] = lambda _key: None

    def expire(self, key: str) -> None:
        self.asked.append(("expire", key))
        self.answer(key)

    def cancel(self, key: str) -> None:
        self.asked.append(("cancel", key))
        self.answer(key)


decider = Decider()


class Sale(ChoreographyDefinition):
    payment = Expected(after=[Begun], success=[Paid], refusal=[Unpaid], undone=[Refunded])
    stock = Expected(after=[Paid], success=[Stored], refusal=[Short], undone=[Released], limit=timedelta(minutes=2))
    quote = Expected(after=[Stored], success=[Quoted], refusal=[Unserved])
    confirmation = Expected(after=[Paid, Stored, Quoted], success=[Confirmed], is_pivot=True)
    shipment = Expected(after=[Confirmed], success=[Booked, Gone])

    class Meta:
        name = "chor-sale"
        version = 1
        begins_with = Begun
        cancelled_by = Cancelled
        limit = LIMIT
        deadline = DEADLINE
        on_deadline = "tests.choreography.world.expire"
        on_cancel = "tests.choreography.world.cancel"


def expire(key: str) -> None:
    decider.expire(key)


def cancel(key: str) -> None:
    decider.cancel(key)


def begin(key: str = KEY) -> Saga:
    """Start a saga and publish its first event."""
    with transaction.atomic(using=get_settings().database):
        saga = start(Sale, key=key, business_keys={"order": key}, actor="ada")
        publish(Begun(order_id=key), correlation_id=str(saga.pk))
    return saga


def send(*events: type, saga: Saga | None = None, key: str = KEY, correlation_id: str = "") -> None:
    """Publish events of a saga's key and relay them."""
    for one in events:
        alias = catalogue.database_of(catalogue.sender_of(catalogue.find_type(f"Chor{one.__name__}")))  # type: ignore[arg-type]
        with transaction.atomic(using=alias):
            publish(one(order_id=key), correlation_id=correlation_id or (str(saga.pk) if saga else str(uuid4())))
        relay.relay_all(alias)
    relay.relay_all(get_settings().database)


def track() -> dict[Result, int]:
    """Run the tracker until nothing is left."""
    runner = consumer.ParticipantConsumer(catalogue.TRACKER, instance="test:1", should_stop=lambda: False)
    runner.run(once=True)
    return runner.tally.counts


def tell(saga: Saga, *events: type) -> Saga:
    """Send events of a saga, track them, and return the saga as it is then."""
    send(*events, saga=saga)
    track()
    return Saga.objects.get(pk=saga.pk)


def states(saga: Saga) -> dict[str, str]:
    """Return the states of a saga's steps."""
    return dict(SagaStep.objects.filter(saga=saga).order_by("position").values_list("name", "state"))


def owes(saga: Saga) -> list[tuple[str, str, list[str]]]:
    """Return what is owed: step, participant, events."""
    return [(debt["step"], debt["by"], debt["types"]) for debt in saga.owed]


def history(saga: Saga, **filters: Any) -> list[str]:
    """Return the codes of a saga's history."""
    return list(SagaHistory.objects.filter(saga=saga, **filters).order_by("number").values_list("what", flat=True))
