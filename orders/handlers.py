"""Events that the orders react to; ``orders.reactions`` says how."""

from typing import Any

from inventory.events import StockFailed, StockReleased, StockReserved, StockShipped
from payments.events import PaymentCompleted, PaymentFailed, PaymentRefunded
from sagas.events import on
from shipping.events import ShipmentBooked, ShipmentQuoted, ShipmentRefused

from .reactions import follow


@on(PaymentCompleted)
@on(PaymentFailed)
@on(PaymentRefunded)
@on(StockReserved)
@on(StockFailed)
@on(StockReleased)
@on(StockShipped)
@on(ShipmentQuoted)
@on(ShipmentRefused)
@on(ShipmentBooked)
def react_to_fact(event: Any) -> None:
    """React to a fact that a participant reports."""
    follow(event)
