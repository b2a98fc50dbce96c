"""Transport within one process, for tests: topics are lists, which end with the process."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from ..errors import BrokerAway, SendRefused
from ..settings import EventSettings
from .base import Consumer, Delivery, Finding, Outgoing, Transport

POLL_SECONDS = 0.01


@dataclass
class _Group:
    """One consumer's place in one topic."""

    read: int = 0
    pending: dict[int, int] = field(default_factory=dict)
    """Number of deliveries of each unacknowledged message, by its index."""
    returned: list[int] = field(default_factory=list)
    """Messages of processes that left without acknowledging them."""


class Broker:
    """Topics and groups of one name; tests reach in to lose messages or to be away."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.topics: dict[str, list[Outgoing]] = {}
        self.groups: dict[tuple[str, str], _Group] = {}
        self.is_away = False
        self.refuses: set[str] = set()
        """Event types that are refused."""

    def forget_everything(self) -> None:
        """Lose all topics and groups, as a flushed broker does."""
        with self.lock:
            self.topics, self.groups = {}, {}


_brokers: dict[str, Broker] = {}


def get_broker(url: str = "memory://") -> Broker:
    """Return the broker of a URL."""
    return _brokers.setdefault(url, Broker())


def make_transport(settings: EventSettings) -> Transport:
    """Return a connection to the broker of this process."""
    return MemoryTransport(get_broker(settings.url), settings.prefix)


class MemoryTransport:
    """Connection to a broker of this process."""

    def __init__(self, broker: Broker, prefix: str) -> None:
        self._broker, self._prefix = broker, prefix

    def send(self, messages: Sequence[Outgoing]) -> list[SendRefused | None]:
        """Append messages to their topics."""
        _require_present(self._broker)
        answers: list[SendRefused | None] = []
        with self._broker.lock:
            for outgoing in messages:
                if outgoing.message.attributes.get("type") in self._broker.refuses:
                    answers.append(SendRefused("The broker of this process was told to refuse this type."))
                    continue
                self._broker.topics.setdefault(self._prefix + outgoing.topic, []).append(outgoing)
                answers.append(None)
        return answers

    def declare(self, topics: Sequence[str], subscriptions: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
        """Create topics and groups."""
        _require_present(self._broker)
        made = []
        with self._broker.lock:
            for topic in topics:
                if self._prefix + topic not in self._broker.topics:
                    self._broker.topics[self._prefix + topic] = []
                    made.append(f"Topic {self._prefix}{topic} created.")
            for consumer, wanted in subscriptions:
                for topic in wanted:
                    self._broker.groups.setdefault((consumer, self._prefix + topic), _Group())
        return made

    def check(self, topics: Sequence[str], subscriptions: Sequence[tuple[str, Sequence[str]]]) -> list[Finding]:
        """Report missing topics."""
        _require_present(self._broker)
        return [
            Finding(what=f"Topic {self._prefix}{topic} does not exist.", todo="Run event_topics --create.")
            for topic in topics
            if self._prefix + topic not in self._broker.topics
        ]

    def trim(self, topics: Sequence[str], subscriptions: Sequence[tuple[str, Sequence[str]]]) -> int:
        """Keep everything: positions are places in a list."""
        _require_present(self._broker)
        return 0

    def subscribe(self, consumer: str, topics: Sequence[str], *, instance: str) -> Consumer:
        """Return a reader of topics."""
        _require_present(self._broker)
        return _MemoryConsumer(self._broker, consumer, [(topic, self._prefix + topic) for topic in topics])

    def close(self) -> None:
        """Nothing is open."""


class _MemoryConsumer:
    """Reader of one consumer."""

    def __init__(self, broker: Broker, consumer: str, topics: list[tuple[str, str]]) -> None:
        self._broker, self._consumer, self._topics = broker, consumer, topics
        self._taken: set[tuple[str, int]] = set()

    def poll(self, *, seconds: float, at_most: int) -> list[Delivery]:
        """Return what is new."""
        end = time.monotonic() + seconds
        while True:
            _require_present(self._broker)
            if found := self._take(at_most):
                return found
            if time.monotonic() >= end:
                return []
            time.sleep(POLL_SECONDS)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Forget deliveries."""
        with self._broker.lock:
            for delivery in deliveries:
                name, index = cast("tuple[str, int]", delivery.handle)
                self._group(name).pending.pop(index, None)
                self._taken.discard((name, index))

    def read_lag(self) -> int | None:
        """Return how many messages are unread or unacknowledged."""
        _require_present(self._broker)
        with self._broker.lock:
            return sum(
                len(self._broker.topics.get(name, [])) - self._group(name).read + len(self._group(name).pending)
                for _, name in self._topics
            )

    def close(self) -> None:
        """Give back what is unacknowledged."""
        with self._broker.lock:
            for name, index in sorted(self._taken):
                group = self._group(name)
                if index in group.pending:
                    group.returned = sorted({*group.returned, index})
            self._taken.clear()

    def _take(self, at_most: int) -> list[Delivery]:
        """Return one that comes again alone, because it may be deadly; else what is new."""
        with self._broker.lock:
            for topic, name in self._topics:
                if returned := self._group(name).returned:
                    return [self._deliver(topic, name, returned.pop(0))]
            found: list[Delivery] = []
            for topic, name in self._topics:
                group, count = self._group(name), len(self._broker.topics.get(name, []))
                while len(found) < at_most and group.read < count:
                    group.read += 1
                    found.append(self._deliver(topic, name, group.read - 1))
            return found

    def _deliver(self, topic: str, name: str, index: int) -> Delivery:
        group = self._group(name)
        group.pending[index] = group.pending.get(index, 0) + 1
        self._taken.add((name, index))
        return Delivery(
            topic=topic,
            position=str(index),
            message=self._broker.topics[name][index].message,
            deliveries=group.pending[index],
            handle=(name, index),
        )

    def _group(self, name: str) -> _Group:
        return self._broker.groups.setdefault((self._consumer, name), _Group())


def _require_present(broker: Broker) -> None:
    if broker.is_away:
        raise BrokerAway("The broker of this process was told to be away.")
