"""Relay and consumer, disturbed at every statement: each event has one effect, and leads to one further event."""

import itertools
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connections, transaction
from django.test import override_settings

from sagas import clock
from sagas.events import catalogue, publish, relay, transports
from sagas.events.transports.base import Transport
from tests.events import world
from tests.events.valkey_driver import ValkeyDriver

from .databases import each_on
from .enumeration import Path, fail_everywhere, kill_everywhere, map_points, share_of, slice_of
from .points import Event, Failure, Kind, Watched
from .shop import fetch

DISTURBANCES = [Failure.DEADLOCK, Failure.SERIALIZATION, Failure.SHUTDOWN]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyDriver]:
    """Run a broker that outlives the processes."""
    driver = ValkeyDriver(None)
    yield driver
    driver.stop()


@pytest.fixture
def path(databases: int, server: ValkeyDriver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path[str]]:
    """Describe the way of one event: sent by one participant, handled and answered by another."""
    server.lose_everything()
    world.behaviour.__init__()  # type: ignore[misc]
    with connections[catalogue.database_of(world.CONSUMER)].cursor() as cursor:
        cursor.execute("CREATE TABLE events_effect (id serial PRIMARY KEY, key text, what text)")
    connect = transports.make_transport
    monkeypatch.setattr(relay.transports, "make_transport", lambda: _watch(connect()))
    events: dict[str, Any] = {
        "URL": server.url, "SOURCE": "/shop", "RELAY_ON_COMMIT": False, "OPTIONS": server.options(is_hasty=True),
    }  # fmt: skip
    with override_settings(SAGAS={**settings.SAGAS, "EVENTS": events}):
        relay.close_transport()
        yield Path(name="event", prepare=_prepare, run=_run, recover=_recover, judge=_judge, least=20)
        relay.close_transport()


def _watch(transport: Transport) -> Any:
    transport.send = Watched("broker", transport).send  # type: ignore[method-assign]
    return transport


def _prepare() -> str:
    key = f"ORD-{next(_numbers)}"
    with transaction.atomic(using=catalogue.database_of(world.SENDER)):
        publish(world.Paid(order_id=key))
    return key


def _run(_: str) -> None:
    relay.close_transport()  # a forked process makes its own
    relay.relay_all(catalogue.database_of(world.SENDER))
    world.consume()


def _recover(_: str) -> None:
    clock.move(timedelta(minutes=2))  # beyond the lease of a relay that died
    relay.close_transport()
    relay.relay_all(catalogue.database_of(world.SENDER))
    world.consume()
    relay.relay_all(catalogue.database_of(world.CONSUMER))


def _judge(key: str) -> list[str]:
    there, here = (catalogue.database_of(participant) for participant in (world.SENDER, world.CONSUMER))
    found = {
        "effects": fetch(here, "SELECT what FROM events_effect WHERE key = %s", key),
        "inbox": fetch(here, "SELECT state, attempts FROM sagas_inboxevent WHERE key = %s", key),
        "sent": fetch(there, "SELECT state, attempts FROM sagas_outboxevent WHERE key = %s AND type = 'TestPaid'", key),
        "answers": fetch(here, "SELECT state FROM sagas_outboxevent WHERE key = %s AND type = 'TestStored'", key),
    }
    wanted = {"effects": [("paid",)], "inbox": [("handled", 0)], "sent": [("sent", 0)], "answers": [("sent",)]}
    return [json.dumps(found, default=str)] if {name: list(rows) for name, rows in found.items()} != wanted else []


@each_on("way", one=["event"], four=["event"], full=["event"])
def test_dead_process_loses_and_repeats_nothing(databases: int, path: Path[str], way: str, check: Any) -> None:
    points = map_points(path)
    numbers = slice_of(points) if databases == 1 else share_of(path, slice_of(points))
    check(path, "killed", kill_everywhere(path, points, numbers))


@each_on("way", one=["event"], four=["event"], full=["event"])
def test_failing_statement_loses_and_repeats_nothing(databases: int, path: Path[str], way: str, check: Any) -> None:
    check(path, "statement failed", fail_everywhere(path, DISTURBANCES, _is_statement))


def _is_statement(event: Event) -> bool:
    return event.kind is Kind.STATEMENT


@each_on("way", one=["event"], four=["event"], full=["event"])
def test_failing_commit_loses_and_repeats_nothing(databases: int, path: Path[str], way: str, check: Any) -> None:
    failures = [Failure.ANSWER_LOST, Failure.DROPPED]
    check(path, "commit failed", fail_everywhere(path, failures, lambda event: event.is_commit, in_every_way=True))
