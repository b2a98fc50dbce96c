"""The scenario of ``manage.py saga_explore``: how a checkout is started and what it leaves behind.

Remaining effects are read from the sandbox providers' own ledgers and the stock's rows, by value and through the app
registry, not from the participants' records.
"""

from collections.abc import Mapping
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import models, router

from inventory import services as inventory
from inventory.exceptions import OutOfStock, Shortage
from payments.exceptions import PaymentDeclined
from sagas.core.definition.context import step_key
from sagas.models import Saga
from sagas.testing import Scenario, register_scenario
from shipping.exceptions import AddressNotServed

from . import services
from .models import Order, OrderStatus, Product
from .requests import Address, CheckoutRequest, LineRequest
from .sagas import CheckoutSaga

SKU = "EXPLORED-TEA"
ON_HAND = 100_000  # every trial buys two
EXPLORED = "explored"


def start_checkout() -> Saga:
    """Place an order that nothing stands against."""
    customer, _ = get_user_model()._default_manager.get_or_create(username="explorer")
    Product.objects.get_or_create(sku=SKU, defaults={"name": "Tea", "unit_price_minor": 890, "currency": "EUR"})
    inventory.ensure_stock(SKU, ON_HAND)
    address = Address(name="Ada", line1="1 Tea Street", line2="", city="London", postal_code="N1 1AA", country="GB")
    lines = (LineRequest(sku=SKU, quantity=2),)
    request = CheckoutRequest(lines=lines, payment_method="pm_card_visa", shipping_address=address)
    order = services.place_order(customer=customer, request=request)
    return Saga.objects.get(pk=order.saga_id)


def look_around(saga: Saga) -> Mapping[str, int]:
    """Count what the checkout left: money, stock, parcels and the order itself."""
    payment, stock = step_key(saga.pk, "authorize_payment"), step_key(saga.pk, "reserve_stock")
    shipment = step_key(saga.pk, "book_shipment")
    captures = {"authorization__key": payment, "kind": "capture", "outcome": "succeeded"}
    return {
        "money held": _count("payments", "SandboxAuthorization", key=payment, state="held"),
        "captures": _count("payments", "SandboxOperation", **captures),
        "stock reserved": _add_up(stock, "reserved"),
        "stock shipped": _add_up(stock, "shipped"),
        "parcels booked": _count("shipping", "SandboxBooking", key=shipment, state="booked"),
        "orders open": Order.objects.filter(saga_id=saga.pk, status=OrderStatus.PENDING).count(),
        "orders confirmed": Order.objects.filter(saga_id=saga.pk, status=OrderStatus.CONFIRMED).count(),
    }


def _add_up(key: str, state: str) -> int:
    lines = _rows("inventory", "ReservationLine").filter(reservation__key=key, reservation__state=state)
    return int(lines.aggregate(total=models.Sum("quantity"))["total"] or 0)


def _count(app: str, model: str, **wanted: Any) -> int:
    return _rows(app, model).filter(**wanted).count()


def _rows(app: str, model: str) -> models.QuerySet[Any]:
    found = apps.get_model(app, model)
    return found._default_manager.using(router.db_for_write(found))


register_scenario(
    Scenario(
        definition=CheckoutSaga,
        start=start_checkout,
        look=look_around,
        refusals={
            "reserve_stock": OutOfStock(key=EXPLORED, shortages=[Shortage(sku=SKU, asked=2, available=0)]),
            "authorize_payment": PaymentDeclined(code=EXPLORED, key=EXPLORED),
            "book_shipment": AddressNotServed(postal_code="00000", country="GB"),
            "capture_payment": PaymentDeclined(code=EXPLORED, key=EXPLORED),
        },
    )
)
