"""CloudEvents on the wire: what we send is read back, in both modes; all else is refused by name."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from sagas.events import EventRefused
from sagas.events.cloudevents import Message, make_source, read_message, to_message
from sagas.models import OutboxEvent

LIMIT = 400_000
MOMENT = datetime(2026, 11, 29, 9, 30, 0, 123456, tzinfo=UTC)
KEYS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs", "Cc", "Cn"]), min_size=1, max_size=60)


def make_row(**changes: Any) -> OutboxEvent:
    """Return a row that is not saved."""
    values = {
        "event_id": uuid.UUID(int=7), "participant": "payments", "type": "TestPaid", "version": 2,
        "source": "/shop/payments/ORD-1", "sequence": 7, "key": "ORD-1", "correlation_id": "flow-7",
        "causation_id": "cause-1", "traceparent": "00-aa-bb-01", "topic": "tests", "data": {"orderId": "ORD-1"},
        "recorded_at": MOMENT,
    }  # fmt: skip
    return OutboxEvent(**{**values, **changes})


def read(message: Message) -> Any:
    return read_message(message, max_bytes=LIMIT)


def as_structured(message: Message, **changes: Any) -> Message:
    """Return a message as one JSON envelope."""
    envelope = {**message.attributes, "data": json.loads(message.data), **changes}
    envelope = {name: value for name, value in envelope.items() if value is not None}
    content_type = "application/cloudevents+json; charset=utf-8"
    return Message(attributes={"datacontenttype": content_type}, data=json.dumps(envelope).encode())


def test_attributes_are_those_of_the_specification() -> None:
    message = to_message(make_row())
    assert message.attributes == {
        "specversion": "1.0", "id": str(uuid.UUID(int=7)), "source": "/shop/payments/ORD-1", "type": "TestPaid",
        "subject": "ORD-1", "time": "2026-11-29T09:30:00.123456Z", "datacontenttype": "application/json",
        "schemaversion": "2", "sequence": "00000000000000000007", "partitionkey": "ORD-1",
        "correlationid": "flow-7", "causationid": "cause-1", "recordedtime": "2026-11-29T09:30:00.123456Z",
        "traceparent": "00-aa-bb-01",
    }  # fmt: skip
    assert (message.key, message.data) == ("ORD-1", b'{"orderId":"ORD-1"}')
    CloudEvent({**message.attributes, "time": MOMENT})  # the package of the specification accepts it


def test_unordered_event_has_neither_key_nor_sequence() -> None:
    message = to_message(make_row(key="", sequence=None, causation_id="", traceparent=""))
    assert not {"subject", "partitionkey", "sequence", "causationid", "traceparent"} & set(message.attributes)
    assert (message.key, read(message).key) == ("", "")


@given(KEYS, st.integers(1, 10**19), st.integers(1, 999))
def test_what_is_sent_is_read_back_in_both_modes(key: str, sequence: int, version: int) -> None:
    source = make_source("/shop/", "payments", key)
    message = to_message(make_row(key=key, source=source, sequence=sequence, version=version, data={"orderId": key}))
    binary, structured = read(message), read(as_structured(message))
    assert binary == structured
    assert (binary.key, binary.source, binary.version, binary.data) == (key, source, version, {"orderId": key})
    assert (int(binary.sequence), binary.recorded_at, binary.is_bare) == (sequence, MOMENT, False)
    assert source.startswith("/shop/payments/")
    assert "/" not in source.removeprefix("/shop/payments/")


@given(st.integers(1, 10**19), st.integers(1, 10**19))
def test_sequences_compare_as_texts(one: int, other: int) -> None:
    first, second = (to_message(make_row(sequence=number)).attributes["sequence"] for number in (one, other))
    assert (first < second) is (one < other)


@pytest.mark.parametrize("missing", ["specversion", "id", "source", "type"])
def test_message_without_a_required_attribute_is_refused(missing: str) -> None:
    message = to_message(make_row())
    left = {name: value for name, value in message.attributes.items() if name != missing}
    for one in (Message(attributes=left, data=message.data), as_structured(message, **{missing: None})):
        with pytest.raises(EventRefused, match=f"no CloudEvent 1.0; wrong or missing: {missing}"):
            read(one)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"specversion": "0.3"}, "specversion"), ({"id": ""}, "id"), ({"source": ""}, "source"),
        ({"id": "x" * 201}, "'id' has more than 200"),
        ({"partitionkey": "x" * 201}, "'partitionkey' has more than 200"),
        ({"source": "/" * 501}, "'source' has more than 500"), ({"schemaversion": "0"}, "schemaversion"),
        ({"schemaversion": "1000"}, "schemaversion"), ({"schemaversion": "\u0661"}, "schemaversion"),
        ({"schemaversion": "two"}, "schemaversion"), ({"causationid": "a\x00b"}, "holds the character NUL"),
    ],
)  # fmt: skip
def test_wrong_attributes_are_refused_by_name(changes: dict[str, str], reason: str) -> None:
    message = to_message(make_row())
    with pytest.raises(EventRefused, match=reason):
        read(Message(attributes={**message.attributes, **changes}, data=message.data))


@pytest.mark.parametrize("data", [b"[]", b"7", b'"x"', b"null", b"", b"{", b"\xff", b'{"a": NaN}', b'{"a": 1, "a": 2}'])
def test_data_are_always_an_object(data: bytes) -> None:
    with pytest.raises(EventRefused, match=r"JSON|UTF-8"):
        read(Message(attributes=to_message(make_row()).attributes, data=data))


def test_subject_is_the_key_where_there_is_no_partition_key() -> None:
    message = to_message(make_row())
    left = {name: value for name, value in message.attributes.items() if name != "partitionkey"}
    assert read(Message(attributes=left, data=message.data)).key == "ORD-1"


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-29T09:30:00", "0001-01-01T00:00:00+23:59"])
def test_time_that_cannot_be_read_is_unknown(text: str) -> None:
    message = to_message(make_row())
    attributes = {**message.attributes, "recordedtime": text, "time": text}
    assert read(Message(attributes=attributes, data=message.data)).recorded_at is None
