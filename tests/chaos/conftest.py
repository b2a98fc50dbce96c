"""Give tests of hurt servers an estate of their own; where only workers are hurt they share acceptance's shop."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from orders.seed import seed_shop
from sagas import clock
from tests.acceptance.conftest import blueprints, broker, marks, project, quiet_shop, shared_quiet_shop  # noqa: F401
from tests.depth import IS_FULL

from .estate import Estate, open_estate


@pytest.fixture(scope="session")
def shared_estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """Run a shop on servers that are its own."""
    with open_estate(tmp_path_factory.mktemp("estate")) as opened:
        yield opened


@pytest.fixture
def estate(shared_estate: Estate) -> Iterator[Estate]:
    """Lend the estate to a test that starts workers of its own; it must leave every server at work."""
    yield shared_estate
    shared_estate.shop.stop_workers()


@pytest.fixture
def customer(transactional_db: None) -> Iterator[Any]:
    """Fill the shop of this process's own database, and give its customer."""
    with clock.restored():
        seed_shop()
        yield get_user_model().objects.get(username="customer")


@pytest.fixture(scope="session")
def is_full() -> bool:
    """Return whether everything is done as often as the promise says (``make chaos``), not as time allows."""
    return IS_FULL
