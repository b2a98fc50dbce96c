"""Cleanup of events: what is old and done is deleted, and nothing else."""

from datetime import timedelta
from typing import Any

import pytest

from sagas import clock
from sagas.events import catalogue, relay
from sagas.events.reconciliation import Reconciliation
from sagas.events.transports.memory import Broker
from sagas.models import EventConsumer, EventStream, InboxKey, OutboxEvent
from sagas.retention import events

from . import world
from .world import Behaviour, Paid

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def settle() -> None:
    """Find that all consumers have what was sent."""
    for alias in catalogue.event_databases():
        relay.relay_all(alias)
    clock.move(timedelta(minutes=2))
    for alias in catalogue.event_databases():
        Reconciliation(alias=alias).run()


def clean(days: float) -> tuple[int, int, int]:
    """Let days pass, compare the count with what is deleted, and return it."""
    clock.move(timedelta(days=days))
    aliases = events.event_databases()
    counted = [events.count_expired_events(alias) for alias in aliases]
    deleted = [report for alias in aliases for report in events.delete_expired_events(alias, should_stop=lambda: False)]
    assert sum(one.inbox for one in counted) == sum(one.inbox for one in deleted)
    assert sum(one.outbox for one in counted) == sum(one.outbox for one in deleted)
    return tuple(sum(getattr(one, name) for one in deleted) for name in ("outbox", "inbox", "others"))  # type: ignore[return-value]


def test_settled_events_are_deleted_first_and_their_inbox_rows_a_topic_retention_later(flow: Behaviour) -> None:
    flow.answers = False
    world.send(Paid(order_id="ORD-1"))
    world.consume()
    settle()
    assert clean(29.9) == (0, 0, 0)
    assert clean(0.2) == (1, 0, 1), "the counter of the source, too"
    assert clean(6.8) == (0, 0, 0)
    assert clean(0.2) == (0, 1, 1), "the lock of the key, too"
    assert (world.outbox(), world.inbox()) == ([], [])
    assert InboxKey.objects.using(catalogue.database_of(world.CONSUMER)).count() == 0
    assert EventStream.objects.using(catalogue.database_of(world.SENDER)).count() == 0


def test_what_waits_for_time_or_an_operator_is_never_deleted(flow: Behaviour, broker: Broker) -> None:
    flow.fails["ORD-1"], flow.answers = ValueError("no shelf"), False
    flow.needs.add("ORD-2")
    world.send(Paid(order_id="ORD-1"), Paid(order_id="ORD-1"), Paid(order_id="ORD-2"))
    for _ in range(4):
        world.consume()
        clock.move(timedelta(seconds=2))
    broker.refuses.add("TestPaid")
    world.send(Paid(order_id="ORD-3"))
    assert sorted(row.state for row in world.inbox()) == ["dead", "held", "not_yet"]

    clean(1_000)

    assert sorted(row.state for row in world.inbox()) == ["dead", "held", "not_yet"]
    assert [row.state for row in world.outbox()] == ["sent", "sent", "sent", "unsent"]
    assert InboxKey.objects.using(catalogue.database_of(world.CONSUMER)).count() == 2


def test_event_that_a_consumer_does_not_have_is_kept(flow: Behaviour, broker: Broker) -> None:
    world.send(Paid(order_id="ORD-1"))
    broker.forget_everything()
    settle()
    assert clean(1_000) == (0, 0, 0)
    assert len(world.outbox()) == 1


def test_batches_delete_everything_and_stop_when_asked(flow: Behaviour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "BATCH_ROWS", 2)
    flow.answers = False
    world.send(*(Paid(order_id=f"ORD-{number}") for number in range(5)))
    world.consume()
    settle()
    clock.move(timedelta(days=40))
    alias = catalogue.database_of(world.SENDER)
    assert list(events.delete_expired_events(alias, should_stop=lambda: True)) == []
    assert [report.outbox for report in events.delete_expired_events(alias, should_stop=lambda: False)][:3] == [2, 2, 1]
    assert OutboxEvent.objects.using(alias).count() == 0


def test_heartbeats_of_dead_processes_are_deleted_after_a_day(flow: Behaviour) -> None:
    alias = catalogue.database_of(world.CONSUMER)
    now = clock.read_now(alias)
    EventConsumer.objects.using(alias).create(
        consumer=world.CONSUMER, name="host:1", transport="memory", started_at=now, seen_at=now
    )
    assert clean(0.9) == (0, 0, 0)
    assert clean(0.2) == (0, 0, 1)


def test_cleanup_works_while_events_are_off(flow: Behaviour, settings: Any) -> None:
    flow.answers = False
    world.send(Paid(order_id="ORD-1"))
    world.consume()
    settle()
    settings.SAGAS = {**settings.SAGAS, "EVENTS": {}}
    assert clean(100)[:2] == (1, 1)
