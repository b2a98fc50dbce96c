"""Fixtures: an environment that holds the wheel, and an empty database."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import SERVER_VARIABLE

from .environments import make_environment, new_database

# The tiny project's choice of a driver; all else must come from the wheel's requirements.
DRIVER = "psycopg[binary]"


@pytest.fixture(scope="session")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel, and only what it requires, into its own environment.

    Returns: the environment's interpreter.
    """
    return make_environment(tmp_path_factory.mktemp("clean"), wheel, DRIVER)


@pytest.fixture(scope="session")
def tiny_database() -> Iterator[dict[str, str]]:
    """Create an empty database on the run's server.

    Returns: its settings for the tiny project.
    """
    with new_database(os.environ[SERVER_VARIABLE], "tiny") as parameters:
        yield parameters
