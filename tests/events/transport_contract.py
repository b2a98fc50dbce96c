"""Contract of a transport, with expectations written by hand: every transport passes it on a real server.

A transport's own file has a driver, which hurts the server, and a class of tests that inherits ``TransportContract``.
"""

import json
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sagas.events import catalogue, transports
from sagas.events.cloudevents import Message, read_bare, read_message
from sagas.events.errors import BrokerAway, SendRefused
from sagas.events.inbox import Result
from sagas.events.settings import EventSettings
from sagas.events.transports.base import Consumer, Delivery, Outgoing, Transport

from . import world

SOON_SECONDS = 10.0
LONG_IDLE_MS, SHORT_IDLE_MS = 60_000, 50


class Driver(ABC):
    """A server, and what can happen to it."""

    url: str
    counts_deliveries = True

    def options(self, *, is_hasty: bool = False) -> dict[str, Any]:
        """Return the transport's options; ``is_hasty``: what a dead process left goes to others almost at once."""
        return {}

    def connect(self, *, is_hasty: bool = False, **changes: Any) -> Transport:
        """Return a new connection."""
        changes.setdefault("send_timeout", timedelta(seconds=1))
        return transports.connect(EventSettings(url=self.url, options=self.options(is_hasty=is_hasty), **changes))

    def subscribe(self, consumer: str, *topics: str, is_hasty: bool = False, **changes: Any) -> Consumer:
        """Return a reader of a new process."""
        transport = self.connect(is_hasty=is_hasty, **changes)
        return transport.subscribe(consumer, topics or ("flow",), instance=f"host:{uuid.uuid4()}")

    @abstractmethod
    def abandon(self, reader: Consumer) -> None:
        """Leave a reader as a killed process does."""

    @abstractmethod
    def write(self, topic: str, attributes: dict[str, str], body: bytes) -> None:
        """Write a message as a foreign service does."""

    @abstractmethod
    def refuse(self, topic: str) -> None:
        """Have the server refuse messages of one topic, or type, of this name."""

    @abstractmethod
    def lose_everything(self) -> None:
        """Have the server forget its topics and groups."""

    @abstractmethod
    def stop(self) -> None:
        """End the server."""

    @abstractmethod
    def start(self) -> None:
        """Start it again, in the same place."""

    @abstractmethod
    def freeze(self) -> None:
        """Have the server accept connections and answer nothing."""

    @abstractmethod
    def thaw(self) -> None:
        """Let it go on."""

    @abstractmethod
    def fill(self) -> None:
        """Leave the server no room."""

    @abstractmethod
    def drain(self) -> None:
        """Give it room again."""


def make(number: int, *, topic: str = "flow", key: str = "ORD-1", event_type: str = "Numbered") -> Outgoing:
    """Return a message that says its number."""
    attributes = {
        "specversion": "1.0", "id": f"id-{number}", "source": f"/shop/payments/{key}", "type": event_type,
        "partitionkey": key, "datacontenttype": "application/json",
    }  # fmt: skip
    return Outgoing(topic=topic, message=Message(attributes=attributes, data=json.dumps({"number": number}).encode()))


def number_of(delivery: Delivery) -> int:
    """Return what a message says."""
    return int(json.loads(delivery.message.data)["number"])


def gather(reader: Consumer, count: int, *, acknowledges: bool = True) -> list[Delivery]:
    """Poll until so many messages have arrived, and once more for what is too much."""
    found: list[Delivery] = []
    end = time.monotonic() + SOON_SECONDS
    while len(found) < count and time.monotonic() < end:
        found += (polled := reader.poll(seconds=0.1, at_most=100))
        if acknowledges:
            reader.acknowledge(polled)
    return found + reader.poll(seconds=0.05, at_most=100) if acknowledges else found


def numbers(deliveries: list[Delivery]) -> list[int]:
    """Return what messages say, in their order."""
    return [number_of(delivery) for delivery in deliveries]


