"""Give the tests of this directory a shop on RabbitMQ, which takes its seconds to start, so all share one."""

from collections.abc import Iterator

import pytest

from tests.end_to_end.blueprints import ONE_DATABASE, Blueprints
from tests.end_to_end.conftest import blueprints, marks, open_shop_on, project
from tests.end_to_end.shops import Shop
from tests.servers_rabbitmq import LocalRabbit, start_rabbitmq

__all__ = ["blueprints", "broker", "marks", "project", "quiet_shop", "rabbits", "shop"]


@pytest.fixture(scope="session")
def rabbits() -> Iterator[list[LocalRabbit]]:
    """Run a RabbitMQ that a test may kill if it puts another one, on the same port, behind it."""
    started = [start_rabbitmq()]
    yield started
    for rabbit in started:
        rabbit.stop()


@pytest.fixture(scope="session")
def shared_quiet_shop(
    rabbits: list[LocalRabbit], blueprints: Blueprints, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """Run a shop on RabbitMQ whose orders nobody works on."""
    with open_shop_on(rabbits, blueprints, ONE_DATABASE, tmp_path_factory.mktemp("quiet")) as opened:
        yield opened


@pytest.fixture
def quiet_shop(shared_quiet_shop: Shop) -> Iterator[Shop]:
    """Lend the shop to a test that starts workers of its own; they end with it."""
    yield shared_quiet_shop
    shared_quiet_shop.stop_workers()


@pytest.fixture(scope="module")
def shop(shared_quiet_shop: Shop) -> Iterator[Shop]:
    """Lend the shop, with a worker, to a module whose tests hurt nothing."""
    shared_quiet_shop.start_worker(concurrency=2)
    yield shared_quiet_shop
    shared_quiet_shop.stop_workers()


@pytest.fixture
def broker(rabbits: list[LocalRabbit]) -> LocalRabbit:
    """Lend the server to a test that has databases of its own; its wake-ups mean nothing to the shop's workers."""
    return rabbits[-1]
