"""The choreographed checkout: who owes which event after which, and how its orders begin, end and are cancelled."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.db import transaction

from inventory.events import StockFailed, StockReleased, StockReserved, StockShipped
from payments.events import PaymentCompleted, PaymentFailed, PaymentRefunded
from sagas import OperationRefused
from sagas.choreography import ChoreographyDefinition, Expected
from sagas.events import publish
from shipping.events import ShipmentBooked, ShipmentQuoted, ShipmentRefused

from . import decisions
from .events import OrderCancelled, OrderConfirmed, OrderCreated, OrderedLine, OrderedTotal, ShippingAddress
from .exceptions import CancelTooLate, OrderNotFound
from .models import Order, OrderFacts, OrderLine, OrderStatus
from .reasons import Reason


class CheckoutEvents(ChoreographyDefinition):
    """Pay for and ship a placed order by events, or undo everything."""

    payment = Expected(
        after=[OrderCreated], success=[PaymentCompleted], refusal=[PaymentFailed], undone=[PaymentRefunded]
    )
    stock = Expected(after=[PaymentCompleted], success=[StockReserved], refusal=[StockFailed], undone=[StockReleased])
    quote = Expected(after=[StockReserved], success=[ShipmentQuoted], refusal=[ShipmentRefused])
    confirmation = Expected(
        after=[PaymentCompleted, StockReserved, ShipmentQuoted], success=[OrderConfirmed], is_pivot=True
    )
    shipment = Expected(after=[OrderConfirmed], success=[ShipmentBooked, StockShipped])

    class Meta:
        name = "checkout-events"
        version = 1
        begins_with = OrderCreated
        cancelled_by = OrderCancelled
        limit = timedelta(minutes=5)
        deadline = timedelta(minutes=15)
        on_deadline = "orders.choreography.expire"
        on_cancel = "orders.choreography.cancel"
        on_overdue = "orders.choreography.remind"


def announce(order: Order, lines: Sequence[OrderLine]) -> UUID:
    """Publish that the order was placed, with what each participant needs of it.

    Returns: the id of the event.
    Tx: must be inside the one that stores the order and its saga.
    """
    address = ShippingAddress(
        name=order.ship_to_name,
        line1=order.ship_to_line1,
        line2=order.ship_to_line2,
        city=order.ship_to_city,
        postal_code=order.ship_to_postal_code,
        country=order.ship_to_country,
    )
    created = OrderCreated(
        order_id=order.number,
        lines=tuple(OrderedLine(sku=line.sku, quantity=line.quantity) for line in lines),
        total=OrderedTotal(amount_minor=order.total_minor, currency=order.currency),
        payment_method=order.payment_method,
        address=address,
    )
    return publish(created, correlation_id=str(order.saga_id))


def cancel(number: str) -> None:
    """Cancel an order for an operator.

    Raises: OperationRefused when it is confirmed, or there is no such order.
    """
    try:
        decisions.request_cancel(number, Reason.CANCELLED_BY_SHOP)
    except (CancelTooLate, OrderNotFound) as error:
        raise OperationRefused(str(error)) from error


def expire(number: str) -> None:
    """Cancel an order whose deadline has passed; a confirmed one stays."""
    with transaction.atomic():
        order = decisions.lock(number)
        if order is not None and order.status == OrderStatus.PENDING:
            decisions.cancel(order, Reason.TOOK_TOO_LONG)


def remind(number: str) -> bool:
    """Publish once more that the order is cancelled, if an effect was reported and is not undone.

    Returns: whether it was published now.
    """
    with transaction.atomic():
        order = decisions.lock(number)
        facts = OrderFacts.objects.filter(order=order).first() if order is not None else None
        return order is not None and facts is not None and decisions.remind(order, facts)
