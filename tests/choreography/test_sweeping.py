"""Sweep: what is owed for too long, the deadline, and trouble in participants' databases, shown and gone again."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError

from sagas import clock
from sagas.choreography import sweeping, trouble
from sagas.conf import get_settings
from sagas.core.states import Attention
from sagas.events import catalogue
from sagas.models import EventConsumer, InboxEvent, InboxState, Intent, OutboxEvent, OutboxState, Saga
from sagas.worker import due_work

from . import world
from .world import Begun, Booked, Cancelled, Confirmed, Decider, Gone, Paid, Quoted, Stored, begin, tell

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def tracker_runs(sales: Decider) -> None:
    """Let a consumer of the tracker run, without lag."""
    show_consumer(lag=0)


def show_consumer(lag: int) -> None:
    now = clock.read_now(get_settings().database) + timedelta(days=1)  # however far a test moves the clock
    EventConsumer.objects.using(get_settings().database).update_or_create(
        consumer=catalogue.TRACKER,
        name="test:2",
        defaults={"transport": "memory", "started_at": now, "seen_at": now, "lag": lag},
    )


def again(saga: Saga) -> Saga:
    return Saga.objects.get(pk=saga.pk)


def test_event_owed_for_too_long_is_an_attention_until_it_comes() -> None:
    saga = tell(begin(), Paid)
    clock.move(MINUTE)
    assert sweeping.sweep() == 0

    clock.move(MINUTE)
    assert sweeping.sweep() == 1
    saga = again(saga)
    assert saga.attention == ["event_overdue"]
    assert saga.owed_due_at == saga.deadline_at
    assert sweeping.sweep() == 0

    assert tell(saga, Stored).attention == []


def test_lagging_tracker_accuses_nobody() -> None:
    saga = tell(begin(), Paid)
    show_consumer(lag=7)
    clock.move(3 * MINUTE)
    sweeping.sweep()
    assert again(saga).attention == ["tracker_lagging"]

    show_consumer(lag=0)
    clock.move(MINUTE)
    sweeping.sweep()
    assert again(saga).attention == ["event_overdue"]


def test_event_that_the_tracker_could_not_record_accuses_nobody() -> None:
    saga = tell(begin(), Paid)
    InboxEvent.objects.using(get_settings().database).create(
        consumer=catalogue.TRACKER, source="/shop/inventory/ORD-1", event_id="e-9", type="ChorStored", key="ORD-1",
        digest="d", correlation_id=str(saga.pk), received_at=saga.created_at, state="dead",
    )  # fmt: skip
    clock.move(3 * MINUTE)
    sweeping.sweep()
    assert again(saga).attention == ["event_failing", "tracker_lagging"]


def test_deadline_asks_who_decides_once(sales: Decider) -> None:
    saga = begin()
    clock.move(16 * MINUTE)
    sweeping.sweep()
    clock.move(16 * MINUTE)
    sweeping.sweep()

    assert sales.asked == [("expire", "ORD-1")]
    assert (again(saga).abort_request, again(saga).state) == ("deadline", "pending")
    saga = tell(saga, Paid, world.Short, Cancelled)
    assert (saga.state, saga.cause and saga.cause["kind"], saga.abort_request) == ("compensating", "deadline", None)


def test_deadline_is_asked_again_after_a_failure(sales: Decider) -> None:
    saga = begin()

    def fail(_key: str) -> None:
        raise ValueError("orders is broken")

    sales.answer = fail
    clock.move(16 * MINUTE)
    sweeping.sweep()
    assert (again(saga).abort_request, again(saga).attention) == (None, ["overdue"])

    sales.answer = lambda _key: None
    clock.move(MINUTE)
    sweeping.sweep()
    assert (again(saga).abort_request, len(sales.asked)) == ("deadline", 2)


def test_deadline_after_the_decision_is_told_to_operators(sales: Decider) -> None:
    saga = tell(begin(), Paid, Stored, Quoted, Confirmed)
    clock.move(16 * MINUTE)
    sweeping.sweep()

    assert (sales.asked, again(saga).attention) == ([], ["event_overdue", "overdue"])
    assert tell(saga, Booked, Gone).state == "completed"


@pytest.mark.parametrize("state", ["dead", "parked"])
def test_event_in_trouble_is_shown_and_vanishes(state: str) -> None:
    saga = begin()
    row = receive(saga, state=state, error="no such shelf")
    trouble.refresh()
    assert again(saga).attention == ["event_failing"]
    assert world.history(saga, what="attention_raised", reason__contains="no such shelf") == ["attention_raised"]

    InboxEvent.objects.using(catalogue.database_of("inventory")).filter(pk=row.pk).update(state="discarded")
    trouble.refresh()
    assert again(saga).attention == []


def test_event_without_correlation_is_found_by_its_key() -> None:
    saga = begin()
    receive(saga, state="dead", correlation_id="")
    trouble.refresh()
    assert again(saga).attention == ["event_failing"]


def test_not_yet_is_trouble_after_its_limit() -> None:
    saga = begin()
    receive(saga, state="not_yet", due_at=saga.created_at)
    trouble.refresh()
    assert again(saga).attention == []

    clock.move(6 * MINUTE)
    trouble.refresh()
    assert again(saga).attention == ["event_failing"]


def test_event_that_cannot_be_sent_is_trouble() -> None:
    saga = begin()
    rows = OutboxEvent.objects.using(get_settings().database).filter(type="ChorBegun")
    rows.update(state=OutboxState.PARKED.value, due_at=None)
    trouble.refresh()
    assert again(saga).attention == ["event_failing"]


def test_held_intent_is_trouble() -> None:
    saga = begin()
    write_intent(saga, step_hold="outcome_unknown")
    trouble.refresh()
    assert again(saga).attention == ["intent_failing"]


def test_silent_database_is_named_and_clears_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    saga = begin()
    row = receive(saga, state="dead")
    trouble.refresh()
    InboxEvent.objects.using(catalogue.database_of("inventory")).filter(pk=row.pk).delete()

    def be_away(*_: Any) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(trouble, "_read", be_away)
    silent = trouble.refresh()

    assert silent == tuple(dict.fromkeys([*catalogue.event_databases()]))
    assert again(saga).attention == ["event_failing"]


def test_sweeps_of_workers_look_after_choreographies() -> None:
    saga = tell(begin(), Paid)
    clock.move(3 * MINUTE)
    due_work.wake_all_due(queues=None, serving=())
    assert Attention.EVENT_OVERDUE in again(saga).attention


def test_engine_leaves_choreographies_alone() -> None:
    saga = tell(begin(), Paid)
    clock.move(3 * MINUTE)
    due_work.run_all_due(queues=None, should_stop=lambda: False)
    assert (again(saga).due_at, world.history(saga, what="step_claimed")) == (None, [])


def receive(saga: Saga, **values: Any) -> InboxEvent:
    """Write an event into inventory's inbox."""
    given = {"correlation_id": str(saga.pk), **values}
    if given["state"] == InboxState.NOT_YET:
        given.setdefault("due_at", saga.created_at)
    return InboxEvent.objects.using(catalogue.database_of("inventory")).create(
        consumer="inventory", source="/shop/payments/ORD-1", event_id="e-1", type="ChorPaid", key="ORD-1", digest="d",
        received_at=saga.created_at, **given,
    )  # fmt: skip


def write_intent(saga: Saga, **values: Any) -> Intent:
    """Write an intent of payments."""
    return Intent.objects.using(catalogue.database_of("payments")).create(
        definition="payments.charge_sale", participant="payments", key="ORD-1", correlation_id=str(saga.pk),
        state="running", step_state="unknown", created_at=saga.created_at, updated_at=saga.created_at, **values,
    )  # fmt: skip


def test_events_of_other_flows_are_left_out() -> None:
    saga = begin()
    receive(saga, state="dead", correlation_id="other", error="")
    InboxEvent.objects.using(catalogue.database_of("inventory")).update(key="ORD-2")
    trouble.refresh()
    assert (again(saga).attention, Begun.__name__) == ([], "Begun")
