"""Hostile messages: nothing falls, each is stored and shown once or ignored, and the consumer goes on."""

import base64
import json
from typing import Any

import pytest

from sagas.events import consumer as consumers
from sagas.events import handlers, transports
from sagas.events.cloudevents import Message
from sagas.events.inbox import Result
from sagas.events.settings import get_event_settings
from sagas.events.transports.base import Outgoing
from sagas.models import InboxEvent

from . import world
from .world import Behaviour, Paid

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

GOOD: dict[str, str] = {
    "specversion": "1.0", "id": "E-1", "source": "/shop/payments/ORD-1", "type": "TestPaid", "partitionkey": "ORD-1",
}  # fmt: skip
DATA = b'{"orderId": "ORD-1"}'
STRUCTURED = {"datacontenttype": "application/cloudevents+json"}


def structured(**changes: Any) -> bytes:
    return json.dumps({**GOOD, "data": {"orderId": "ORD-1"}, **changes}).encode()


# Name: attributes, body, and what an operator reads.
UNREADABLE: dict[str, tuple[dict[str, str], bytes, str]] = {
    "nothing at all": ({}, b"", "is not JSON"),
    "no attributes": ({}, DATA, "wrong or missing: id, source, specversion, type"),
    "empty body": (GOOD, b"", "is not JSON"),
    "no JSON": (GOOD, b"<xml/>", "is not JSON"),
    "binary garbage": (GOOD, bytes(range(256)), "is not UTF-8"),
    "UTF-16": (GOOD, '{"orderId": "ORD-1"}'.encode("utf-16"), "is not UTF-8"),
    "a list": (GOOD, b"[1]", "must be a JSON object, not list"),
    "null": (GOOD, b"null", "must be a JSON object, not null"),
    "a text": (GOOD, b'"ORD-1"', "must be a JSON object, not str"),
    "NaN": (GOOD, b'{"orderId": NaN}', "NaN is not a JSON number"),
    "deep": (GOOD, b"[" * 100_000 + b"]" * 100_000, "nested deeper than 64 levels"),
    "huge": (GOOD, b'{"x": "' + b"y" * 400_000 + b'"}', "at most 400000 are read"),
    "a number without end": (GOOD, b'{"orderId": ' + b"9" * 100_000 + b"}", "a number has 100000 digits"),
    "a fraction out of range": (GOOD, b'{"orderId": 1e999}', "out of range for a float"),
    "NUL": (GOOD, b'{"orderId": "\\u0000"}', "NUL"),
    "a lone surrogate": (GOOD, b'{"orderId": "\\ud800"}', "surrogates not allowed"),
    "a name twice": (GOOD, b'{"orderId": "ORD-1", "orderId": "ORD-2"}', "appears twice"),
    "NUL in an attribute": ({**GOOD, "subject": "a\x00b"}, DATA, "'subject' holds the character NUL"),
    "a long key": ({**GOOD, "partitionkey": "k" * 201}, DATA, "'partitionkey' has more than 200 characters"),
    "a long id": ({**GOOD, "id": "i" * 201}, DATA, "'id' has more than 200 characters"),
    "a long source": ({**GOOD, "source": "/" * 501}, DATA, "'source' has more than 500 characters"),
    "a long type": ({**GOOD, "type": "T" * 101}, DATA, "'type' has more than 100 characters"),
    "a long attribute": ({**GOOD, "other": "o" * 4_001}, DATA, "'other' has more than 4000 characters"),
    "an empty id": ({**GOOD, "id": ""}, DATA, "wrong or missing: id"),
    "an empty source": ({**GOOD, "source": ""}, DATA, "wrong or missing: source"),
    "another specification": ({**GOOD, "specversion": "2.0"}, DATA, "wrong or missing: specversion"),
    "an attribute in capitals": ({**GOOD, "Evil": "1"}, DATA, "wrong or missing: Evil"),
    "an attribute without a name": ({**GOOD, "": "1"}, DATA, "wrong or missing"),
    "markup as a name": ({**GOOD, "<script>": "1"}, DATA, "wrong or missing"),
    "version zero": ({**GOOD, "schemaversion": "0"}, DATA, "'schemaversion' must be a whole number from 1 to 999"),
    "version four digits": ({**GOOD, "schemaversion": "0001"}, DATA, "must be a whole number from 1 to 999"),
    "version of a poet": ({**GOOD, "schemaversion": "²"}, DATA, "must be a whole number from 1 to 999"),
    "structured, a list": (STRUCTURED, b"[]", "must be a JSON object, not list"),
    "structured, no data": (STRUCTURED, structured(data=None), "must be a JSON object, not null"),
    "structured, base64": (STRUCTURED, structured(data_base64=base64.b64encode(DATA).decode()), "not base64"),
    "structured, an object": (STRUCTURED, structured(subject={}), "'subject' must be a text or a whole number"),
    "structured, a fraction": (STRUCTURED, structured(subject=1.5), "'subject' must be a text or a whole number"),
    "structured, true": (STRUCTURED, structured(subject=False), "'subject' must be a text or a whole number"),
    "structured in structured": (
        STRUCTURED, structured(data="{}", datacontenttype="application/cloudevents+json"), "JSON object, not str",
    ),
}  # fmt: skip
# These can be read, so that type and id are shown, too.
UNFIT: dict[str, tuple[dict[str, str], bytes, str]] = {
    "wrong type of a field": (GOOD, b'{"orderId": 1}', "orderId|order_id"),
    "a missing field": (GOOD, b"{}", "orderId|order_id"),
    "a list for a text": (GOOD, b'{"orderId": []}', "orderId|order_id"),
    "an unknown type": ({**GOOD, "type": "Nonsense"}, DATA, "The catalogue has no event 'Nonsense'"),
    "a later version": ({**GOOD, "schemaversion": "2"}, DATA, "Major version 2 of TestPaid cannot be read"),
    "another sender": ({**GOOD, "source": "/shop/shipping/ORD-1"}, DATA, "No authority: TestPaid is sent by /shop/pay"),
    "a similar sender": ({**GOOD, "source": "/shop/payments-evil/ORD-1"}, DATA, "No authority"),
    "a sender in capitals": ({**GOOD, "source": "/shop/Payments/ORD-1"}, DATA, "No authority"),
    "no key": ({name: value for name, value in GOOD.items() if name != "partitionkey"}, DATA, "has no partition key"),
    "another key": ({**GOOD, "partitionkey": "ORD-2"}, DATA, "is 'ORD-2', but orderId in its data is 'ORD-1'"),
}  # fmt: skip
# These are read in spite of what is unusual about them.
HARMLESS: dict[str, tuple[dict[str, str], bytes]] = {
    "unknown fields": (GOOD, b'{"orderId": "ORD-1", "__class__": {"constructor": []}}'),
    "unknown attributes": ({**GOOD, "x": "'; DROP TABLE sagas_inboxevent; --"}, DATA),
    "a time of nonsense": ({**GOOD, "time": "yesterday", "recordedtime": "9999-12-31T23:59:59-14:00"}, DATA),
    "a long sequence": ({**GOOD, "sequence": "9" * 4_000, "traceparent": "t" * 4_000}, DATA),
    "unset attributes": (STRUCTURED, structured(subject=None, dataschema=None)),
    "a whole number": (STRUCTURED, structured(sequence=7)),
}


