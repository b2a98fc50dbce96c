"""Fixtures that several suites share: the wheel, and the other project with the wheel installed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.environments import build_wheel, make_environment
from tests.servers import SERVER_VARIABLE

from .run import BESIDE
from .testbed import Testbed, open_testbed


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    return build_wheel(tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def testbed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    """Set up the project with an environment for each PostgreSQL driver."""
    home = tmp_path_factory.mktemp("foreign")
    pythons = {driver: make_environment(home / driver, wheel, *beside) for driver, beside in BESIDE.items()}
    with open_testbed(home / "project", pythons, os.environ[SERVER_VARIABLE]) as opened:
        yield opened
