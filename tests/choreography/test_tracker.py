"""Tracker: what each event makes of a choreographed saga, in any order."""

from datetime import timedelta
from typing import Any

import pytest

import sagas
from sagas import InputRefused, SagaError, clock
from sagas.choreography import definition, start, tracker
from sagas.models import Saga, TrackedEvent
from sagas.monitoring.choreography_checks import check_choreographies

from . import world
from .world import (
    KEY,
    Booked,
    Cancelled,
    Confirmed,
    Gone,
    Paid,
    Quoted,
    Refunded,
    Released,
    Short,
    Stored,
    Unpaid,
    begin,
    owes,
    send,
    states,
    tell,
    track,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("sales")


def test_saga_is_completed_after_the_decision_and_all_effects() -> None:
    saga = begin()
    assert owes(saga) == [("payment", "payments", ["ChorPaid", "ChorUnpaid"])]

    saga = tell(saga, Paid, Stored, Quoted)
    assert owes(saga) == [("confirmation", "orders", ["ChorConfirmed", "ChorCancelled"])]
    saga = tell(saga, Confirmed)
    assert owes(saga) == [("shipment", "shipping", ["ChorBooked"]), ("shipment", "inventory", ["ChorGone"])]
    assert (saga.state, saga.pivot_passed_at is None) == ("running", False)
    saga = tell(saga, Booked)
    assert owes(saga) == [("shipment", "inventory", ["ChorGone"])]
    saga = tell(saga, Gone)

    assert (saga.state, saga.owed, saga.owed_due_at, saga.attention) == ("completed", [], None, [])
    assert set(states(saga).values()) == {"succeeded"}
    assert TrackedEvent.objects.filter(saga=saga).count() == 7


def test_saga_is_compensated_once_every_reported_effect_is_undone() -> None:
    saga = tell(begin(), Paid, Short)
    assert owes(saga) == [("confirmation", "orders", ["ChorCancelled"])]
    assert saga.state == "running"

    saga = tell(saga, Cancelled)
    assert (saga.state, saga.cause and saga.cause["step"]) == ("compensating", "stock")
    assert owes(saga) == [("payment", "payments", ["ChorRefunded"])]
    saga = tell(saga, Refunded)

    assert saga.state == "compensated"
    assert states(saga) == {
        "payment": "compensated", "stock": "refused", "quote": "pending", "confirmation": "refused",
        "shipment": "pending",
    }  # fmt: skip


def test_effect_reported_after_the_close_reopens_the_saga() -> None:
    saga = tell(begin(), Unpaid, Cancelled)
    assert saga.state == "compensated"

    saga = tell(saga, Paid)
    assert (saga.state, saga.attention, saga.closed_at) == ("compensating", ["late_effect"], None)
    assert owes(saga) == [
        ("payment", "payments", ["ChorRefunded"]), ("stock", "inventory", ["ChorStored", "ChorShort"])
    ]  # fmt: skip
    saga = tell(saga, Refunded, Short)

    assert (saga.state, saga.attention) == ("compensated", [])
    assert world.history(saga, what="saga_reopened") == ["saga_reopened"]


def test_event_that_is_sent_again_is_one_fact() -> None:
    saga = tell(begin(), Unpaid, Cancelled)
    revision, closed_at = saga.revision, saga.closed_at

    saga = tell(saga, Cancelled)

    assert (saga.state, saga.revision, saga.closed_at) == ("compensated", revision, closed_at)
    assert TrackedEvent.objects.filter(saga=saga, type="ChorCancelled").count() == 2


def test_event_without_correlation_is_found_by_its_key() -> None:
    saga = begin()

    send(Paid, key=KEY)
    track()

    assert states(saga)["payment"] == "succeeded"


def test_event_before_its_saga_waits_for_it() -> None:
    send(Unpaid, key=KEY)
    assert {result.value: n for result, n in track().items()} == {"not_yet": 1}

    saga = begin()
    tell(saga, Cancelled)

    assert Saga.objects.get(pk=saga.pk).state == "compensated"


def test_two_flows_with_one_correlation_id_are_two_sagas() -> None:
    first, second = begin(), begin("ORD-2")

    send(Unpaid, key="ORD-2", correlation_id=str(first.pk))
    track()

    assert (states(first)["payment"], states(second)["payment"]) == ("waiting", "refused")


def test_contradiction_is_recorded_and_shown() -> None:
    saga = tell(begin(), Paid, Stored, Quoted, Confirmed)

    saga = tell(saga, Cancelled)

    assert (saga.state, saga.attention) == ("running", ["event_unexpected"])
    assert ("payment", "payments", ["ChorRefunded"]) in owes(saga)


def test_events_in_reverse_order_end_alike() -> None:
    saga = tell(begin(), Released, Refunded, Cancelled)
    assert saga.state == "compensating"
    assert owes(saga) == [("payment", "payments", ["ChorPaid", "ChorUnpaid"])]

    saga = tell(saga, Stored, Paid)

    assert owes(saga) == [("quote", "shipping", ["ChorQuoted", "ChorUnserved"])]


def test_failing_event_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    saga = begin()
    fails = {"ChorPaid"}

    def record(draft: Any, definition: Any, fact: TrackedEvent) -> None:
        if fact.type in fails:
            raise ValueError("it cannot be applied")
        known(draft, definition, fact)

    known = tracker.record
    monkeypatch.setattr(tracker, "record", record)
    saga = tell(saga, Paid, Stored)
    assert list(TrackedEvent.objects.filter(saga=saga).values_list("type", flat=True)) == ["ChorBegun", "ChorStored"]

    fails.clear()
    clock.move(timedelta(minutes=1))
    track()
    assert states(saga)["payment"] == "succeeded"


def test_wake_changes_nothing() -> None:
    saga = tell(begin(), Paid)
    due_at = saga.steps.get(name="stock").due_at

    assert sagas.wake(saga, step="stock").due == ()

    assert (saga.steps.get(name="stock").due_at, due_at is None) == (due_at, False)


def test_start_needs_a_transaction_and_keys_that_fit() -> None:
    with pytest.raises(SagaError, match="must be started in the transaction that publishes ChorBegun"):
        start(world.Sale, key=KEY)
    with pytest.raises(InputRefused, match="Business key 'key'"):
        start(world.Sale, key="")


def test_checks_name_functions_and_senders(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_choreographies() == []

    monkeypatch.setattr(world.Sale, "on_cancel", "tests.choreography.world.nothing")
    monkeypatch.setattr(definition, "_sender_of", lambda name: "" if name == "ChorBooked" else "orders")
    assert [found.id for found in check_choreographies()] == ["sagas.E040", "sagas.E041"]
