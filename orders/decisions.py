"""Decisions about choreographed orders: each ends the order and publishes that in one transaction.

Only the orders decide; the other participants report facts.
"""

from django.db import transaction
from django.utils import timezone

from sagas.events import publish

from . import transitions
from .events import OrderCancelled, OrderConfirmed
from .exceptions import CancelTooLate, OrderNotFound
from .models import Coordination, Order, OrderFacts, OrderStatus
from .reasons import Reason


def lock(number: str) -> Order | None:
    """Lock a choreographed order; None if there is none.

    Tx: must be inside one.
    """
    return Order.objects.select_for_update().filter(number=number, coordination=Coordination.CHOREOGRAPHY).first()


def confirm(order: Order) -> None:
    """Confirm a pending order.

    Tx: must be inside one, with the order locked.
    """
    transitions.confirm_order(number=order.number)
    publish(OrderConfirmed(order_id=order.number), correlation_id=str(order.saga_id))


def cancel(order: Order, reason: Reason) -> None:
    """Cancel a pending order.

    Tx: must be inside one, with the order locked.
    """
    transitions.reject_order(number=order.number, reason=reason)
    publish(OrderCancelled(order_id=order.number, reason=reason.value), correlation_id=str(order.saga_id))


def request_cancel(number: str, reason: Reason) -> None:
    """Cancel the order while it is pending; one that is cancelled stays as it is.

    Raises: OrderNotFound, CancelTooLate.
    Tx: opens one, or joins the caller's.
    """
    with transaction.atomic():
        order = lock(number)
        if order is None:
            raise OrderNotFound(number)
        if order.status == OrderStatus.CONFIRMED:
            raise CancelTooLate(number)
        if order.status == OrderStatus.PENDING:
            cancel(order, reason)


def remind(order: Order, facts: OrderFacts) -> bool:
    """Publish once more that the order is cancelled, because an effect was reported and not undone in time.

    It is a new event, once for each order: whoever has heard the first one ignores it.
    Returns: whether it was published now.
    Tx: must be inside one, with the order locked.
    """
    if order.status != OrderStatus.CANCELLED or facts.reminded_at is not None or not facts.has_effect:
        return False
    facts.reminded_at = timezone.now()
    facts.save()
    publish(OrderCancelled(order_id=order.number, reason=order.reason), correlation_id=str(order.saga_id))
    return True
