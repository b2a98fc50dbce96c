"""Fixtures: a testbed for harming servers; tests that only harm workers share the acceptance tests' shop."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from orders.seed import seed_shop
from sagas import clock
from tests.depth import IS_FULL
from tests.end_to_end.conftest import blueprints, broker, marks, project, quiet_shop, shared_quiet_shop  # noqa: F401

from .testbed import Testbed, open_testbed


@pytest.fixture(scope="session")
def shared_testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    """Run a shop on its own servers."""
    with open_testbed(tmp_path_factory.mktemp("testbed")) as opened:
        yield opened


@pytest.fixture
def testbed(shared_testbed: Testbed) -> Iterator[Testbed]:
    """Provide the testbed for a test that starts its own workers; it must leave every server running."""
    yield shared_testbed
    shared_testbed.shop.stop_workers()


@pytest.fixture
def customer(transactional_db: None) -> Iterator[Any]:
    """Seed the shop in this process's own database, and return its customer."""
    with clock.restored():
        seed_shop()
        yield get_user_model().objects.get(username="customer")


@pytest.fixture(scope="session")
def is_full() -> bool:
    """Return whether to repeat everything as often as promised (``make chaos``), not as time allows."""
    return IS_FULL
