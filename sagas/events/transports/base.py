"""Contract of a transport. Topics are given without the prefix of the environment, which the transport adds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..cloudevents import Message
from ..errors import SendRefused


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """Message for a topic."""

    topic: str
    message: Message


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Message as one consumer got it."""

    topic: str
    position: str
    """Where the broker has it, unique in its topic as long as that exists; the id of bare messages."""
    message: Message
    deliveries: int
    """How often it was delivered to this consumer, this time included; 0: the broker does not count."""
    handle: object
    """What the transport needs to acknowledge it."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Difference between what a transport needs and what the broker has."""

    what: str
    todo: str
    is_error: bool = True


class Consumer(Protocol):
    """One consumer's connection: reads its topics, in the order of each topic as far as the broker keeps one."""

    def poll(self, *, seconds: float, at_most: int) -> list[Delivery]:
        """Return new deliveries, at once or within ``seconds``; unacknowledged ones of dead processes come again.

        Raises: BrokerAway.
        """
        ...

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Confirm that deliveries need not come again. A failure is no error: they come again as duplicates."""
        ...

    def read_lag(self) -> int | None:
        """Return how many messages of its topics this consumer has not acknowledged; None if the broker cannot tell.

        Raises: BrokerAway.
        """
        ...

    def close(self) -> None:
        """Leave, so that others get what is unacknowledged."""
        ...


class Transport(Protocol):
    """Connection to a broker, used by one thread."""

    def send(self, messages: Sequence[Outgoing]) -> list[SendRefused | None]:
        """Send messages and wait for the broker's confirmation of each.

        Returns: for each message None once it is confirmed, or why the broker refuses it.
        Raises: BrokerAway when nothing is known of one or more of them; all count as unsent then.
        """
        ...

    def declare(self, topics: Sequence[str], subscriptions: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
        """Create the topics and consumers' groups or queues that are missing. Each subscription: consumer, topics.

        Returns: a sentence for each thing created.
        Raises: BrokerAway.
        """
        ...

    def check(self, topics: Sequence[str], subscriptions: Sequence[tuple[str, Sequence[str]]]) -> list[Finding]:
        """Return what is missing or endangers messages, without changing anything.

        Raises: BrokerAway.
        """
        ...

    def trim(self, topics: Sequence[str], subscriptions: Sequence[tuple[str, Sequence[str]]]) -> int:
        """Delete messages that every consumer has acknowledged, where the broker does not do so by itself.

        Returns: how many.
        Raises: BrokerAway.
        """
        ...

    def subscribe(self, consumer: str, topics: Sequence[str], *, instance: str) -> Consumer:
        """Return a new connection that reads topics for a consumer; ``instance`` names this process.

        Raises: BrokerAway.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...
