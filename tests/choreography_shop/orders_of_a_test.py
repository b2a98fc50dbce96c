"""Choreographed orders that tests place without a request, and the events about them."""

import uuid
from typing import Any

from django.contrib.auth.models import User

from inventory import services as inventory
from orders.events import OrderCreated, OrderedLine, OrderedTotal, ShippingAddress
from orders.models import Coordination, Order

SKU = "TEA-SENCHA"
ON_HAND = 10
NUMBER = "ORD-1"


def place(number: str = NUMBER, **changes: Any) -> Order:
    """Store a pending order that events are about."""
    owner, _ = User.objects.get_or_create(username="customer")
    given = {
        "number": number, "owner": owner, "payment_method": "pm_card_visa", "total_minor": 2300, "currency": "EUR",
        "ship_to_name": "Ada", "ship_to_line1": "1 Tea Street", "ship_to_city": "London", "ship_to_postal_code": "N1",
        "ship_to_country": "GB", "saga_id": uuid.uuid4(), "coordination": Coordination.CHOREOGRAPHY, **changes,
    }  # fmt: skip
    return Order.objects.create(**given)


def make_created(number: str = NUMBER, **changes: Any) -> OrderCreated:
    """Return the event that begins the flow."""
    given: dict[str, Any] = {
        "lines": (OrderedLine(sku=SKU, quantity=2),),
        "total": OrderedTotal(amount_minor=2300, currency="EUR"),
        "payment_method": "pm_card_visa",
        "address": ShippingAddress(name="Ada", line1="1 Tea Street", city="London", postal_code="N1", country="GB"),
        **changes,
    }
    return OrderCreated(order_id=number, **given)


def fill_stock() -> None:
    """Put the product of all tests on the shelf."""
    inventory.ensure_stock(SKU, ON_HAND)
