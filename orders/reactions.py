"""What the orders do about the facts that participants of a choreographed order report, in each state of the order."""

from dataclasses import dataclass
from typing import Any, Final

from django.utils import timezone

from inventory.events import StockFailed, StockReleased, StockReserved, StockShipped
from payments.events import PaymentCompleted, PaymentFailed, PaymentRefunded
from sagas.events import Cell, NotYet, react
from sagas.events.reactions import Table
from shipping.events import ShipmentBooked, ShipmentQuoted, ShipmentRefused

from . import decisions
from .models import Order, OrderFacts, OrderStatus
from .reasons import explain_failure

COLUMNS: Final = {
    PaymentCompleted: "paid_at",
    StockReserved: "reserved_at",
    ShipmentQuoted: "quoted_at",
    PaymentRefunded: "refunded_at",
    StockReleased: "released_at",
    ShipmentBooked: "booked_at",
    StockShipped: "shipped_at",
}
Failure = PaymentFailed | StockFailed | ShipmentRefused


@dataclass(frozen=True, kw_only=True)
class Decided:
    """Locked order, and what was reported about it."""

    order: Order
    facts: OrderFacts


def follow(event: Any) -> None:
    """Do what the table says.

    Raises: NotYet; ContractViolated.
    Tx: must be inside one.
    Locks: the order.
    """
    order = decisions.lock(event.order_id)
    if order is None:
        raise NotYet(f"There is no choreographed order {event.order_id}.")
    facts, _ = OrderFacts.objects.get_or_create(order=order)
    react(TABLE, order.status, Decided(order=order, facts=facts), event)


def note(decided: Decided, event: Any) -> None:
    """Note when the fact was first reported."""
    column = COLUMNS[type(event)]
    if getattr(decided.facts, column) is None:
        setattr(decided.facts, column, timezone.now())
        decided.facts.save(update_fields=(column,))


def note_and_decide(decided: Decided, event: PaymentCompleted | StockReserved | ShipmentQuoted) -> None:
    """Note the fact, and confirm the order once payment, stock and quote are there, in whatever order they came."""
    note(decided, event)
    if decided.facts.is_complete:
        decisions.confirm(decided.order)


def cancel(decided: Decided, event: Failure) -> None:
    """Cancel the order, with the reason that the customer is told."""
    decisions.cancel(decided.order, explain_failure(event))


TABLE: Final[Table] = {
    OrderStatus.PENDING: {
        PaymentCompleted: note_and_decide,
        StockReserved: note_and_decide,
        ShipmentQuoted: note_and_decide,
        PaymentFailed: cancel,
        StockFailed: cancel,
        ShipmentRefused: cancel,
        PaymentRefunded: Cell.VIOLATION,
        StockReleased: Cell.VIOLATION,
        ShipmentBooked: Cell.VIOLATION,
        StockShipped: Cell.VIOLATION,
    },
    OrderStatus.CONFIRMED: {
        PaymentCompleted: Cell.RECORDED,
        StockReserved: Cell.RECORDED,
        ShipmentQuoted: Cell.RECORDED,
        PaymentFailed: Cell.VIOLATION,
        StockFailed: Cell.VIOLATION,
        ShipmentRefused: Cell.VIOLATION,
        PaymentRefunded: Cell.VIOLATION,
        StockReleased: Cell.VIOLATION,
        ShipmentBooked: note,
        StockShipped: note,
    },
    OrderStatus.CANCELLED: {
        PaymentCompleted: note,
        StockReserved: note,
        ShipmentQuoted: Cell.RECORDED,
        PaymentFailed: Cell.RECORDED,
        StockFailed: Cell.RECORDED,
        ShipmentRefused: Cell.RECORDED,
        PaymentRefunded: note,
        StockReleased: note,
        ShipmentBooked: Cell.VIOLATION,
        StockShipped: Cell.VIOLATION,
    },
}
