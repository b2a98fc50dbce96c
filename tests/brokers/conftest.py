"""Fixtures: a shop on RabbitMQ, which all tests share because it starts slowly."""

from collections.abc import Iterator

import pytest

from tests.end_to_end.blueprints import ONE_DATABASE, Blueprints
from tests.end_to_end.conftest import blueprints, marks, open_shop_on, project
from tests.end_to_end.shops import Shop
from tests.servers_rabbitmq import LocalRabbit, start_rabbitmq

__all__ = ["blueprints", "broker", "marks", "project", "quiet_shop", "rabbits", "shop"]


@pytest.fixture(scope="session")
def rabbits() -> Iterator[list[LocalRabbit]]:
    """Run a RabbitMQ that a test may kill if it starts another one on the same port."""
    started = [start_rabbitmq()]
    yield started
    for rabbit in started:
        rabbit.stop()


@pytest.fixture(scope="session")
def shared_quiet_shop(
    rabbits: list[LocalRabbit], blueprints: Blueprints, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """Run a shop on RabbitMQ without workers."""
    with open_shop_on(rabbits, blueprints, ONE_DATABASE, tmp_path_factory.mktemp("quiet")) as opened:
        yield opened


@pytest.fixture
def quiet_shop(shared_quiet_shop: Shop) -> Iterator[Shop]:
    """Provide the shop for a test that starts its own workers; they are stopped after it."""
    yield shared_quiet_shop
    shared_quiet_shop.stop_workers()


@pytest.fixture(scope="module")
def shop(shared_quiet_shop: Shop) -> Iterator[Shop]:
    """Provide the shop, with a worker, for a module whose tests harm nothing."""
    shared_quiet_shop.start_worker(concurrency=2)
    yield shared_quiet_shop
    shared_quiet_shop.stop_workers()


@pytest.fixture
def broker(rabbits: list[LocalRabbit]) -> LocalRabbit:
    """Provide the broker for a test that has its own databases; the shop's workers ignore its wake-ups."""
    return rabbits[-1]