def write(attributes: dict[str, str], body: bytes) -> None:
    """Write a message beside the relay."""
    transport = transports.make_transport()
    message = Message(attributes=attributes, data=body)
    assert transport.send([Outgoing(topic="tests", message=message)]) == [None]


def stored() -> InboxEvent:
    [row] = [row for row in world.inbox() if row.state != "handled"]
    return row


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_message_is_stored_and_shown_once(name: str, flow: Behaviour) -> None:
    attributes, body, told = UNREADABLE[name]
    write(attributes, body)
    world.send(Paid(order_id="ORD-2"))
    assert world.consume() == {Result.PARKED: 1, Result.HANDLED: 1}
    row = stored()
    assert (row.state, row.source, row.event_id, row.data) == ("parked", "", "tests/0", None)
    assert told in row.error
    assert row.raw.startswith("".join(f"{key}: {value}\n" for key, value in attributes.items())[:100].split("\x00")[0])
    assert world.list_effects() == [("ORD-2", "paid")]


@pytest.mark.parametrize("name", UNFIT)
def test_unfit_event_is_stored_with_its_type_and_id(name: str, flow: Behaviour) -> None:
    attributes, body, told = UNFIT[name]
    write(attributes, body)
    write(attributes, body)
    world.send(Paid(order_id="ORD-3"))
    assert world.consume() == {Result.PARKED: 1, Result.DUPLICATE: 1, Result.HANDLED: 1}
    row = stored()
    assert (row.state, row.type, row.event_id, row.duplicates) == ("parked", attributes["type"], "E-1", 1)
    assert any(part in row.error for part in told.split("|")), row.error
    assert world.list_effects() == [("ORD-3", "paid")]


