"""From publish to effect: once, in order of its key, whatever comes twice."""

from datetime import timedelta

import pytest
from django.db import transaction

from sagas import clock
from sagas.events import EventRefused, catalogue, publish, relay
from sagas.events.errors import BrokerAway
from sagas.events.inbox import Result
from sagas.events.transports.memory import Broker
from sagas.models import InboxState, OutboxState

from . import world
from .world import Behaviour, Noticed, Paid, Voided

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def test_event_is_published_relayed_and_handled_once(flow: Behaviour) -> None:
    [event_id] = world.send(Paid(order_id="ORD-1"))
    assert world.consume() == {Result.HANDLED: 1}
    [sent] = world.outbox()
    [handled] = world.inbox()
    assert (sent.state, sent.event_id, sent.sequence, sent.source) == ("sent", event_id, 1, "/shop/payments/ORD-1")
    assert (handled.state, handled.event_id, handled.key) == ("handled", str(event_id), "ORD-1")
    assert world.list_effects() == [("ORD-1", "paid")]


def test_answer_names_cause_and_flow(flow: Behaviour) -> None:
    [event_id] = world.send(Paid(order_id="ORD-1"), correlation_id="flow-7")
    world.consume()
    [answer] = world.outbox(world.CONSUMER)
    assert (answer.causation_id, answer.correlation_id, answer.participant) == (str(event_id), "flow-7", "inventory")


def test_publish_needs_a_transaction(flow: Behaviour) -> None:
    with pytest.raises(EventRefused, match=r"call publish inside transaction\.atomic"):
        publish(Paid(order_id="ORD-1"))
    assert world.outbox() == []


def test_rolled_back_event_is_never_sent(flow: Behaviour) -> None:
    alias = catalogue.database_of(world.SENDER)
    with transaction.atomic(using=alias):
        publish(Paid(order_id="ORD-1"))
        transaction.set_rollback(True, using=alias)
    assert relay.relay_all(alias) == 0
    assert world.consume() == {}


def test_event_sent_twice_has_one_effect(flow: Behaviour) -> None:
    world.send(Paid(order_id="ORD-1"))
    world.OutboxEvent.objects.using(catalogue.database_of(world.SENDER)).update(
        state="unsent", due_at=clock.read_now("default"), sent_at=None
    )
    relay.relay_all(catalogue.database_of(world.SENDER))
    assert world.consume() == {Result.HANDLED: 1, Result.DUPLICATE: 1}
    assert world.list_effects() == [("ORD-1", "paid")]
    assert [row.duplicates for row in world.inbox()] == [1]


def test_failing_handler_leaves_no_effect_and_is_tried_again(flow: Behaviour) -> None:
    flow.fails["ORD-1"] = ValueError("no shelf")
    world.send(Paid(order_id="ORD-1"))
    assert world.consume() == {Result.FAILED: 1}
    [row] = world.inbox()
    assert (row.state, row.attempts, row.error) == ("retrying", 1, "ValueError: no shelf")
    assert "ValueError: no shelf" in row.traceback
    assert world.list_effects() == []
    flow.fails.clear()
    clock.move(timedelta(seconds=2))
    world.consume()
    [row] = world.inbox()
    assert (row.state, row.attempts, row.due_at) == ("handled", 1, None)
    assert world.list_effects() == [("ORD-1", "paid")]
    assert flow.calls == [("TestPaid", "ORD-1", 1), ("TestPaid", "ORD-1", 2)]


def test_later_events_of_a_key_are_held_behind_a_failed_one(flow: Behaviour) -> None:
    flow.fails["ORD-1"] = ValueError("no shelf")
    world.send(Paid(order_id="ORD-1"), Paid(order_id="ORD-1", amount_minor=7), Paid(order_id="ORD-2"))
    assert world.consume() == {Result.FAILED: 1, Result.HELD: 1, Result.HANDLED: 1}
    flow.fails.clear()
    clock.move(timedelta(seconds=2))
    world.consume()
    assert [row.state for row in world.inbox()] == ["handled", "handled", "handled"]
    assert [key for key, _ in world.list_effects()] == ["ORD-2", "ORD-1", "ORD-1"]


