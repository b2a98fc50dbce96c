"""Find what may be shown to whom."""

from dataclasses import dataclass

from django.contrib.auth.models import AbstractBaseUser
from django.db.models import QuerySet

from inventory.services import availability

from .exceptions import OrderNotFound
from .models import Order, Product


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One product and how much of it is left."""

    product: Product
    """The product."""
    available: int
    """Units that can be ordered now."""


def list_offers() -> list[Offer]:
    """Return what can be ordered, by SKU."""
    products = list(Product.objects.filter(is_active=True).order_by("sku"))
    left = availability(product.sku for product in products)
    return [Offer(product=product, available=left[product.sku]) for product in products]


def list_orders(owner: AbstractBaseUser) -> QuerySet[Order]:
    """Return the orders of one customer, with their lines."""
    return Order.objects.filter(owner=owner).select_related("owner").prefetch_related("lines")


def get_order(number: str, *, viewer: AbstractBaseUser) -> Order:
    """Return an order with its lines to its owner, or to staff.

    Raises: OrderNotFound, also for another customer's order, so that its existence is not disclosed.
    """
    orders = Order.objects.select_related("owner").prefetch_related("lines").filter(number=number)
    if not getattr(viewer, "is_staff", False):
        orders = orders.filter(owner=viewer)
    order = orders.first()
    if order is None:
        raise OrderNotFound(number)
    return order
