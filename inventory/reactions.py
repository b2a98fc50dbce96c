"""What the inventory does about the events of a choreographed order, in each state of the order's stock.

An overdue reservation is shown to operators and never expires by itself, which would sell the goods twice: only
``OrderCancelled`` releases it.
"""

from typing import Final

from django.db import router
from django.utils import timezone

from orders.events import OrderCancelled, OrderConfirmed, OrderCreated
from payments.events import PaymentCompleted
from sagas.events import Cell, publish, react
from sagas.events.reactions import Table

from . import services
from .events import StockFailed, StockReleased, StockReserved, StockShipped
from .exceptions import OutOfStock
from .models import OrderStock, OrderStockState

Handled = OrderCreated | PaymentCompleted | OrderConfirmed | OrderCancelled
NONE = "none"  # there is no row


def follow(event: Handled) -> None:
    """Do what the table says.

    Raises: NotYet; ContractViolated.
    Tx: must be inside one of the inventory's database, with the key of the event locked.
    """
    stock = OrderStock.objects.using(_database()).filter(order_number=event.order_id).first()
    react(TABLE, stock.state if stock else NONE, stock or OrderStock(order_number=event.order_id), event)


def remember(stock: OrderStock, created: OrderCreated) -> None:
    """Remember what was ordered, to reserve it once it is paid."""
    stock.lines = [{"sku": line.sku, "quantity": line.quantity} for line in created.lines]
    _move(stock, OrderStockState.KNOWN)


def entomb(stock: OrderStock, _cancelled: OrderCancelled) -> None:
    """Remember that nothing must ever be reserved for the order."""
    _move(stock, OrderStockState.TOMBSTONE)


def refuse(stock: OrderStock, paid: PaymentCompleted) -> None:
    """Report that nothing is reserved for a cancelled order."""
    _move(stock, OrderStockState.FAILED)
    publish(StockFailed(order_id=paid.order_id, reason="cancelled"))


def reserve(stock: OrderStock, paid: PaymentCompleted) -> None:
    """Reserve all lines, or none."""
    lines = [services.Line(**line) for line in stock.lines]
    try:
        services.reserve(key=paid.order_id, order_number=paid.order_id, lines=lines)
    except OutOfStock as error:
        _move(stock, OrderStockState.FAILED)
        skus = tuple(shortage.sku for shortage in error.shortages)
        publish(StockFailed(order_id=paid.order_id, reason="out_of_stock", skus=skus))
        return
    _move(stock, OrderStockState.RESERVED)
    publish(StockReserved(order_id=paid.order_id))


def ship(stock: OrderStock, confirmed: OrderConfirmed) -> None:
    """Count the reserved stock as shipped."""
    services.ship(key=confirmed.order_id)
    _move(stock, OrderStockState.PERMANENT)
    publish(StockShipped(order_id=confirmed.order_id))


def release(stock: OrderStock, cancelled: OrderCancelled) -> None:
    """Give the reserved stock back."""
    services.release(key=cancelled.order_id)
    _move(stock, OrderStockState.RELEASED)
    publish(StockReleased(order_id=cancelled.order_id))


def _move(stock: OrderStock, state: OrderStockState) -> None:
    stock.state, stock.changed_at = state, timezone.now()
    stock.save(using=_database())


def _database() -> str:
    return router.db_for_write(OrderStock)


TABLE: Final[Table] = {
    NONE: {
        OrderCreated: remember,
        PaymentCompleted: Cell.NOT_YET,
        OrderConfirmed: Cell.NOT_YET,
        OrderCancelled: entomb,
    },
    OrderStockState.KNOWN: {
        OrderCreated: Cell.RECORDED,
        PaymentCompleted: reserve,
        OrderConfirmed: Cell.NOT_YET,
        OrderCancelled: entomb,
    },
    OrderStockState.TOMBSTONE: {
        OrderCreated: Cell.RECORDED,
        PaymentCompleted: refuse,
        OrderConfirmed: Cell.VIOLATION,
        OrderCancelled: Cell.RECORDED,
    },
    OrderStockState.RESERVED: {
        OrderCreated: Cell.RECORDED,
        PaymentCompleted: Cell.RECORDED,
        OrderConfirmed: ship,
        OrderCancelled: release,
    },
    OrderStockState.FAILED: {
        OrderCreated: Cell.RECORDED,
        PaymentCompleted: Cell.RECORDED,
        OrderConfirmed: Cell.VIOLATION,
        OrderCancelled: Cell.RECORDED,
    },
    OrderStockState.RELEASED: {
        OrderCreated: Cell.RECORDED,
        PaymentCompleted: Cell.RECORDED,
        OrderConfirmed: Cell.VIOLATION,
        OrderCancelled: Cell.RECORDED,
    },
    OrderStockState.PERMANENT: {
        OrderCreated: Cell.RECORDED,
        PaymentCompleted: Cell.RECORDED,
        OrderConfirmed: Cell.RECORDED,
        OrderCancelled: Cell.VIOLATION,
    },
}
