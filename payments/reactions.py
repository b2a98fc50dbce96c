"""What payments does about the events of a choreographed order, in each state of the order's payment."""

from typing import Final

from orders.events import OrderCancelled, OrderCreated
from sagas.events import Cell, publish, react
from sagas.events.reactions import Table

from .calls import lock, move, request_charge, request_refund
from .events import PaymentFailed
from .models import OrderPayment, OrderPaymentState

NONE = "none"  # there is no row


def follow(event: OrderCreated | OrderCancelled) -> None:
    """Do what the table says.

    Raises: NotYet; ContractViolated.
    Tx: must be inside one of payments' database.
    """
    payment = lock(event.order_id)
    react(TABLE, payment.state if payment else NONE, payment or OrderPayment(order_number=event.order_id), event)


def charge(payment: OrderPayment, created: OrderCreated) -> None:
    """Begin to take the money."""
    payment.amount_minor, payment.currency = created.total.amount_minor, created.total.currency
    payment.payment_method = created.payment_method
    request_charge(payment)


def entomb(payment: OrderPayment, _cancelled: OrderCancelled) -> None:
    """Remember that the order must never be charged."""
    move(payment, OrderPaymentState.TOMBSTONE)


def refuse(payment: OrderPayment, created: OrderCreated) -> None:
    """Report that an order that was cancelled before it arrived is not charged."""
    move(payment, OrderPaymentState.FAILED)
    publish(PaymentFailed(order_id=created.order_id, reason="cancelled"))


def remember_cancel(payment: OrderPayment, _cancelled: OrderCancelled) -> None:
    """Remember to give the money back once it is known whether it was taken."""
    payment.is_cancelled = True
    move(payment, OrderPaymentState.CHARGING)


def refund(payment: OrderPayment, _cancelled: OrderCancelled) -> None:
    """Begin to give the money back."""
    request_refund(payment)


TABLE: Final[Table] = {
    NONE: {OrderCreated: charge, OrderCancelled: entomb},
    OrderPaymentState.TOMBSTONE: {OrderCreated: refuse, OrderCancelled: Cell.RECORDED},
    OrderPaymentState.CHARGING: {OrderCreated: Cell.RECORDED, OrderCancelled: remember_cancel},
    OrderPaymentState.COMPLETED: {OrderCreated: Cell.RECORDED, OrderCancelled: refund},
    OrderPaymentState.FAILED: {OrderCreated: Cell.RECORDED, OrderCancelled: Cell.RECORDED},
    OrderPaymentState.REFUNDING: {OrderCreated: Cell.RECORDED, OrderCancelled: Cell.RECORDED},
    OrderPaymentState.REFUNDED: {OrderCreated: Cell.RECORDED, OrderCancelled: Cell.RECORDED},
}
