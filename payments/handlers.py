"""Events that payments reacts to; ``payments.reactions`` says how."""

from orders.events import OrderCancelled, OrderCreated
from sagas.events import on

from .reactions import follow


@on(OrderCreated)
@on(OrderCancelled, undoes=True)
def react_to_order(event: OrderCreated | OrderCancelled) -> None:
    """React to an order that was placed or cancelled."""
    follow(event)