def test_dead_event_holds_its_key_but_not_what_undoes(flow: Behaviour) -> None:
    flow.fails["ORD-1"] = ValueError("no shelf")
    world.send(Paid(order_id="ORD-1"))
    for _ in range(4):
        world.consume()
        clock.move(timedelta(seconds=2))
    world.send(Paid(order_id="ORD-1"), Voided(order_id="ORD-1"))
    assert world.consume() == {Result.HELD: 1, Result.HANDLED: 1}
    assert [row.state for row in world.inbox()] == ["dead", "held", "handled"]
    assert world.list_effects() == [("ORD-1", "voided")]


def test_event_before_its_beginning_waits_and_holds_nothing(flow: Behaviour) -> None:
    flow.needs.add("ORD-1")
    world.send(Paid(order_id="ORD-1"))
    assert world.consume() == {Result.NOT_YET: 1}
    flow.needs.clear()
    world.send(Voided(order_id="ORD-1"))
    world.consume()
    assert [(row.state, row.attempts) for row in world.inbox()] == [("handled", 0), ("handled", 0)]
    assert world.list_effects() == [("ORD-1", "voided"), ("ORD-1", "paid")]


def test_failed_event_that_is_not_yet_handled_lets_its_beginning_follow(flow: Behaviour) -> None:
    """Given an event that failed first and then misses its beginning, which is held behind it."""
    flow.fails["ORD-1"] = ValueError("no shelf")
    world.send(Paid(order_id="ORD-1"), Paid(order_id="ORD-1", amount_minor=7))
    assert world.consume() == {Result.FAILED: 1, Result.HELD: 1}
    flow.fails.clear()
    flow.needs.add("ORD-1")
    clock.move(timedelta(seconds=2))
    world.consume()
    assert [row.state for row in world.inbox()] == ["not_yet", "not_yet"]  # both were tried
    flow.needs.clear()
    world.send(Paid(order_id="ORD-1", amount_minor=8))
    world.consume()
    assert [row.state for row in world.inbox()] == ["handled", "handled", "handled"]


def test_unordered_events_hold_nothing(flow: Behaviour) -> None:
    flow.fails["first"] = ValueError("no")
    world.send(Noticed(text="first"), Noticed(text="second"))
    assert world.consume() == {Result.FAILED: 1, Result.HANDLED: 1}


def test_absent_broker_delays_and_loses_nothing(flow: Behaviour, broker: Broker) -> None:
    broker.is_away = True
    with pytest.raises(BrokerAway):
        world.send(Paid(order_id="ORD-1"))
    broker.is_away = False
    clock.move(timedelta(seconds=2))
    relay.relay_all(catalogue.database_of(world.SENDER))
    assert world.consume() == {Result.HANDLED: 1}
    [row] = world.outbox()
    assert (row.state, row.attempts) == (OutboxState.SENT, 0)


def test_refused_event_is_parked_and_stops_its_source_alone(flow: Behaviour, broker: Broker) -> None:
    broker.refuses.add("TestPaid")
    alias = catalogue.database_of(world.SENDER)
    world.send(Paid(order_id="ORD-1"), Voided(order_id="ORD-1"), Voided(order_id="ORD-2"))
    for _ in range(12):
        clock.move(timedelta(seconds=61))
        relay.relay_all(alias)
    assert [(row.type, row.key, row.state) for row in world.outbox()] == [
        ("TestPaid", "ORD-1", "parked"), ("TestVoided", "ORD-1", "unsent"), ("TestVoided", "ORD-2", "sent"),
    ]  # fmt: skip


def test_parked_states_are_known() -> None:
    assert {state.value for state in InboxState} >= {"parked", "dead", "held", "not_yet", "retrying", "discarded"}
