"""Calls to the provider that choreographed orders ask for, and what follows their ends.

A handler writes an intent; a worker performs it. What follows runs in the transaction that records the end.
"""

from dataclasses import dataclass
from typing import Any

from django.db import router
from django.utils import timezone

from sagas import Misconfigured, StepContext
from sagas.core.definition.context import step_key
from sagas.events import publish
from sagas.intents import Ended, Intent

from . import services
from .events import PaymentCompleted, PaymentFailed, PaymentRefunded
from .exceptions import (
    PaymentDeclined,
    PaymentKeyReused,
    PaymentNotFound,
    PaymentStateConflict,
    translate_gateway,
)
from .models import OrderPayment, OrderPaymentState

_MISTAKES = (PaymentKeyReused, PaymentNotFound, PaymentStateConflict)


@dataclass(frozen=True, kw_only=True)
class OrderReference:
    """The input of both calls; everything else is read from the order's row."""

    order_number: str
    """The order's number."""


def request_charge(payment: OrderPayment) -> None:
    """Ask for the order's money to be taken, and save the key that it is taken under.

    Tx: must be inside one of payments' database.
    """
    intent_id = CHARGE.request(payment.order_number, OrderReference(order_number=payment.order_number))
    payment.key = step_key(intent_id, CHARGE.name)
    move(payment, OrderPaymentState.CHARGING)


def request_refund(payment: OrderPayment) -> None:
    """Ask for the order's money to be given back.

    Tx: must be inside one of payments' database.
    """
    _undo(payment)
    move(payment, OrderPaymentState.REFUNDING)


def lock(order_number: str) -> OrderPayment | None:
    """Lock the payment of an order; None when nothing was heard of the order.

    Tx: must be inside one.
    """
    rows = OrderPayment.objects.using(_database()).select_for_update()
    return rows.filter(order_number=order_number).first()


def move(payment: OrderPayment, state: OrderPaymentState) -> None:
    """Save the payment in a state."""
    payment.state, payment.changed_at = state, timezone.now()
    payment.save(using=_database())


def _charge(step: StepContext[OrderReference]) -> dict[str, Any]:
    """Shape: ``{"reference": the provider's own name for it}``."""
    order = _read(step.input.order_number)
    try:
        with translate_gateway():
            payment = services.charge(
                key=step.key,
                order_number=order.order_number,
                amount_minor=order.amount_minor,
                currency=order.currency,
                payment_method=order.payment_method,
            )
    except _MISTAKES as error:
        raise Misconfigured(str(error)) from error
    return {"reference": payment.authorization_reference}


def _refund(step: StepContext[OrderReference]) -> dict[str, Any]:
    """Shape: empty."""
    try:
        with translate_gateway():
            services.undo_charge(key=_read(step.input.order_number).key, provider_key=step.key)
    except (*_MISTAKES, PaymentDeclined) as error:
        raise Misconfigured(str(error)) from error
    return {}


def _complete(ended: Ended) -> None:
    """Report that the money was taken; give it back if the order was cancelled meanwhile, or the charge given up."""
    payment = _require(ended)
    publish(PaymentCompleted(order_id=ended.key, amount_minor=payment.amount_minor, currency=payment.currency))
    if payment.is_cancelled or ended.is_late:
        request_refund(payment)
    else:
        move(payment, OrderPaymentState.COMPLETED)


def _fail(ended: Ended) -> None:
    """Report that no money was taken; where only an operator says so, undo what the charge may have done."""
    payment = _require(ended)
    if ended.is_assumed:
        _undo(payment)
    move(payment, OrderPaymentState.FAILED)
    is_spent = not ended.error_class and not ended.is_assumed
    publish(PaymentFailed(order_id=ended.key, reason="unavailable" if is_spent else "declined"))


def _end_refund(ended: Ended) -> None:
    """Report that the money is back, unless it never counted as taken."""
    payment = _require(ended)
    if payment.state == OrderPaymentState.REFUNDING:
        move(payment, OrderPaymentState.REFUNDED)
        publish(PaymentRefunded(order_id=ended.key))


def _undo(payment: OrderPayment) -> None:
    REFUND.request(payment.order_number, OrderReference(order_number=payment.order_number))


def _read(order_number: str) -> OrderPayment:
    return OrderPayment.objects.using(_database()).get(order_number=order_number)


def _require(ended: Ended) -> OrderPayment:
    payment = lock(ended.key)
    if payment is None:
        raise Misconfigured(f"Payments has no row of order {ended.key}, whose intent {ended.id} ended. Restore it.")
    return payment


def _database() -> str:
    return router.db_for_write(OrderPayment)


CHARGE = Intent(
    "charge",
    call=_charge,
    participant="payments",
    input=OrderReference,
    on_success=_complete,
    on_refusal=_fail,
    refuses_on=[PaymentDeclined],
    refusal_settles=True,
)
REFUND = Intent("refund", call=_refund, participant="payments", input=OrderReference, on_success=_end_refund)
