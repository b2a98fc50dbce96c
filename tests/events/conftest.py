"""A broker of this process, and a table of effects."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from sagas import clock
from sagas.core.retry import RetryPolicy
from sagas.events import catalogue, declaration, handlers, relay
from sagas.events.transports.memory import Broker, get_broker

from . import world

EVENTS: dict[str, Any] = {
    "LAYOUT": "flow",
    "SOURCE": "/shop",
    "RELAY_ON_COMMIT": False,
    "RETRY": RetryPolicy(attempts=3, base=1.0, cap=1.0, factor=1.0),
}


@pytest.fixture
def whole_catalogue() -> None:
    """Ask for the events of the shop, too."""


@pytest.fixture(autouse=True)
def _only_events_of_tests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the events and handlers of the shop out of the catalogue."""
    if "whole_catalogue" in request.fixturenames:
        return
    declared = {name: one for name, one in declaration._by_name.items() if one.module.startswith("tests.")}
    monkeypatch.setattr(declaration, "_by_name", declared)
    monkeypatch.setattr(declaration, "_by_class", {one.schema: one for one in declared.values()})
    kept = [one for one in handlers._handlers if one.function.__module__.startswith("tests.")]
    monkeypatch.setattr(handlers, "_handlers", kept)


@pytest.fixture
def url() -> str:
    """Name a broker of this process that no other test uses."""
    return f"memory://{uuid.uuid4()}"


@pytest.fixture
def event_settings(settings: Any, url: str) -> Any:
    """Return a function that changes settings of events."""

    def change(**changes: Any) -> None:
        settings.SAGAS = {**settings.SAGAS, "EVENTS": {**EVENTS, "URL": url, **changes}}

    change()
    return change


@pytest.fixture
def broker(url: str) -> Broker:
    """Return the broker of this test."""
    return get_broker(url)


@pytest.fixture
def flow(transactional_db: None, event_settings: Any) -> Iterator[world.Behaviour]:
    """Run a test with an empty outbox and inbox, and handlers that do as they are told."""
    alias = catalogue.database_of(world.CONSUMER)
    with connections[alias].cursor() as cursor:
        cursor.execute("CREATE TABLE events_effect (id serial PRIMARY KEY, key text, what text)")
    world.behaviour.__init__()  # type: ignore[misc]
    with clock.restored():
        yield world.behaviour
    relay.close_transport()
    with connections[alias].cursor() as cursor:
        cursor.execute("DROP TABLE events_effect")
