"""Events over a broker of this process, and a clock that tests may move."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from sagas import clock
from sagas.events import relay


@pytest.fixture
def events(settings: Any) -> Iterator[None]:
    """Switch events on; nothing is sent before a test relays it."""
    events = {"URL": f"memory://{uuid.uuid4()}", "SOURCE": "/shop", "RELAY_ON_COMMIT": False}
    settings.SAGAS = {**settings.SAGAS, "EVENTS": events}
    with clock.restored():
        yield
    relay.close_transport()
