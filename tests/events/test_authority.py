"""Authority: each type has one sender, and what another one sends is parked, shown and never run."""

import json
import uuid
from typing import Any

import pytest

from sagas.events.cloudevents import Message
from sagas.events.inbox import Result
from sagas.events.transports.base import Outgoing
from sagas.events.transports.memory import Broker

from . import world
from .world import Behaviour

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def send(broker: Broker, data: dict[str, Any] | None = None, **attributes: str) -> None:
    """Put a message into the topic, as a stranger does."""
    given = {
        "specversion": "1.0", "id": str(uuid.uuid4()), "source": "/shop/payments/ORD-1", "type": "TestPaid",
        "partitionkey": "ORD-1", **attributes,
    }  # fmt: skip
    body = json.dumps(data or {"orderId": "ORD-1"}).encode()
    message = Message(attributes={name: value for name, value in given.items() if value}, data=body)
    broker.topics.setdefault("tests", []).append(Outgoing(topic="tests", message=message))


@pytest.mark.parametrize("source", ["/shop/payments", "/shop/payments/ORD-1", "/shop/payments/ORD-1/more"])
def test_sender_s_events_are_handled(flow: Behaviour, broker: Broker, source: str) -> None:
    send(broker, source=source)
    assert world.consume() == {Result.HANDLED: 1}
    assert [row.state for row in world.inbox()] == ["handled"]


@pytest.mark.parametrize(
    "source",
    [
        "/shop/inventory/ORD-1", "/shop/payments2/ORD-1", "/shop/paymentsx", "/other/payments/ORD-1", "payments",
        "https://example.com/shop/payments/ORD-1", "/shop/Payments/ORD-1", "//shop/payments", "/shop",
    ],
)  # fmt: skip
def test_other_senders_events_are_parked_and_never_run(flow: Behaviour, broker: Broker, source: str) -> None:
    send(broker, source=source)
    assert world.consume() == {Result.PARKED: 1}
    [row] = world.inbox()
    assert (row.state, row.source, row.type, row.data) == ("parked", source, "TestPaid", {"orderId": "ORD-1"})
    assert row.error.startswith("No authority: TestPaid is sent by /shop/payments only, and this one says")
    assert (flow.calls, world.list_effects(), world.outbox(world.CONSUMER)) == ([], [], [])


def test_parked_event_holds_nothing_and_its_copy_is_counted(flow: Behaviour, broker: Broker) -> None:
    for _ in range(2):
        send(broker, id="one", source="/shop/inventory/ORD-1")
    send(broker)
    assert world.consume() == {Result.PARKED: 1, Result.DUPLICATE: 1, Result.HANDLED: 1}
    assert [(row.state, row.duplicates) for row in world.inbox()] == [("parked", 1), ("handled", 0)]


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"type": "TestUnheard"}, "The catalogue has no event 'TestUnheard'. Declare it, or stop its sender."),
        ({"schemaversion": "2"}, "Major version 2 of TestPaid cannot be read; the code has 1."),
        ({"partitionkey": ""}, "TestPaid has no partition key, but its events are ordered by orderId."),
    ],
)
def test_unknown_types_versions_and_keys_are_parked(
    flow: Behaviour, broker: Broker, attributes: dict[str, str], reason: str
) -> None:
    send(broker, **attributes)
    assert world.consume() == {Result.PARKED: 1}
    [row] = world.inbox()
    assert (row.state, row.data, flow.calls) == ("parked", {"orderId": "ORD-1"}, [])
    assert row.error.startswith(reason)


def test_data_that_do_not_fit_are_parked_by_field(flow: Behaviour, broker: Broker) -> None:
    send(broker, {"orderId": "ORD-1", "amountMinor": "much"})
    assert world.consume() == {Result.PARKED: 1}
    assert [row.error for row in world.inbox()] == ["Paid.amount_minor must be int, not str."]


def test_known_event_of_others_is_acknowledged_without_a_row(flow: Behaviour, broker: Broker) -> None:
    send(broker, type="TestStored", source="/shop/inventory/ORD-1")
    assert world.consume() == {Result.IGNORED: 1}
    assert world.inbox() == []


def test_prefix_of_sources_belongs_to_the_authority(flow: Behaviour, broker: Broker, event_settings: Any) -> None:
    event_settings(SOURCE="")
    send(broker, source="/payments/ORD-1")
    send(broker, source="/shop/payments/ORD-1")
    assert world.consume() == {Result.HANDLED: 1, Result.PARKED: 1}
