"""URLs of the pages about events, and events in a state that needs an operator."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.test import Client
from django.utils.http import urlencode

from sagas import clock
from sagas.events import catalogue, dead_count
from sagas.models import EventOperation, InboxEvent
from tests.events import world
from tests.events.world import Behaviour, Paid

from .pages import LIST

EVENTS = f"{LIST}events/"
ONE, DEAD, DELIVERY, CATALOGUE = (f"{EVENTS}{name}/" for name in ("one", "dead-letters", "delivery", "catalogue"))


@pytest.fixture(autouse=True)
def _count_anew() -> Iterator[None]:
    """Forget the number in the menu, which a process keeps for some seconds."""
    dead_count.forget()
    yield
    dead_count.forget()


def make_dead(flow: Behaviour, *keys: str) -> list[InboxEvent]:
    """Return events that are dead with inventory."""
    flow.fails.update({key: ValueError(f"no shelf for {key!r}") for key in keys})
    world.send(*(Paid(order_id=key) for key in keys))
    for _ in range(4):
        world.consume()
        clock.move(timedelta(seconds=2))
    rows = [row for row in world.inbox() if row.state == "dead"]
    assert len(rows) == len(keys)
    return rows


def link(row: InboxEvent, operation: str = "", consumer: str | None = world.CONSUMER) -> str:
    query = {"id": row.event_id, "source": row.source, **({"consumer": consumer} if operation and consumer else {})}
    return f"{ONE}{f'{operation}/' if operation else ''}?{urlencode(query)}"


def version_of(client: Client, address: str) -> str:
    return str(client.get(address).context["plan"].version)


def operated() -> list[tuple[str, str, str]]:
    rows = EventOperation.objects.using(catalogue.database_of(world.CONSUMER)).order_by("id")
    return [(row.actor, row.operation, row.reason) for row in rows]
