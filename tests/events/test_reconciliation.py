"""Reconciliation: what a broker lost is sent again, and a consumer that merely lags makes nothing be sent again."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
import redis
from django.db import OperationalError

from sagas import clock
from sagas.events import catalogue, reconciliation, relay
from sagas.events.inbox import Result
from sagas.events.reconciliation import Reconciliation
from sagas.events.transports.memory import Broker
from sagas.models import EventConsumer, OutboxEvent

from . import world
from .world import Behaviour, Noticed, Paid

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def reconcile(minutes: float = 2) -> Reconciliation:
    """Compare the sender's outbox, some time later, and send what is due."""
    alias = catalogue.database_of(world.SENDER)
    clock.move(timedelta(minutes=minutes))
    found = Reconciliation(alias=alias)
    found.run()
    relay.relay_all(alias)
    return found


def beat(*, lag: int | None, seconds_ago: float = 1) -> None:
    """Write the heartbeat of a consumer's process."""
    alias = catalogue.database_of(world.CONSUMER)
    now = clock.read_now(alias)
    EventConsumer.objects.using(alias).update_or_create(
        consumer=world.CONSUMER,
        name="host:1",
        defaults={
            "transport": "memory", "started_at": now, "seen_at": now, "lag": lag,
            "lag_at": now - timedelta(seconds=seconds_ago),
        },
    )  # fmt: skip


def test_handled_event_is_settled_and_not_compared_again(flow: Behaviour) -> None:
    flow.answers = False
    world.send(Paid(order_id="ORD-1"))
    world.consume()
    assert reconcile().settled == 1
    [row] = world.outbox()
    assert row.settled_at is not None
    assert reconcile().settled == 0


def test_event_lost_by_the_broker_is_sent_again_once_a_later_one_was_handled(flow: Behaviour, broker: Broker) -> None:
    [lost] = world.send(Paid(order_id="ORD-1"))
    broker.forget_everything()
    clock.move(timedelta(seconds=1))
    world.send(Paid(order_id="ORD-2"))
    world.consume()
    assert [row.key for row in world.inbox()] == ["ORD-2"]

    assert reconcile().resent == 1
    world.consume()

    assert {(row.key, row.event_id) for row in world.inbox()} >= {("ORD-1", str(lost))}
    assert world.list_effects() == [("ORD-2", "paid"), ("ORD-1", "paid")]
    assert [row.resends for row in world.outbox()] == [1, 0]


def test_event_is_sent_again_to_a_consumer_without_lag(flow: Behaviour, broker: Broker) -> None:
    world.send(Paid(order_id="ORD-1"))
    broker.forget_everything()
    clock.move(timedelta(minutes=2))
    beat(lag=0)
    assert reconcile(0).resent == 1
    world.consume()
    assert world.list_effects() == [("ORD-1", "paid")]


def test_unordered_events_are_sent_again_too(flow: Behaviour, broker: Broker) -> None:
    world.send(Noticed(text="first"))
    broker.forget_everything()
    clock.move(timedelta(minutes=2))
    beat(lag=0)
    assert reconcile(0).resent == 1


@pytest.mark.parametrize("lag", [1, None])
def test_consumer_that_lags_makes_nothing_be_sent_again(flow: Behaviour, broker: Broker, lag: int | None) -> None:
    world.send(Paid(order_id="ORD-1"), Paid(order_id="ORD-2"))
    clock.move(timedelta(hours=3))
    beat(lag=lag)
    found = reconcile(0)
    assert (found.resent, found.settled) == (0, 0)
    assert [row.settled_at for row in world.outbox()] == [None, None]
    assert world.consume() == {Result.HANDLED: 2}


def test_consumer_that_was_never_seen_makes_nothing_be_sent_again(flow: Behaviour) -> None:
    world.send(Paid(order_id="ORD-1"))
    assert reconcile().resent == 0


