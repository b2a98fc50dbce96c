"""The contract of transports in memory, and what the check says about it."""

import uuid

import pytest

from sagas.events.cloudevents import Message
from sagas.events.transports.base import Consumer, Outgoing
from sagas.events.transports.memory import get_broker

from .transport_contract import Driver, TransportContract

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


class MemoryDriver(Driver):
    """A broker of this process."""

    def __init__(self) -> None:
        self.url = f"memory://{uuid.uuid4()}"
        self._broker = get_broker(self.url)

    def abandon(self, reader: Consumer) -> None:
        reader.close()

    def write(self, topic: str, attributes: dict[str, str], body: bytes) -> None:
        message = Outgoing(topic=topic, message=Message(attributes=attributes, data=body))
        self._broker.topics.setdefault(topic, []).append(message)

    def refuse(self, topic: str) -> None:
        self._broker.refuses.add(topic)

    def lose_everything(self) -> None:
        self._broker.forget_everything()

    def stop(self) -> None:
        self._broker.is_away = True

    def start(self) -> None:
        self._broker.is_away = False

    freeze = fill = stop
    thaw = drain = start


class TestMemory(TransportContract):
    """The contract of transports, in memory."""

    @pytest.fixture
    def driver(self) -> Driver:
        return MemoryDriver()
