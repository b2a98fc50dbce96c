"""Final transitions of an order, made once and only by its saga: confirm or reject."""

from django.utils import timezone

from .exceptions import OrderNotFound, OrderStateConflict
from .models import Order, OrderStatus
from .reasons import Reason


def confirm_order(*, number: str) -> Order:
    """End the order well; a repeat changes nothing.

    Raises: OrderNotFound, OrderStateConflict when it is cancelled.
    Locks: the order, by its UPDATE.
    Tx: joins the caller's.
    """
    return _end(number, OrderStatus.CONFIRMED, reason="")


def reject_order(*, number: str, reason: Reason) -> Order:
    """Cancel the order; a repeat changes nothing, also not the first reason.

    Raises: OrderNotFound, OrderStateConflict when it is confirmed.
    Locks: the order, by its UPDATE.
    Tx: joins the caller's.
    """
    return _end(number, OrderStatus.CANCELLED, reason=reason.value)


def _end(number: str, status: OrderStatus, *, reason: str) -> Order:
    """Move a pending order by one conditional UPDATE, and look only when there was none."""
    Order.objects.filter(number=number, status=OrderStatus.PENDING).update(
        status=status, reason=reason, closed_at=timezone.now()
    )
    order = Order.objects.filter(number=number).first()
    if order is None:
        raise OrderNotFound(number)
    if order.status != status:
        raise OrderStateConflict(number, order.status)
    return order
