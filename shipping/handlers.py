"""Events that shipping reacts to; ``shipping.reactions`` says how."""

from inventory.events import StockReserved
from orders.events import OrderCancelled, OrderConfirmed, OrderCreated
from sagas.events import on

from .reactions import Handled, follow


@on(OrderCreated)
@on(StockReserved)
@on(OrderConfirmed)
@on(OrderCancelled, undoes=True)
def react_to_order(event: Handled) -> None:
    """React to an order that was placed, reserved, confirmed or cancelled."""
    follow(event)
