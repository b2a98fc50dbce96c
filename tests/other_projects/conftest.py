"""Fixtures: databases for each setting, and the other project with the wheel installed."""

import os
from collections.abc import Iterator

import pytest

from tests.packaging.conftest import wheel
from tests.packaging.environments import make_environment
from tests.servers import SERVER_VARIABLE

from .run import BESIDE
from .testbed import Testbed, open_testbed

__all__ = ["testbed", "wheel"]


@pytest.fixture(scope="session")
def testbed(wheel: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    """Set up the project with an environment for each PostgreSQL driver."""
    home = tmp_path_factory.mktemp("foreign")
    pythons = {driver: make_environment(home / driver, wheel, *beside) for driver, beside in BESIDE.items()}
    with open_testbed(home / "project", pythons, os.environ[SERVER_VARIABLE]) as opened:
        yield opened