@pytest.mark.parametrize("name", HARMLESS)
def test_unusual_event_is_handled(name: str, flow: Behaviour) -> None:
    write(*HARMLESS[name])
    assert world.consume() == {Result.HANDLED: 1}
    assert world.list_effects() == [("ORD-1", "paid")]


def test_known_event_without_a_handler_here_is_ignored(flow: Behaviour) -> None:
    write({**GOOD, "type": "TestStored", "source": "/forged"}, b"{}")
    assert world.consume() == {Result.IGNORED: 1}
    assert world.inbox() == []


def test_same_id_with_other_content_is_shown_and_not_run(flow: Behaviour) -> None:
    write(GOOD, b'{"orderId": "ORD-1", "amountMinor": 1}')
    for _ in range(2):
        write(GOOD, b'{"orderId": "ORD-1", "amountMinor": 999}')
    assert world.consume() == {Result.HANDLED: 1, Result.PARKED: 1, Result.DUPLICATE: 1}
    assert world.list_effects() == [("ORD-1", "paid")]
    assert "Another event with the id E-1 and other content came first" in stored().error


def test_order_of_fields_is_no_other_content(flow: Behaviour) -> None:
    write(GOOD, b'{"orderId": "ORD-1", "amountMinor": 1}')
    write(GOOD, b'{ "amountMinor":1, "orderId":"ORD-1" }')
    assert world.consume() == {Result.HANDLED: 1, Result.DUPLICATE: 1}


def test_same_id_from_another_source_is_another_event(flow: Behaviour) -> None:
    write(GOOD, DATA)
    write({**GOOD, "source": "/shop/payments/ORD-2", "partitionkey": "ORD-2"}, b'{"orderId": "ORD-2"}')
    assert world.consume() == {Result.HANDLED: 2}


def test_flood_of_duplicates_has_one_effect(flow: Behaviour) -> None:
    for _ in range(1_000):
        write(GOOD, DATA)
    assert world.consume() == {Result.HANDLED: 1, Result.DUPLICATE: 999}
    [row] = world.inbox()
    assert (row.duplicates, world.list_effects()) == (999, [("ORD-1", "paid")])


@pytest.mark.full
def test_ten_thousand_duplicates_have_one_effect(flow: Behaviour) -> None:
    for _ in range(10_000):
        write(GOOD, DATA)
    world.consume()
    assert ([row.duplicates for row in world.inbox()], len(world.list_effects())) == ([9_999], 1)


def test_storm_of_poison_holds_nobody_else(flow: Behaviour) -> None:
    for number in range(200):
        write({**GOOD, "id": f"P-{number}", "partitionkey": f"ORD-{number}"}, b"{}")
    world.send(Paid(order_id="ORD-7"))
    assert world.consume() == {Result.PARKED: 200, Result.HANDLED: 1}
    assert world.list_effects() == [("ORD-7", "paid")]


@pytest.mark.parametrize("failure", [ValueError, RecursionError, MemoryError, BufferError])
def test_fault_of_our_own_stops_no_other_message(
    failure: type[Exception], flow: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = consumers.read_message

    def read_badly(message: Message, **options: Any) -> Any:
        if message.attributes.get("id") == "E-1":
            raise failure("no")
        return read(message, **options)

    monkeypatch.setattr(consumers, "read_message", read_badly)
    write(GOOD, DATA)
    world.send(Paid(order_id="ORD-2"))
    assert world.consume() == {Result.PARKED: 1, Result.HANDLED: 1}
    assert stored().error.startswith("The consumer failed on it: ")


def test_bare_message_counts_as_its_topics_sender(flow: Behaviour, event_settings: Any) -> None:
    event_settings(LAYOUT="type", BARE_TOPICS=["TestPaid"])
    transport = transports.make_transport()
    for body in (DATA, b"nonsense", b'{"orderId": ""}', b'{"orderId": true}', b'{"orderId": ["x"]}'):
        transport.send([Outgoing(topic="TestPaid", message=Message(attributes={}, data=body))])
    assert world.consume() == {Result.HANDLED: 1, Result.PARKED: 4}
    handled = next(row for row in world.inbox() if row.state == "handled")
    assert (handled.source, handled.event_id, handled.key) == ("/shop/payments", "0", "ORD-1")
    assert get_event_settings().bare_topics == ["TestPaid"]


def test_nothing_of_a_forged_event_reaches_what_follows(flow: Behaviour) -> None:
    write({**GOOD, "source": "/shop/orders/ORD-1", "correlationid": "stolen"}, DATA)
    world.consume()
    assert (world.outbox(world.CONSUMER), flow.calls, handlers.current.get()) == ([], [], None)
