"""Stable words for why an order ended, or is about to end, without a payment.

Customers read these codes, so they tell nothing about the inside of the shop: no participant, no error text.
"""

from collections.abc import Mapping
from typing import Any, Final

from django.db import models

from inventory.events import StockFailed
from payments.events import PaymentFailed
from shipping.events import ShipmentRefused


class Reason(models.TextChoices):
    """Every reason; stored in ``Order.reason`` and shown to customers."""

    OUT_OF_STOCK = "out_of_stock", "A product is out of stock"
    PAYMENT_DECLINED = "payment_declined", "The payment was declined"
    ADDRESS_NOT_SERVED = "address_not_served", "The carrier does not serve the address"
    CANCELLED_BY_CUSTOMER = "cancelled_by_customer", "Cancelled by the customer"
    CANCELLED_BY_SHOP = "cancelled_by_shop", "Cancelled by the shop"
    TOOK_TOO_LONG = "took_too_long", "The checkout was not finished in time"
    TEMPORARILY_UNAVAILABLE = "temporarily_unavailable", "A service was unavailable"
    UNDER_REVIEW = "under_review", "The shop reviews the order"


FAILURES: Final[Mapping[type, Reason]] = {
    PaymentFailed: Reason.PAYMENT_DECLINED,
    StockFailed: Reason.OUT_OF_STOCK,
    ShipmentRefused: Reason.ADDRESS_NOT_SERVED,
}
REFUSALS: Final[Mapping[str, Reason]] = {
    "reserve_stock": Reason.OUT_OF_STOCK,
    "authorize_payment": Reason.PAYMENT_DECLINED,
    "book_shipment": Reason.ADDRESS_NOT_SERVED,
    "capture_payment": Reason.PAYMENT_DECLINED,
}


def explain_failure(event: PaymentFailed | StockFailed | ShipmentRefused) -> Reason:
    """Return the reason, as shown to the customer, why a participant could not do its part."""
    return Reason.TEMPORARILY_UNAVAILABLE if event.reason == "unavailable" else FAILURES[type(event)]


def explain(cause: Mapping[str, Any], *, owner: str) -> Reason:
    """Return the reason, as shown to the customer, why the saga turned back.

    ``owner`` is the customer's name as an actor of the engine.
    """
    kind = cause.get("kind")
    if kind == "refused":
        return REFUSALS.get(str(cause.get("step")), Reason.TEMPORARILY_UNAVAILABLE)
    if kind == "budget_spent":
        return Reason.TEMPORARILY_UNAVAILABLE
    if kind == "deadline":
        return Reason.TOOK_TOO_LONG
    if kind == "cancel" and cause.get("actor") == owner:
        return Reason.CANCELLED_BY_CUSTOMER
    return Reason.CANCELLED_BY_SHOP
