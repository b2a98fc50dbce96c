"""Give each setting its databases and the foreign project, with the wheel installed as its users install it."""

import os
from collections.abc import Iterator

import pytest

from tests.packaging.conftest import wheel
from tests.packaging.environments import make_environment
from tests.servers import SERVER_VARIABLE

from .estate import Estate, open_estate
from .run import BESIDE

__all__ = ["estate", "wheel"]


@pytest.fixture(scope="session")
def estate(wheel: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """Put the project up beside an environment for each driver of PostgreSQL."""
    home = tmp_path_factory.mktemp("foreign")
    pythons = {driver: make_environment(home / driver, wheel, *beside) for driver, beside in BESIDE.items()}
    with open_estate(home / "project", pythons, os.environ[SERVER_VARIABLE]) as opened:
        yield opened