def test_lag_that_was_read_before_the_confirmation_shows_nothing(flow: Behaviour, broker: Broker) -> None:
    world.send(Paid(order_id="ORD-1"))
    broker.forget_everything()
    clock.move(timedelta(minutes=2))
    beat(lag=0, seconds_ago=121)
    assert reconcile(0).resent == 0


def test_earlier_event_does_not_show_that_a_consumer_passed_a_later_one(flow: Behaviour, broker: Broker) -> None:
    world.send(Paid(order_id="ORD-1"))
    world.consume()
    world.send(Paid(order_id="ORD-2"))
    assert reconcile().resent == 0


def test_young_confirmation_is_not_compared(flow: Behaviour, broker: Broker) -> None:
    world.send(Paid(order_id="ORD-1"))
    broker.forget_everything()
    beat(lag=0)
    assert reconcile(0.9).resent == 0


def test_event_is_sent_again_with_a_back_off_and_so_often_only(flow: Behaviour, broker: Broker) -> None:
    world.send(Paid(order_id="ORD-1"))
    resent: list[int] = []
    for _ in range(100):
        broker.forget_everything()
        clock.move(timedelta(minutes=1))
        beat(lag=0)
        resent.append(reconcile(0).resent)
    assert sum(resent) == 5
    places = [place for place, count in enumerate(resent) if count]
    assert [later - earlier for earlier, later in pairwise(places)] == [2, 4, 8, 16]
    assert [row.resends for row in world.outbox()] == [5]


def test_discarded_and_failed_events_count_as_received(flow: Behaviour) -> None:
    flow.fails["ORD-1"] = ValueError("no shelf")
    world.send(Paid(order_id="ORD-1"))
    world.consume()
    assert reconcile().settled == 1


def test_consumer_that_runs_elsewhere_is_not_asked(flow: Behaviour, event_settings: Any) -> None:
    event_settings(PARTICIPANTS=[world.SENDER])
    world.send(Paid(order_id="ORD-1"))
    assert reconcile().settled == 1


def test_many_pages_are_compared_in_turns(flow: Behaviour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "PAGE", 2)
    monkeypatch.setattr(reconciliation, "MAX_PAGES", 1)
    world.send(*(Paid(order_id=f"ORD-{number}") for number in range(3)))
    clock.move(timedelta(minutes=2))
    found = Reconciliation(alias=catalogue.database_of(world.SENDER))
    found.run()
    world.consume()
    found.run()
    assert [row.settled_at is not None for row in world.outbox()] == [False, False, True]
    found.run()
    assert [row.settled_at is not None for row in world.outbox()] == [True, True, True]


def test_database_of_a_consumer_that_is_away_leaves_its_events_uncompared(
    flow: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.send(Paid(order_id="ORD-1"))
    home = catalogue.database_of(world.SENDER)
    monkeypatch.setattr(catalogue, "database_of", lambda label: "away" if label == world.CONSUMER else home)

    def fail(*_: Any) -> None:
        raise OperationalError("no route")

    monkeypatch.setattr(reconciliation, "_without_received", fail)
    monkeypatch.setattr(reconciliation, "refresh_connection", lambda *_, **__: None)
    clock.move(timedelta(minutes=2))
    found = Reconciliation(alias=home)
    found.run()
    assert (found.settled, found.resent) == (0, 0)
    assert OutboxEvent.objects.using(home).filter(settled_at=None).count() == 1


def test_events_of_a_flushed_server_are_sent_again(flow: Behaviour, event_settings: Any, valkey_url: str) -> None:
    event_settings(URL=valkey_url, PREFIX="flushed.", OPTIONS={"claim_idle_ms": 100})
    world.send(Paid(order_id="ORD-1"))
    with redis.Redis.from_url(valkey_url) as server:
        server.flushall()
    clock.move(timedelta(seconds=1))
    world.send(Paid(order_id="ORD-2"))
    assert world.consume() == {Result.HANDLED: 1}
    assert reconcile().resent == 1
    world.consume()
    assert [key for key, _ in world.list_effects()] == ["ORD-2", "ORD-1"]
    assert reconcile().resent == 0
