"""Events of the inventory. Each is about one order; every other field may be missing, and nobody decides by it."""

from sagas.events import event


@event("StockReserved", key="order_id", flow="checkout")
class StockReserved:
    """The goods are set aside."""

    order_id: str
    """The order's number."""


@event("StockFailed", key="order_id", flow="checkout")
class StockFailed:
    """Nothing is set aside."""

    order_id: str
    """The order's number."""
    reason: str = ""
    """``out_of_stock`` or ``cancelled``."""
    skus: tuple[str, ...] = ()
    """What there was too little of."""


@event("StockReleased", key="order_id", flow="checkout")
class StockReleased:
    """The goods that were set aside can be sold again."""

    order_id: str
    """The order's number."""


@event("StockShipped", key="order_id", flow="checkout")
class StockShipped:
    """The goods left the stock for good."""

    order_id: str
    """The order's number."""
