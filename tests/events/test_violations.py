"""Events that a handler refuses because their sender must not send them now: parked at once, in nobody's way."""

from datetime import timedelta

import pytest

from sagas import clock
from sagas.events import ContractViolated
from sagas.events.inbox import Result

from . import world
from .world import Behaviour, Paid

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def test_violation_is_parked_without_effect_and_holds_nothing(flow: Behaviour) -> None:
    flow.fails["ORD-1"] = ContractViolated("It must not be paid twice.")
    world.send(Paid(order_id="ORD-1"))
    assert world.consume() == {Result.PARKED: 1}
    flow.fails.clear()
    world.send(Paid(order_id="ORD-1"))
    assert world.consume() == {Result.HANDLED: 1}
    parked, handled = world.inbox()
    assert (parked.state, parked.attempts, parked.due_at, parked.traceback) == ("parked", 1, None, "")
    assert parked.error == "ContractViolated: It must not be paid twice."
    assert (handled.state, world.list_effects()) == ("handled", [("ORD-1", "paid")])


def test_violation_behind_a_failed_event_lets_its_followers_go(flow: Behaviour) -> None:
    flow.fails["ORD-1"] = ValueError("a bug")
    world.send(Paid(order_id="ORD-1"))
    world.consume()
    world.send(Paid(order_id="ORD-1"), Paid(order_id="ORD-1"))
    assert world.consume() == {Result.HELD: 2}

    flow.fails["ORD-1"] = ContractViolated("It must not be paid twice.")
    clock.move(timedelta(seconds=2))
    world.consume()
    flow.fails.clear()
    world.consume()

    assert [row.state for row in world.inbox()] == ["parked", "parked", "parked"]
    world.send(Paid(order_id="ORD-1"))
    assert world.consume() == {Result.HANDLED: 1}
