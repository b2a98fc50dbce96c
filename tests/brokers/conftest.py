"""Give the tests of this directory the whole project on RabbitMQ."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import project, seeded_databases
from tests.servers_rabbitmq import LocalRabbit, start_rabbitmq

__all__ = ["broker", "project", "seeded_databases"]


@pytest.fixture
def broker() -> Iterator[LocalRabbit]:
    """Run a RabbitMQ that a test may kill; ``start_rabbitmq(broker.port)`` brings it back."""
    server = start_rabbitmq()
    yield server
    server.stop()
