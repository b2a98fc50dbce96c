"""The contract of transports on a real Valkey, with and without an append-only file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .transport_contract import Driver, TransportContract
from .valkey_driver import ValkeyDriver

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


@pytest.fixture(scope="module", params=["in-memory", "on-disk"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyDriver]:
    """Run a server for the tests of this module."""
    folder: Path | None = tmp_path_factory.mktemp("valkey") if request.param == "on-disk" else None
    driver = ValkeyDriver(folder)
    yield driver
    driver.stop()


class TestRedis(TransportContract):
    """The contract of transports, over Redis Streams."""

    @pytest.fixture
    def driver(self, server: ValkeyDriver) -> Driver:
        server.lose_everything()
        return server
