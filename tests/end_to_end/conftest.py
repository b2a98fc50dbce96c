"""Fixtures: the whole project with its own databases, a broker, and processes to start and to kill.

What takes seconds to start is shared: by the tests of one module a shop with a worker, for tests that harm nothing,
and by those of one process a shop without, for tests that start, and harm, their own workers.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from config.local.valkey import LocalValkey, start_valkey
from tests.servers import count_databases

from .blueprints import FOUR_DATABASES, ONE_DATABASE, Blueprints, open_blueprints
from .shops import Broker, Shop
from .stops.points import Marks


@pytest.fixture(scope="session")
def blueprints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blueprints]:
    """Provide copies of migrated and seeded databases."""
    with open_blueprints(lambda: tmp_path_factory.mktemp("blueprints")) as opened:
        yield opened


@pytest.fixture
def broker() -> Iterator[LocalValkey]:
    """Run a Valkey that a test may pause, flush or kill; ``start_valkey(broker.port)`` restarts a killed one."""
    server = start_valkey()
    yield server
    server.process.stop()


@pytest.fixture
def project(blueprints: Blueprints, broker: LocalValkey, tmp_path: Path) -> Iterator[object]:
    """Describe the seeded project on this test's own databases and broker; its processes end with it."""
    with blueprints.copy(count_databases(), broker.url, tmp_path) as copied:
        yield copied


@contextmanager
def open_shop(blueprints: Blueprints, count: int, directory: Path) -> Iterator[Shop]:
    """Start broker and web server on their own databases, and log the customer in."""
    with ExitStack() as stack:
        brokers = [start_valkey()]
        # Stopped last: a stopping worker notifies its broker.
        stack.callback(lambda: [broker.process.stop() for broker in brokers])
        yield stack.enter_context(open_shop_on(brokers, blueprints, count, directory))


@contextmanager
def open_shop_on(brokers: list[Broker], blueprints: Blueprints, count: int, directory: Path) -> Iterator[Shop]:
    """Start the web server of a shop on an existing broker."""
    with blueprints.copy(count, brokers[-1].url, directory) as project:
        _, client = project.start_web(threads=12)
        yield Shop(project=project, brokers=brokers, client=client.log_in("customer", "customer"))


# Four databases cover all commits of a single one, and more.
SHOPS = [
    pytest.param(ONE_DATABASE, id="one-database", marks=pytest.mark.full),
    pytest.param(FOUR_DATABASES, id="four-databases"),
]


@pytest.fixture(scope="module", params=SHOPS)
def shop(
    request: pytest.FixtureRequest, blueprints: Blueprints, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """Run a complete shop, for tests that harm nothing."""
    with open_shop(blueprints, request.param, tmp_path_factory.mktemp("shop")) as opened:
        opened.start_worker(concurrency=2)
        yield opened


@pytest.fixture(scope="session")
def shared_quiet_shop(blueprints: Blueprints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Run a shop without workers."""
    with open_shop(blueprints, ONE_DATABASE, tmp_path_factory.mktemp("quiet")) as opened:
        yield opened


@pytest.fixture
def quiet_shop(shared_quiet_shop: Shop) -> Iterator[Shop]:
    """Provide a shop for a test that starts its own workers and must leave all orders closed."""
    shop = shared_quiet_shop
    yield shop
    shop.stop_workers()


@pytest.fixture
def four_databases_shop(blueprints: Blueprints, tmp_path: Path) -> Iterator[Shop]:
    """Run a shop without workers whose participants have their own databases."""
    with open_shop(blueprints, FOUR_DATABASES, tmp_path) as opened:
        yield opened


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    """Provide the directory where stopped workers and the test exchange files."""
    directory = tmp_path / "marks"
    directory.mkdir()
    return Marks(directory=directory)
