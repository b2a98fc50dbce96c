"""Events of the orders: the only participant that confirms or cancels a checkout."""

from dataclasses import dataclass

from sagas.events import Personal, event


@dataclass(frozen=True, kw_only=True)
class OrderedLine:
    """Quantity of one SKU."""

    sku: str
    """Stock keeping unit, as in the catalogue."""
    quantity: int
    """Number of units."""


@dataclass(frozen=True, kw_only=True)
class OrderedTotal:
    """Price of the whole order."""

    amount_minor: int
    """In the currency's smallest unit."""
    currency: str
    """Code of ISO 4217."""


@dataclass(frozen=True, kw_only=True)
class ShippingAddress:
    """Where the goods go."""

    name: str
    """Recipient."""
    line1: str
    """Street and number."""
    line2: str = ""
    """Flat, floor, company; may be empty."""
    city: str
    """Town."""
    postal_code: str
    """Postal code in the country's format."""
    country: str
    """Code of ISO 3166-1 alpha-2."""


@event("OrderCreated", key="order_id", flow="checkout")
class OrderCreated:
    """An order was placed. It carries what the participants need, so that none reads another's tables."""

    order_id: str
    """The order's number."""
    lines: tuple[OrderedLine, ...]
    """What inventory reserves."""
    total: OrderedTotal
    """What payments charges."""
    payment_method: str
    """The payment provider's reference, never card data."""
    address: Personal[ShippingAddress]
    """Where shipping sends it."""


@event("OrderConfirmed", key="order_id", flow="checkout")
class OrderConfirmed:
    """Paid, reserved and quoted: the order is carried out and can no longer be cancelled."""

    order_id: str
    """The order's number."""


@event("OrderCancelled", key="order_id", flow="checkout")
class OrderCancelled:
    """The order is over: every participant undoes what it did, and does nothing later."""

    order_id: str
    """The order's number."""
    reason: str = ""
    """A code of ``orders.reasons``, for people: nobody decides by it."""
