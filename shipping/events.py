"""Events of shipping. Each is about one order; every other field may be missing, and nobody decides by it."""

from sagas.events import event


@event("ShipmentQuoted", key="order_id", flow="checkout")
class ShipmentQuoted:
    """The carrier would deliver it; nothing is booked."""

    order_id: str
    """The order's number."""
    amount_minor: int = 0
    """Price in the currency's smallest unit."""
    currency: str = ""
    """Code of ISO 4217."""
    transit_days: int = 0
    """Working days from pick-up to delivery; 0: unknown."""


@event("ShipmentRefused", key="order_id", flow="checkout")
class ShipmentRefused:
    """The carrier does not deliver it; nothing is booked."""

    order_id: str
    """The order's number."""
    reason: str = ""
    """``not_served``, ``unavailable`` or ``cancelled``."""


@event("ShipmentBooked", key="order_id", flow="checkout")
class ShipmentBooked:
    """The carrier will fetch the parcel."""

    order_id: str
    """The order's number."""
    reference: str = ""
    """The carrier's reference."""
