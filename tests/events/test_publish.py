"""Publishing: what a row of the outbox says, and in which order numbers are given."""

import threading
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest
from django.db import connections, transaction

from sagas.events import EventRefused, Received, catalogue, event, publish
from sagas.events.declaration import forget as forget_event
from sagas.events.declaration import type_of
from sagas.events.handlers import current
from sagas.events.inbox import Result
from sagas.events.outbox import dump_data
from sagas.exceptions import DefinitionError

from . import world
from .world import Behaviour, Noticed, Paid, Stored

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

LIMIT = 200_000


@pytest.fixture
def sized(flow: Behaviour) -> Iterator[Any]:
    """Declare an event with a text of any size."""

    @event("TestSized", key="key", sender=world.SENDER, flow="tests")
    class Sized:
        key: str
        text: str = ""
        number: float = 0.0

    yield Sized
    forget_event(Sized)


def publish_now(one: Any, **options: Any) -> Any:
    with transaction.atomic(using=catalogue.database_of(world.SENDER)):
        return publish(one, **options)


def test_data_up_to_the_limit_are_published_and_larger_ones_refused(sized: Any) -> None:
    empty = len(b'{"key": "ORD-1", "text": "", "number": 0.0}')
    publish_now(sized(key="ORD-1", text="x" * (LIMIT - empty)))
    with pytest.raises(EventRefused, match=r"The data of TestSized has 200001 bytes; at most 200000 are stored"):
        publish_now(sized(key="ORD-1", text="x" * (LIMIT - empty + 1)))
    with pytest.raises(EventRefused, match="200001 bytes"):
        publish_now(sized(key="ORD-1", text="x" * (LIMIT - empty - 1) + "é"))  # two bytes
    assert [row.sequence for row in world.outbox()] == [1]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"text": "a\x00b"}, "NUL"), ({"text": "\ud800"}, "surrogate|UTF-8|utf-8"), ({"number": float("nan")}, "JSON"),
        ({"text": 7}, "Sized.text must be str, not int"), ({"text": None}, "Sized.text must be str, not NoneType"),
        ({"key": ""}, "The key 'key' of TestSized must have 1 to 200 characters"),
        ({"key": "k" * 201}, "The key 'key' of TestSized must have 1 to 200 characters"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_stored_are_refused_by_name(sized: Any, wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(EventRefused, match=reason):
        publish_now(sized(**{"key": "ORD-1", **wrong}))
    assert world.outbox() == []


def test_class_that_is_no_event_is_refused(flow: Behaviour) -> None:
    with pytest.raises(DefinitionError, match="str is not declared as an event"):
        publish_now("TestPaid")


def test_events_that_are_off_are_not_published(flow: Behaviour, event_settings: Any) -> None:
    event_settings(URL="")
    with pytest.raises(EventRefused, match=r"TestPaid is not published.*Set SAGAS\['EVENTS'\]\['URL'\]"):
        publish_now(Paid(order_id="ORD-1"))


def test_row_names_source_key_and_topic(flow: Behaviour, event_settings: Any) -> None:
    event_settings(LAYOUT="type", SOURCE="/shop/")
    event_id = publish_now(Paid(order_id="ORD/1 ü"))
    [row] = world.outbox()
    assert (row.event_id, row.source, row.key) == (event_id, "/shop/payments/ORD%2F1%20%C3%BC", "ORD/1 ü")
    assert (row.topic, row.state, row.attempts, row.data) == (
        "TestPaid", "unsent", 0, {"orderId": "ORD/1 ü", "amountMinor": 100},
    )  # fmt: skip
    assert (row.correlation_id, row.causation_id, row.traceparent) == (str(event_id), "", "")


def test_each_source_counts_its_own_events(flow: Behaviour) -> None:
    for key in ("ORD-1", "ORD-2", "ORD-1"):
        publish_now(Paid(order_id=key))
    publish_now(Noticed(text="unordered"))
    assert [(row.key, row.sequence, row.source) for row in world.outbox()] == [
        ("ORD-1", 1, "/shop/payments/ORD-1"), ("ORD-2", 1, "/shop/payments/ORD-2"),
        ("ORD-1", 2, "/shop/payments/ORD-1"), ("", None, "/shop/payments"),
    ]  # fmt: skip


def test_rolled_back_number_is_given_again(flow: Behaviour) -> None:
    alias = catalogue.database_of(world.SENDER)
    with transaction.atomic(using=alias):
        publish(Paid(order_id="ORD-1"))
        transaction.set_rollback(True, using=alias)
    publish_now(Paid(order_id="ORD-1", amount_minor=7))
    assert [(row.sequence, row.data["amountMinor"]) for row in world.outbox()] == [(1, 7)]


def test_numbers_follow_the_order_of_commits(flow: Behaviour) -> None:
    """Given a transaction that has published and is still open, another one of its source waits for its commit."""
    alias = catalogue.database_of(world.SENDER)
    published, committed = threading.Event(), []

    def publish_second() -> None:
        try:
            publish_now(Paid(order_id="ORD-1", amount_minor=2))
            committed.append("second")
        finally:
            published.set()
            connections.close_all()

    with transaction.atomic(using=alias):
        publish(Paid(order_id="ORD-1", amount_minor=1))
        other = threading.Thread(target=publish_second)
        other.start()
        publish_now(Paid(order_id="ORD-2"))
        assert not published.wait(0.3)  # it waits for the counter's row
        committed.append("first")
    other.join(10)
    numbers = {row.data["amountMinor"]: row.sequence for row in world.outbox() if row.key == "ORD-1"}
    assert (committed, numbers) == (["first", "second"], {1: 1, 2: 2})


def test_publishers_at_once_leave_no_gap_and_no_later_time(flow: Behaviour) -> None:
    start = threading.Barrier(4)

    def publish_many() -> None:
        start.wait(10)
        for _ in range(10):
            publish_now(Paid(order_id="ORD-1"))
        connections.close_all()

    threads = [threading.Thread(target=publish_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    rows = sorted(world.outbox(), key=lambda row: row.sequence or 0)
    assert [row.sequence for row in rows] == list(range(1, 41))
    assert [row.recorded_at for row in rows] == sorted(row.recorded_at for row in rows)


def test_answer_is_caused_by_the_handled_event(flow: Behaviour) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    [event_id] = world.send(Paid(order_id="ORD-1"), correlation_id="flow-7", traceparent=trace)
    assert world.consume() == {Result.HANDLED: 1}
    [answer] = world.outbox(world.CONSUMER)
    assert (answer.causation_id, answer.correlation_id, answer.traceparent) == (str(event_id), "flow-7", trace)
    assert current.get() is None  # the next event of this thread has no cause


def test_cause_ends_with_a_failing_handler(flow: Behaviour) -> None:
    flow.fails["ORD-1"] = ValueError("no shelf")
    world.send(Paid(order_id="ORD-1"))
    assert world.consume() == {Result.FAILED: 1}
    event_id = publish_now(Paid(order_id="ORD-2"))
    [row] = [row for row in world.outbox() if row.key == "ORD-2"]
    assert (row.causation_id, row.correlation_id) == ("", str(event_id))


def test_given_ids_come_before_those_of_the_cause(flow: Behaviour) -> None:
    received = Received(
        id="cause-1", type="TestPaid", source="/shop/payments/ORD-1", key="ORD-1", consumer="inventory",
        correlation_id="flow-1", causation_id="", traceparent="", recorded_at=None, attempt=1,
    )  # fmt: skip

    def publish_both() -> None:
        current.set(received)
        with transaction.atomic(using=catalogue.database_of(world.CONSUMER)):
            publish(Stored(order_id="ORD-1"))
            publish(Stored(order_id="ORD-1"), correlation_id="flow-2", causation_id="cause-2")

    copy_context().run(publish_both)
    assert [(row.correlation_id, row.causation_id) for row in world.outbox(world.CONSUMER)] == [
        ("flow-1", "cause-1"), ("flow-2", "cause-2"),
    ]  # fmt: skip


def test_id_that_cannot_be_stored_is_refused(flow: Behaviour) -> None:
    with pytest.raises(EventRefused, match="has more than 200 characters"):
        publish_now(Paid(order_id="ORD-1"), correlation_id="x" * 201)
    assert world.outbox() == []


def test_dumped_data_are_those_of_the_wire(flow: Behaviour) -> None:
    assert dump_data(type_of(Paid), Paid(order_id="ORD-1 é"), LIMIT) == '{"orderId": "ORD-1 é", "amountMinor": 100}'