class TransportContract:
    """What the relay and the consumers rely on."""

    @pytest.fixture
    def driver(self) -> Driver:
        """Return the driver of an empty server."""
        raise NotImplementedError

    def test_confirmed_message_arrives_whole(self, driver: Driver) -> None:
        reader = driver.subscribe("inventory")
        attributes = {"specversion": "1.0", "id": "1", "source": "/shop/é 漢", "type": "T", "datacontenttype": "a/b"}
        sent = Message(attributes=attributes, data=b'{"text":"' + "é漢".encode() * 40_000 + b'"}')
        assert driver.connect().send([Outgoing(topic="flow", message=sent)]) == [None]
        [found] = gather(reader, 1)
        assert (dict(found.message.attributes), found.message.data) == (attributes, sent.data)
        assert found.topic == "flow"

    def test_many_messages_are_confirmed_each(self, driver: Driver) -> None:
        reader = driver.subscribe("inventory")
        assert driver.connect().send([make(number) for number in range(250)]) == [None] * 250
        assert numbers(gather(reader, 250)) == list(range(250))

    def test_nothing_to_send_is_no_error(self, driver: Driver) -> None:
        assert driver.connect().send([]) == []

    def test_messages_of_one_key_keep_their_order(self, driver: Driver) -> None:
        reader, transport = driver.subscribe("inventory"), driver.connect()
        for number in range(0, 60, 2):
            transport.send([make(number, key="ORD-1"), make(number + 1, key="ORD-2")])
        found = gather(reader, 60)
        assert numbers([one for one in found if one.message.key == "ORD-1"]) == list(range(0, 60, 2))
        assert numbers([one for one in found if one.message.key == "ORD-2"]) == list(range(1, 60, 2))

    def test_late_group_begins_at_the_start(self, driver: Driver) -> None:
        transport = driver.connect()
        transport.declare(["flow"], [("payments", ["flow"]), ("inventory", ["flow"])])
        transport.send([make(1), make(2)])
        assert numbers(gather(driver.subscribe("inventory"), 2)) == [1, 2]

    def test_each_group_gets_every_message(self, driver: Driver) -> None:
        readers = [driver.subscribe("inventory"), driver.subscribe("shipping")]
        driver.connect().send([make(1), make(2)])
        assert [numbers(gather(reader, 2)) for reader in readers] == [[1, 2], [1, 2]]

    def test_readers_of_one_group_share_its_messages(self, driver: Driver) -> None:
        readers = [driver.subscribe("inventory"), driver.subscribe("inventory")]
        transport = driver.connect()
        found: list[int] = []
        for number in range(20):
            transport.send([make(number, key=f"ORD-{number}")])
            for reader in readers:
                found += numbers(gather_now(reader))
        end = time.monotonic() + SOON_SECONDS
        while len(found) < 20 and time.monotonic() < end:
            found += [number for reader in readers for number in numbers(gather_now(reader))]
        assert sorted(found) == list(range(20))

    def test_reader_of_several_topics_names_them_without_prefix(self, driver: Driver) -> None:
        reader = driver.subscribe("inventory", "OrderCreated", "OrderCancelled", prefix="staging.")
        driver.connect(prefix="staging.").send([make(1, topic="OrderCreated"), make(2, topic="OrderCancelled")])
        assert sorted((one.topic, number_of(one)) for one in gather(reader, 2)) == [
            ("OrderCancelled", 2), ("OrderCreated", 1),
        ]  # fmt: skip

    def test_environments_share_a_broker_by_prefix(self, driver: Driver) -> None:
        readers = [driver.subscribe("inventory", prefix=prefix) for prefix in ("", "staging.")]
        driver.connect().send([make(1)])
        driver.connect(prefix="staging.").send([make(2)])
        assert [numbers(gather(reader, 1)) for reader in readers] == [[1], [2]]

    def test_poll_returns_nothing_once_its_time_is_over(self, driver: Driver) -> None:
        reader, begin = driver.subscribe("inventory"), time.monotonic()
        assert reader.poll(seconds=0.2, at_most=100) == []
        assert 0.1 <= time.monotonic() - begin <= SOON_SECONDS

    def test_poll_returns_at_once_what_arrives_meanwhile(self, driver: Driver) -> None:
        reader, transport = driver.subscribe("inventory"), driver.connect(send_timeout=timedelta(seconds=10))
        reader.poll(seconds=0.05, at_most=1)
        sender = threading.Timer(0.2, lambda: transport.send([make(1)]))
        sender.start()
        begin = time.monotonic()
        found = reader.poll(seconds=60, at_most=100) or gather(reader, 1)
        assert (numbers(found), time.monotonic() - begin < 5) == ([1], True)
        sender.join()

    def test_poll_returns_no_more_than_asked_for(self, driver: Driver) -> None:
        reader = driver.subscribe("inventory")
        driver.connect().send([make(1), make(2), make(3)])
        assert numbers(reader.poll(seconds=5, at_most=1)) == [1]

    def test_what_a_dead_process_left_comes_again(self, driver: Driver) -> None:
        dead = driver.subscribe("inventory")
        driver.connect().send([make(1), make(2)])
        first = gather(dead, 2, acknowledges=False)
        dead.acknowledge(first[:1])
        driver.abandon(dead)
        [again] = gather(driver.subscribe("inventory", is_hasty=True), 1)
        assert (number_of(again), again.position) == (2, first[1].position)
        if driver.counts_deliveries:
            assert ([one.deliveries for one in first], again.deliveries) == ([1, 1], 2)

    def test_what_comes_again_comes_singly(self, driver: Driver) -> None:
        """A deadly message condemns none that was delivered with it."""
        reader = driver.subscribe("inventory")
        driver.connect().send([make(number) for number in (1, 2, 3)])
        gather(reader, 3, acknowledges=False)
        for _ in range(2):  # it kills two further processes
            driver.abandon(reader)
            reader = driver.subscribe("inventory", is_hasty=True)
            assert numbers(gather(reader, 1, acknowledges=False)) == [1]
        driver.abandon(reader)
        found = gather(driver.subscribe("inventory", is_hasty=True), 3)
        assert numbers(found) == [1, 2, 3]
        if driver.counts_deliveries:
            assert [one.deliveries for one in found] == [4, 2, 2]

    def test_acknowledged_messages_never_come_again(self, driver: Driver) -> None:
        reader = driver.subscribe("inventory", is_hasty=True)
        driver.connect().send([make(1), make(2)])
        gather(reader, 2)
        reader.close()
        again = driver.subscribe("inventory", is_hasty=True)
        time.sleep(3 * SHORT_IDLE_MS / 1000)
        assert (again.poll(seconds=0.1, at_most=10), again.read_lag()) == ([], 0)

    def test_reader_that_leaves_gives_back_what_it_has(self, driver: Driver) -> None:
        reader = driver.subscribe("inventory")
        driver.connect().send([make(1)])
        gather(reader, 1, acknowledges=False)
        reader.close()
        assert numbers(gather(driver.subscribe("inventory", is_hasty=True), 1)) == [1]

    def test_acknowledging_what_is_gone_is_no_error(self, driver: Driver) -> None:
        reader = driver.subscribe("inventory")
        driver.connect().send([make(1)])
        found = gather(reader, 1)
        reader.acknowledge(found)
        reader.acknowledge([])
        driver.lose_everything()
        reader.acknowledge(found)

    def test_broker_that_lost_everything_is_used_again(self, driver: Driver) -> None:
        reader, transport = driver.subscribe("inventory"), driver.connect()
        transport.send([make(1)])
        gather(reader, 1)
        driver.lose_everything()
        transport.send([make(2)])
        assert numbers(gather(reader, 1)) == [2]

    def test_lag_counts_what_is_not_acknowledged(self, driver: Driver) -> None:
        reader = driver.subscribe("inventory")
        lags = [reader.read_lag()]
        driver.connect().send([make(1), make(2), make(3)])
        lags.append(reader.read_lag())
        found = gather(reader, 3, acknowledges=False)
        lags.append(reader.read_lag())
        reader.acknowledge(found)
        assert [*lags, reader.read_lag()] == [0, 3, 3, 0]

    def test_declare_creates_what_check_misses(self, driver: Driver) -> None:
        transport, wanted = driver.connect(), (["flow"], [("inventory", ["flow"])])
        assert [finding.is_error for finding in transport.check(*wanted)].count(True) >= 1
        assert transport.declare(*wanted) != []
        assert [finding for finding in transport.check(*wanted) if finding.is_error] == []
        assert transport.declare(*wanted) == []

    def test_check_changes_nothing(self, driver: Driver) -> None:
        transport, wanted = driver.connect(), (["flow"], [("inventory", ["flow"])])
        assert transport.check(*wanted) == transport.check(*wanted)

    def test_trimming_deletes_nothing_that_a_group_needs(self, driver: Driver) -> None:
        wanted = (["flow"], [("inventory", ["flow"]), ("shipping", ["flow"])])
        transport, reader = driver.connect(), driver.subscribe("inventory")
        transport.declare(*wanted)
        transport.send([make(number) for number in range(300)])
        gather(reader, 300)
        transport.trim(*wanted)
        assert numbers(gather(driver.subscribe("shipping"), 300)) == list(range(300))

    def test_connections_may_be_closed_twice(self, driver: Driver) -> None:
        reader, transport = driver.subscribe("inventory"), driver.connect()
        transport.send([make(1)])
        for connection in (reader, transport, reader, transport):
            connection.close()

    @pytest.mark.parametrize("disturbance", ["stop", "freeze"])
    def test_absent_broker_is_said_to_be_away(self, driver: Driver, disturbance: str) -> None:
        hurt, heal = {"stop": (driver.stop, driver.start), "freeze": (driver.freeze, driver.thaw)}[disturbance]
        transport, reader = driver.connect(), driver.subscribe("inventory")
        wanted = (["flow"], [("inventory", ["flow"])])
        transport.send([make(1)])
        gather(reader, 1)
        hurt()
        begin = time.monotonic()
        try:
            calls: list[Callable[[], Any]] = [
                lambda: transport.send([make(2)]), lambda: reader.poll(seconds=0.1, at_most=1), reader.read_lag,
                lambda: transport.declare(*wanted), lambda: transport.check(*wanted), lambda: transport.trim(*wanted),
                lambda: driver.subscribe("inventory"),
            ]  # fmt: skip
            for call in calls:
                with pytest.raises(BrokerAway):
                    call()
            assert time.monotonic() - begin < 4 * len(calls)
        finally:
            heal()
        assert transport.send([make(3)]) == [None]
        assert 3 in numbers(gather(reader, 2 if disturbance == "freeze" else 1))

    def test_full_broker_is_away_and_takes_messages_again(self, driver: Driver) -> None:
        transport, reader = driver.connect(), driver.subscribe("inventory")
        driver.fill()
        try:
            with pytest.raises(BrokerAway):
                transport.send([make(1)])
        finally:
            driver.drain()
        assert transport.send([make(2)]) == [None]
        assert numbers(gather(reader, 1)) == [2]

    def test_refused_message_stops_no_other(self, driver: Driver) -> None:
        reader = driver.subscribe("inventory")
        driver.refuse("Refused")
        messages = [make(1), make(2, topic="Refused", event_type="Refused"), make(3)]
        first, second, third = driver.connect().send(messages)
        assert (first, third) == (None, None)
        assert isinstance(second, SendRefused)
        assert numbers(gather(reader, 2)) == [1, 3]

    def test_both_modes_of_cloudevents_are_read(self, driver: Driver) -> None:
        reader = driver.subscribe("inventory")
        attributes = {
            "specversion": "1.0", "id": "E-1", "source": "/shop/payments/ORD-1", "type": "T", "partitionkey": "ORD-1",
        }  # fmt: skip
        structured = json.dumps({**attributes, "data": {"orderId": "ORD-1"}}).encode()
        driver.write("flow", attributes, b'{"orderId": "ORD-1"}')
        driver.write("flow", {"datacontenttype": "application/cloudevents+json; charset=utf-8"}, structured)
        one, other = [read_message(found.message, max_bytes=9999) for found in gather(reader, 2)]
        assert one == other
        assert (one.id, one.key, one.data) == ("E-1", "ORD-1", {"orderId": "ORD-1"})

    def test_bare_message_is_known_by_its_place(self, driver: Driver) -> None:
        reader = driver.subscribe("inventory")
        for _ in range(2):
            driver.write("flow", {}, b'{"orderId": "ORD-1"}')
        found = gather(reader, 2)
        assert [one.message.data for one in found] == [b'{"orderId": "ORD-1"}'] * 2
        assert len({one.position for one in found}) == 2
        read = read_bare(
            found[0].message.data, message_id=found[0].position, event_type="T", key_field="orderId", source="/shop/x",
            max_bytes=99,
        )  # fmt: skip
        assert (read.id, read.key, read.is_bare) == (found[0].position, "ORD-1", True)

    @pytest.mark.parametrize("layout", ["flow", "type"])
    def test_event_goes_from_its_sender_to_its_handler(
        self, driver: Driver, flow: world.Behaviour, event_settings: Any, layout: str
    ) -> None:
        event_settings(URL=driver.url, OPTIONS=driver.options(), LAYOUT=layout, PREFIX="staging.")
        world.send(world.Paid(order_id="ORD-1"), world.Voided(order_id="ORD-1"), world.Noticed(text="hello"))
        assert world.consume() == {Result.HANDLED: 3}
        assert [(row.type, row.topic) for row in sorted(world.inbox(), key=lambda row: row.type)] == [
            (name, "tests" if layout == "flow" else name) for name in ("TestNoticed", "TestPaid", "TestVoided")
        ]
        assert sorted(world.list_effects()) == [("ORD-1", "paid"), ("ORD-1", "voided")]
        assert catalogue.subscription_of(world.CONSUMER).topics == (
            ("tests",) if layout == "flow" else ("TestNoticed", "TestPaid", "TestVoided")
        )


def gather_now(reader: Consumer) -> list[Delivery]:
    """Return and acknowledge what is there."""
    found = reader.poll(seconds=0.01, at_most=1)
    reader.acknowledge(found)
    return found
