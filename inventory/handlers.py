"""Events that the inventory reacts to; ``inventory.reactions`` says how."""

from orders.events import OrderCancelled, OrderConfirmed, OrderCreated
from payments.events import PaymentCompleted
from sagas.events import on

from .reactions import Handled, follow


@on(OrderCreated)
@on(PaymentCompleted)
@on(OrderConfirmed)
@on(OrderCancelled, undoes=True)
def react_to_order(event: Handled) -> None:
    """React to an order that was placed, paid, confirmed or cancelled."""
    follow(event)
