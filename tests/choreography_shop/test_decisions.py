"""What orders decide beside the happy path: deadline, cancel, strangers, marks, late answers, broken contracts."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from orders import choreography, services
from orders.exceptions import CancelNotAllowed
from orders.models import Coordination, Order
from orders.reasons import Reason
from payments.events import PaymentCompleted, PaymentRefunded
from payments.models import OrderPayment
from sagas import OperationRefused, clock, operations
from sagas.choreography import sweeping
from sagas.core import outcomes
from sagas.engine import claim, late_answers
from sagas.events import catalogue, publish
from sagas.intents import performing
from sagas.models import EventConsumer, InboxEvent, OutboxEvent
from sagas.operations import Actor
from sagas.transactions import own_transaction
from shipping.carriers.base import Refused
from shipping.carriers.sandbox import SandboxCarrier

from . import shop
from .shop import Ledgers
from .test_conformance import KEPT, STYLES, cancelled

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.usefixtures("events")]

ADA = {"actor": Actor(name="ada", is_trusted=True), "reason": "The provider has no record"}


def place(**given: Any) -> Order:
    """Place a choreographed order in a filled shop."""
    shop.fill_shop()
    return shop.place("choreography", **given)


def count_cancellations(order: Order) -> int:
    return OutboxEvent.objects.filter(key=order.number, type="OrderCancelled").count()


def beat() -> None:
    """Report that the tracker is alive and up to date, so that lateness is not blamed on it."""
    now = clock.read_now("default")
    EventConsumer.objects.filter(consumer=catalogue.TRACKER).update(seen_at=now, lag=0)


def tell(event: Any) -> None:
    """Publish an event as its sender does."""
    alias = catalogue.database_of("payments")
    with transaction.atomic(using=alias):
        publish(event, using=alias)


def test_deadline_cancels_a_pending_order() -> None:
    order = place(payment_method="pm_card_timeout")
    with clock.restored():
        clock.move(timedelta(minutes=16))
        assert sweeping.sweep() == 1
        order.refresh_from_db()
        assert (order.status, order.reason) == ("cancelled", Reason.TOOK_TOO_LONG)
        assert count_cancellations(order) == 1


def test_deadline_does_not_touch_a_confirmed_order() -> None:
    order = place()
    shop.run(order, until=lambda: Order.objects.get(pk=order.pk).status == "confirmed")
    choreography.expire(order.number)
    order.refresh_from_db()
    assert (order.status, count_cancellations(order)) == ("confirmed", 0)


def test_operator_cancels_with_another_reason_than_the_customer() -> None:
    order = place()
    operations.cancel(order.saga_id, **ADA)
    shop.run(order)
    assert shop.read_ledgers(order.number) == cancelled("cancelled_by_shop")


def test_operator_is_told_that_it_is_too_late() -> None:
    order = place()
    shop.run(order, until=lambda: Order.objects.get(pk=order.pk).status == "confirmed")
    with pytest.raises(OperationRefused, match=f"Order {order.number} cannot be cancelled any more"):
        operations.cancel(order.saga_id, **ADA)


def test_customer_may_ask_twice_and_staff_needs_the_permission() -> None:
    order = place()
    staff = User.objects.create(username="staff", is_staff=True)
    with pytest.raises(CancelNotAllowed):
        services.request_cancel(number=order.number, user=staff)
    for _ in range(2):
        assert services.request_cancel(number=order.number, user=order.owner).status == "cancelled"
    assert count_cancellations(order) == 1


def test_effect_that_is_not_undone_is_recalled_once() -> None:
    order = place(payment_method="pm_card_declined")
    shop.run(order)
    OrderPayment.objects.all().delete()  # as if payments were a stranger without any memory of the order
    tell(PaymentCompleted(order_id=order.number))
    with clock.restored():
        shop.turn()
        shop.turn()
        assert shop.find_saga(order).closed_at is None
        assert count_cancellations(order) == 1
        for _ in range(3):
            clock.move(timedelta(minutes=6))
            beat()
            sweeping.sweep()
        assert count_cancellations(order) == 2
        assert "event_overdue" in shop.find_saga(order).attention
        tell(PaymentRefunded(order_id=order.number))
        shop.turn()
        shop.turn()
        saga = shop.find_saga(order)
        assert (saga.state, saga.owed, saga.attention) == ("compensated", [], [])


def test_broken_contract_is_parked_and_holds_nothing() -> None:
    order = place()
    tell(PaymentRefunded(order_id=order.number))
    shop.run(order)
    [parked] = InboxEvent.objects.filter(consumer="orders").exclude(state="handled")
    assert (parked.state, parked.type, parked.attempts, parked.due_at) == ("parked", "PaymentRefunded", 1, None)
    assert f"{order.number} arrived while it is 'pending' here, where its sender must not send it" in parked.error
    assert shop.read_ledgers(order.number) == KEPT


def test_foreign_event_without_anything_but_the_order_is_enough() -> None:
    order = place()
    OrderPayment.objects.create(order_number=order.number, state="failed")  # our payments take no part
    tell(PaymentCompleted(order_id=order.number))
    shop.run(order)
    assert shop.read_ledgers(order.number) == Ledgers(status="confirmed", reason="", shipped=2, parcels=1)


@pytest.mark.parametrize("style", STYLES)
def test_charge_of_unknown_outcome_leaves_no_authorisation(style: str) -> None:
    shop.fill_shop()
    order = shop.place(style, payment_method="pm_card_timeout")
    shop.run(order)
    if style == "choreography":  # the saga of the other style voids what it does not know
        assert (shop.find_saga(order).closed_at, shop.read_ledgers(order.number).open_authorizations) == (None, 1)
        operations.mark_refused(order.saga_id, step="payment", evidence="Their list of today", **ADA)
        shop.run(order)
    reason = {"choreography": "payment_declined", "orchestration": "temporarily_unavailable"}[style]
    assert shop.read_ledgers(order.number) == cancelled(reason)
    assert shop.find_saga(order).state == "compensated"


def test_late_success_of_a_refused_charge_is_told_and_given_back() -> None:
    order = place(payment_method="pm_card_capture_timeout")
    alias = catalogue.database_of("payments")
    shop.run(order)
    wanted = OrderPayment.objects.get().key.partition(":")[0]
    rows = performing.IntentRows(alias)
    operations.retry_now(order.saga_id, step="payment", **ADA)
    with own_transaction(alias, durable=True):
        work = rows.lock(UUID(wanted))
        following = claim.claim_next(work, queues=None, worker="frozen", may_claim=True)
        work.write()
    assert following.claimed is not None
    with clock.restored():
        clock.move(timedelta(minutes=5))
        shop.run(order)
        operations.mark_refused(order.saga_id, step="payment", evidence="Their list of today", **ADA)
        shop.run(order)
        assert shop.read_ledgers(order.number) == cancelled("payment_declined")

        with own_transaction(alias, durable=True):
            work = rows.lock(UUID(wanted))
            late_answers.keep(work, following.claimed, outcomes.succeeded({"reference": "late"}))
            work.write()
        shop.run(order)

    sent = list(OutboxEvent.objects.using(alias).filter(participant="payments").order_by("id"))
    assert [event.type for event in sent] == ["PaymentFailed", "PaymentCompleted", "PaymentRefunded"]
    assert shop.read_ledgers(order.number) == cancelled("payment_declined")
    assert (shop.find_saga(order).state, shop.find_saga(order).owed) == ("compensated", [])


def test_booking_that_the_carrier_refuses_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SandboxCarrier, "book", lambda self, **given: Refused(code="address_not_served"))
    order = place()
    shop.run(order)
    sweeping.sweep()
    saga = shop.find_saga(order)
    assert (order.coordination, saga.closed_at) == (Coordination.CHOREOGRAPHY, None)
    assert [debt["types"] for debt in saga.owed] == [["ShipmentBooked"]]
    assert "intent_failing" in saga.attention
    assert count_cancellations(order) == 0
