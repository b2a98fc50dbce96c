"""What shipping does about the events of a choreographed order, in each state of the order's shipment."""

from dataclasses import asdict
from typing import Final

from inventory.events import StockReserved
from orders.events import OrderCancelled, OrderConfirmed, OrderCreated
from sagas.events import Cell, publish, react
from sagas.events.reactions import Table

from .calls import lock, move, request_booking, request_quote
from .events import ShipmentRefused
from .models import OrderShipment, OrderShipmentState

Handled = OrderCreated | StockReserved | OrderConfirmed | OrderCancelled
NONE = "none"  # there is no row


def follow(event: Handled) -> None:
    """Do what the table says.

    Raises: NotYet; ContractViolated.
    Tx: must be inside one of shipping's database.
    """
    shipment = lock(event.order_id)
    react(TABLE, shipment.state if shipment else NONE, shipment or OrderShipment(order_number=event.order_id), event)


def remember(shipment: OrderShipment, created: OrderCreated) -> None:
    """Remember where the order goes, to ask the carrier once the goods are reserved."""
    shipment.address = asdict(created.address)
    move(shipment, OrderShipmentState.KNOWN)


def entomb(shipment: OrderShipment, _cancelled: OrderCancelled) -> None:
    """Remember that the order must never be quoted."""
    move(shipment, OrderShipmentState.TOMBSTONE)


def refuse(shipment: OrderShipment, reserved: StockReserved) -> None:
    """Report that a cancelled order is not quoted."""
    move(shipment, OrderShipmentState.REFUSED)
    publish(ShipmentRefused(order_id=reserved.order_id, reason="cancelled"))


def quote(shipment: OrderShipment, _reserved: StockReserved) -> None:
    """Begin to ask the carrier."""
    request_quote(shipment)


def remember_cancel(shipment: OrderShipment, _cancelled: OrderCancelled) -> None:
    """Remember to refuse the order, whatever the carrier answers."""
    shipment.is_cancelled = True
    move(shipment, OrderShipmentState.QUOTING)


def book(shipment: OrderShipment, _confirmed: OrderConfirmed) -> None:
    """Begin to book the parcel."""
    request_booking(shipment)


def cancel(shipment: OrderShipment, _cancelled: OrderCancelled) -> None:
    """Forget the quote; nothing is booked."""
    move(shipment, OrderShipmentState.CANCELLED)


TABLE: Final[Table] = {
    NONE: {
        OrderCreated: remember,
        StockReserved: Cell.NOT_YET,
        OrderConfirmed: Cell.NOT_YET,
        OrderCancelled: entomb,
    },
    OrderShipmentState.KNOWN: {
        OrderCreated: Cell.RECORDED,
        StockReserved: quote,
        OrderConfirmed: Cell.NOT_YET,
        OrderCancelled: entomb,
    },
    OrderShipmentState.QUOTING: {
        OrderCreated: Cell.RECORDED,
        StockReserved: Cell.RECORDED,
        OrderConfirmed: Cell.NOT_YET,
        OrderCancelled: remember_cancel,
    },
    OrderShipmentState.QUOTED: {
        OrderCreated: Cell.RECORDED,
        StockReserved: Cell.RECORDED,
        OrderConfirmed: book,
        OrderCancelled: cancel,
    },
    OrderShipmentState.BOOKING: {
        OrderCreated: Cell.RECORDED,
        StockReserved: Cell.RECORDED,
        OrderConfirmed: Cell.RECORDED,
        OrderCancelled: Cell.VIOLATION,
    },
    OrderShipmentState.CANCELLED: {
        OrderCreated: Cell.RECORDED,
        StockReserved: Cell.RECORDED,
        OrderConfirmed: Cell.VIOLATION,
        OrderCancelled: Cell.RECORDED,
    },
    OrderShipmentState.TOMBSTONE: {
        OrderCreated: Cell.RECORDED,
        StockReserved: refuse,
        OrderConfirmed: Cell.VIOLATION,
        OrderCancelled: Cell.RECORDED,
    },
    OrderShipmentState.REFUSED: {
        OrderCreated: Cell.RECORDED,
        StockReserved: Cell.RECORDED,
        OrderConfirmed: Cell.VIOLATION,
        OrderCancelled: Cell.RECORDED,
    },
    OrderShipmentState.BOOKED: {
        OrderCreated: Cell.RECORDED,
        StockReserved: Cell.RECORDED,
        OrderConfirmed: Cell.RECORDED,
        OrderCancelled: Cell.VIOLATION,
    },
}
