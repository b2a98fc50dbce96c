"""A broker of this process, and a table of effects."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from sagas import clock
from sagas.core.retry import RetryPolicy
from sagas.events import catalogue, relay
from sagas.events.transports.memory import Broker, get_broker

from . import world

EVENTS: dict[str, Any] = {
    "LAYOUT": "flow",
    "SOURCE": "/shop",
    "RELAY_ON_COMMIT": False,
    "RETRY": RetryPolicy(attempts=3, base=1.0, cap=1.0, factor=1.0),
}


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
