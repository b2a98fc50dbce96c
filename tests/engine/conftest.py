"""Fixtures of the engine tests: a world of their own, and an invariant check after each test."""

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
    """Forget the test's definitions and reset the engine's clock."""
    with registry.preserved(), clock.restored():
        yield


@pytest.fixture(autouse=True)
def _invariants(request: pytest.FixtureRequest, _own_definitions: None) -> Iterator[None]:
    """Check invariants I1 to I9 of every saga that the test leaves behind."""
    if request.node.get_closest_marker("django_db") is None:
        yield
        return
    request.getfixturevalue("_django_db_helper")
    yield
    found = {str(pk): find_violations(pk) for pk in Saga.objects.values_list("pk", flat=True)}
    assert {pk: violations for pk, violations in found.items() if violations} == {}


@pytest.fixture(scope="session")
def ledgers(django_db_setup: None, django_db_blocker: Any) -> None:
    """Create the table of effects in every participant's database."""
    with django_db_blocker.unblock():
        for alias in connections:
            with connections[alias].cursor() as cursor:
                cursor.execute(CREATE_LEDGER)


@pytest.fixture
def world(ledgers: None, request: pytest.FixtureRequest) -> Iterator[World]:
    """Create the participants, and check I7 of all calls; effects are deleted after the test."""
    request.getfixturevalue("_django_db_helper")
    played = World()
    yield played
    changed = played.find_changed_calls()
    for alias in list_written():
        with connections[alias].cursor() as cursor:
            cursor.execute("DELETE FROM engine_test_ledger")
    assert changed == []


def list_written() -> list[str]:
    """Return the aliases that a test may write to, without replicas."""
    return [alias for alias in connections if not connections[alias].settings_dict["TEST"]["MIRROR"]]


@pytest.fixture
def saga(world: World) -> Saga:
    """Start a saga with a step of each kind; modules that need another override it."""
    return start(world)


@pytest.fixture(scope="module")  # must run before pytest-django reads which databases a test may use
def inventory_alias(django_db_setup: None) -> Iterator[str]:
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
