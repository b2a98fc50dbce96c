"""A choreographed checkout whose worker or tracker is killed at every point: it ends as if nothing had happened."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from orders.models import Order
from sagas import clock
from sagas.events import catalogue, relay
from sagas.intents import performing
from sagas.models import InboxEvent, Intent
from tests.choreography_shop import shop
from tests.choreography_shop.shop import Ledgers
from tests.events.transport_contract import SHORT_IDLE_MS
from tests.events.valkey_driver import ValkeyDriver

from .databases import each_on
from .enumeration import Path, kill_everywhere, map_points, share_of, slice_of

ENDS_AS = Ledgers(status="confirmed", reason="", net_minor=2300, shipped=2, parcels=1)
OPEN_INBOX = ("retrying", "not_yet", "held", "dead", "parked")


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyDriver]:
    """Run a broker that outlives the processes."""
    driver = ValkeyDriver(None)
    yield driver
    driver.stop()


@pytest.fixture
def events(databases: int, server: ValkeyDriver) -> Iterator[None]:
    """Switch events on, over an empty broker."""
    server.lose_everything()
    given: dict[str, Any] = {
        "URL": server.url, "SOURCE": "/shop", "RELAY_ON_COMMIT": False, "OPTIONS": server.options(is_hasty=True),
    }  # fmt: skip
    with override_settings(SAGAS={**settings.SAGAS, "EVENTS": given}):
        shop.fill_shop()
        relay.close_transport()
        yield
        relay.close_transport()


def _prepare(*, is_charged: bool) -> Order:
    """Place an order up to the intent of its charge, or up to the event that tells the charge."""
    order = shop.place("choreography")
    _relay()
    shop.consume("payments")
    if is_charged:
        performing.perform_due()
        _relay()
    return order


def _perform(_: Order) -> None:
    performing.perform_due()


def _track(_: Order) -> None:
    shop.consume(catalogue.TRACKER)


def _relay() -> None:
    for alias in catalogue.event_databases():
        relay.relay_all(alias)


def _recover(order: Order) -> None:
    clock.move(timedelta(minutes=2))  # beyond the leases of a process that died
    time.sleep(2 * SHORT_IDLE_MS / 1000)  # what it had read comes again
    relay.close_transport()
    shop.run(order)


def _judge(order: Order) -> list[str]:
    saga = shop.find_saga(order)
    found: dict[str, Any] = {"saga": saga.state, "owed": saga.owed, "ledgers": shop.read_ledgers(order.number)}
    wanted: dict[str, Any] = {"saga": "completed", "owed": [], "ledgers": ENDS_AS}
    for alias in catalogue.event_databases():
        received = InboxEvent.objects.using(alias).filter(key=order.number, state__in=OPEN_INBOX)
        found[f"inbox {alias}"] = [f"{row.consumer} {row.type} {row.state} {row.error}" for row in received]
        asked = Intent.objects.using(alias).filter(key=order.number, closed_at=None)
        found[f"intents {alias}"] = [f"{row.definition} {row.step_state}" for row in asked]
    left = {place: what for place, what in found.items() if what != wanted.get(place, [])}
    return [json.dumps(left, default=str)] if left else []


def _describe(name: str, prepare: Callable[[], Order], run: Callable[[Order], None]) -> Path[Order]:
    return Path(name=name, prepare=prepare, run=run, recover=_recover, judge=_judge, least=12)


INTENT = _describe("charge by an intent", partial(_prepare, is_charged=False), _perform)
TRACKER = _describe("tracked event", partial(_prepare, is_charged=True), _track)


@each_on("path", one=[INTENT, TRACKER], full=[INTENT, TRACKER])
def test_killed_process_leaves_no_order_half_done(databases: int, events: None, path: Path[Order], check: Any) -> None:
    points = map_points(path)
    check(path, "killed", kill_everywhere(path, points, share_of(path, slice_of(points))))
