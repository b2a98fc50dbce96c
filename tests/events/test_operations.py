"""Operators' actions on events: retry, replay, discard, each with who did it and why."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, transaction

from sagas import clock
from sagas.events import catalogue, relay
from sagas.events.inbox import Result
from sagas.events.operations import EventNotFound, Order, discard_event, replay_event, retry_event
from sagas.exceptions import BadRequest, OperationRefused
from sagas.models import EventOperation, InboxEvent

from . import world
from .world import Behaviour, Paid

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def order(event_id: object, **changes: Any) -> Order:
    values = {"consumer": world.CONSUMER, "actor": "ada", "reason": "the shelf was repaired", **changes}
    return Order(event_id=str(event_id), **values)


def make_dead(flow: Behaviour, *later: Paid) -> str:
    """Return the id of an event that is dead, with these waiting behind it."""
    flow.fails["ORD-1"] = ValueError("no shelf")
    [event_id] = world.send(Paid(order_id="ORD-1"))
    for _ in range(4):
        world.consume()
        clock.move(timedelta(seconds=2))
    world.send(*later)
    world.consume()
    return str(event_id)


def states() -> list[str]:
    return [row.state for row in world.inbox()]


def recorded(alias: str = "") -> list[tuple[str, str, str, str, str]]:
    rows = EventOperation.objects.using(alias or catalogue.database_of(world.CONSUMER)).order_by("id")
    return [(row.actor, row.operation, row.reason, row.state_before, row.key) for row in rows]


def test_dead_event_is_handled_once_more_with_those_behind_it(flow: Behaviour) -> None:
    event_id = make_dead(flow, Paid(order_id="ORD-1"))
    assert states() == ["dead", "held"]
    flow.fails.clear()

    result = retry_event(order(event_id))
    world.consume()

    assert (result.state_before, result.state, result.is_trial) == ("dead", "retrying", False)
    assert states() == ["handled", "handled"]
    assert recorded() == [("ada", "retry", "the shelf was repaired", "dead", "ORD-1")]


def test_retry_that_fails_has_a_budget_of_its_own(flow: Behaviour) -> None:
    event_id = make_dead(flow)
    retry_event(order(event_id))
    found = []
    for _ in range(3):
        world.consume()
        found += states()
        clock.move(timedelta(seconds=2))
    assert found == ["retrying", "retrying", "dead"]
    assert world.list_effects() == []


def test_held_event_cannot_be_retried(flow: Behaviour) -> None:
    make_dead(flow, Paid(order_id="ORD-1"))
    held = world.inbox()[1]
    with pytest.raises(OperationRefused, match=r"is held with inventory, so retry is not possible\. Retry or discard"):
        retry_event(order(held.event_id))
    assert recorded() == []


def test_discarded_event_lets_those_behind_it_follow(flow: Behaviour) -> None:
    event_id = make_dead(flow, Paid(order_id="ORD-1", amount_minor=7))
    flow.fails.clear()
    discard_event(order(event_id))
    assert states() == ["discarded", "retrying"]
    world.consume()
    assert states() == ["discarded", "handled"]
    assert recorded() == [("ada", "discard", "the shelf was repaired", "dead", "ORD-1")]


def test_handled_event_cannot_be_discarded(flow: Behaviour) -> None:
    [event_id] = world.send(Paid(order_id="ORD-1"))
    world.consume()
    with pytest.raises(OperationRefused, match="Only what was not handled can be discarded"):
        discard_event(order(event_id))


def test_event_is_sent_again_under_its_id_and_ignored_by_whoever_has_it(flow: Behaviour) -> None:
    flow.answers = False
    [event_id] = world.send(Paid(order_id="ORD-1"))
    world.consume()
    result = replay_event(order(event_id, consumer=""))
    assert (result.state_before, result.state) == ("sent", "unsent")
    relay.relay_all(catalogue.database_of(world.SENDER))
    assert world.consume() == {Result.DUPLICATE: 1}
    assert world.list_effects() == [("ORD-1", "paid")]
    assert recorded(catalogue.database_of(world.SENDER)) == [
        ("ada", "replay", "the shelf was repaired", "sent", "ORD-1")
    ]


def test_event_older_than_the_retention_is_not_sent_again_to_all(flow: Behaviour) -> None:
    [event_id] = world.send(Paid(order_id="ORD-1"))
    clock.move(timedelta(days=31))
    with pytest.raises(OperationRefused, match="may have forgotten"):
        replay_event(order(event_id, consumer=""))


def test_handler_is_run_again_on_a_handled_event(flow: Behaviour) -> None:
    [event_id] = world.send(Paid(order_id="ORD-1"))
    world.consume()
    replay_event(order(event_id))
    assert world.list_effects() == [("ORD-1", "paid"), ("ORD-1", "paid")]
    assert states() == ["handled"]
    assert recorded() == [("ada", "replay", "the shelf was repaired", "handled", "ORD-1")]


def test_handler_that_fails_when_run_again_changes_nothing_and_is_recorded(flow: Behaviour) -> None:
    [event_id] = world.send(Paid(order_id="ORD-1"))
    world.consume()
    flow.fails["ORD-1"] = ValueError("no shelf")
    with pytest.raises(OperationRefused, match="stays handled: ValueError: no shelf"):
        replay_event(order(event_id))
    assert (states(), world.list_effects()) == (["handled"], [("ORD-1", "paid")])
    [row] = EventOperation.objects.using(catalogue.database_of(world.CONSUMER))
    assert row.result == "failed: ValueError: no shelf"


def test_replay_of_a_dead_event_releases_its_key(flow: Behaviour) -> None:
    event_id = make_dead(flow, Paid(order_id="ORD-1"))
    flow.fails.clear()
    replay_event(order(event_id))
    world.consume()
    assert states() == ["handled", "handled"]


def test_replay_does_not_run_an_event_without_authority(flow: Behaviour) -> None:
    [event_id] = world.send(Paid(order_id="ORD-1"))
    world.consume()
    rows = InboxEvent.objects.using(catalogue.database_of(world.CONSUMER))
    rows.update(source="/shop/shipping/ORD-1", state="parked")
    with pytest.raises(OperationRefused, match="No authority: TestPaid is sent by /shop/payments only"):
        replay_event(order(event_id))
    assert states() == ["parked"]


def test_trial_changes_and_records_nothing(flow: Behaviour) -> None:
    event_id = make_dead(flow)
    for operation in (retry_event, discard_event, replay_event):
        assert operation(order(event_id, is_trial=True)).is_trial
    assert replay_event(order(event_id, is_trial=True, consumer="")).state == "unsent"
    assert (states(), recorded(), [row.state for row in world.outbox()]) == (["dead"], [], ["sent"])


def test_records_cannot_be_changed_or_deleted(flow: Behaviour) -> None:
    event_id = make_dead(flow)
    discard_event(order(event_id))
    alias = catalogue.database_of(world.CONSUMER)
    for change in (lambda rows: rows.update(actor="bob"), lambda rows: rows.delete()):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(using=alias):
            change(EventOperation.objects.using(alias))
    assert len(recorded()) == 1


@pytest.mark.parametrize(
    ("changes", "error", "what"),
    [
        ({"consumer": "nobody"}, BadRequest, "'nobody' handles no event; consumers:"),
        ({"reason": " "}, BadRequest, "needs an actor and a reason"),
        ({"event_id": "7"}, EventNotFound, "The inbox of inventory has no event '7'"),
        ({"event_id": "7", "consumer": ""}, EventNotFound, "No outbox here has an event '7'"),
    ],
)
def test_wrong_orders_are_refused(flow: Behaviour, changes: dict[str, Any], error: type, what: str) -> None:
    with pytest.raises(error, match=what):
        replay_event(order(**{"event_id": "0", **changes}))


def test_one_id_of_two_senders_needs_the_source(flow: Behaviour) -> None:
    [event_id] = world.send(Paid(order_id="ORD-1"))
    world.consume()
    alias = catalogue.database_of(world.CONSUMER)
    [row] = world.inbox()
    row.pk, row.source, row.state, row.handled_at = None, "/shop/shipping", "parked", None
    row.save(using=alias, force_insert=True)
    with pytest.raises(BadRequest, match="name one by its source"):
        discard_event(order(event_id))
    assert discard_event(order(event_id, source="/shop/shipping")).state == "discarded"


def test_nothing_is_done_while_events_are_off(flow: Behaviour, settings: Any) -> None:
    settings.SAGAS = {**settings.SAGAS, "EVENTS": {}}
    with pytest.raises(OperationRefused, match="Events are off"):
        retry_event(order("7"))
