"""Events of payments. Each is about one order; every field but its number may be missing, and nobody decides by it."""

from sagas.events import event


@event("PaymentCompleted", key="order_id", flow="checkout")
class PaymentCompleted:
    """The money was taken."""

    order_id: str
    """The order's number."""
    amount_minor: int = 0
    """In the currency's smallest unit."""
    currency: str = ""
    """Code of ISO 4217."""


@event("PaymentFailed", key="order_id", flow="checkout")
class PaymentFailed:
    """No money was taken."""

    order_id: str
    """The order's number."""
    reason: str = ""
    """``declined``, ``unavailable`` or ``cancelled``."""


@event("PaymentRefunded", key="order_id", flow="checkout")
class PaymentRefunded:
    """All money that was taken was given back."""

    order_id: str
    """The order's number."""
