"""Events over a broker of this process, and a tracker that knows the test's choreography."""

from collections.abc import Iterator
from typing import Any

import pytest

from sagas import clock
from sagas.choreography import tracker
from sagas.events import handlers, relay
from tests.events.conftest import broker, event_settings, url

from . import world

__all__ = ["broker", "event_settings", "url"]


@pytest.fixture
def sales(transactional_db: None, event_settings: Any) -> Iterator[world.Decider]:
    """Run a test with an empty outbox and inbox, and a decider that does as it is told."""
    world.decider.__init__()  # type: ignore[misc]
    tracker.subscribe()
    with clock.restored():
        yield world.decider
    relay.close_transport()
    handlers.forget(tracker.track)
    tracker.subscribe()
