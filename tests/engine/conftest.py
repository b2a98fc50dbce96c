"""Give every engine test a world of its own, and check the invariants of whatever it left in the database."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import connections

from sagas import clock
from sagas.core.definition import registry
from sagas.models import Saga
from sagas.testing import find_violations

from .situations import start
from .world import CREATE_LEDGER, ENGINE, World


@pytest.fixture(autouse=True)
def _own_definitions() -> Iterator[None]:
    """Forget a test's definitions, and put the engine's clock back."""
    with registry.preserved(), clock.restored():
        yield


@pytest.fixture(autouse=True)
def _invariants(request: pytest.FixtureRequest, _own_definitions: None) -> Iterator[None]:
    """Check what rows tell of I1 to I9 of every saga that a test leaves behind."""
    if request.node.get_closest_marker("django_db") is None:
        yield
        return
    request.getfixturevalue("_django_db_helper")
    yield
    found = {str(pk): find_violations(pk) for pk in Saga.objects.values_list("pk", flat=True)}
    assert {pk: violations for pk, violations in found.items() if violations} == {}


@pytest.fixture(scope="session")
def ledgers(django_db_setup: None, django_db_blocker: Any) -> None:
    """Create the table of effects beside every participant's data."""
    with django_db_blocker.unblock():
        for alias in connections:
            with connections[alias].cursor() as cursor:
                cursor.execute(CREATE_LEDGER)


@pytest.fixture
def world(ledgers: None, request: pytest.FixtureRequest) -> Iterator[World]:
    """Play every participant, and check I7 of all calls; effects are gone after the test."""
    request.getfixturevalue("_django_db_helper")
    played = World()
    yield played
    changed = played.find_changed_calls()
    for alias in list_written():
        with connections[alias].cursor() as cursor:
            cursor.execute("DELETE FROM engine_test_ledger")
    assert changed == []


def list_written() -> list[str]:
    """Return the aliases that a test may write to: not those of replicas."""
    return [alias for alias in connections if not connections[alias].settings_dict["TEST"]["MIRROR"]]


@pytest.fixture
def saga(world: World) -> Saga:
    """Start a saga with a step of each kind; a module that needs another one has its own."""
    return start(world)


@pytest.fixture(scope="module")  # it must stand before pytest-django looks which databases a test may use
def inventory_apart(django_db_setup: None) -> Iterator[str]:
    """Give the participant *inventory* a database of its own, also where the run has only one.

    There it is the same database through a connection of its own, which commits for itself: what the engine sees of
    a second database.
    Returns: its alias.
    """
    if "inventory" in settings.DATABASES:
        yield "inventory"
        return
    connections.settings["inventory"] = {**connections[ENGINE].settings_dict}
    try:
        yield "inventory"
    finally:
        connections["inventory"].close()
        del connections["inventory"]
        del connections.settings["inventory"]
