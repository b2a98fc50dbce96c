"""Fill an empty shop with the demo's users, products and stock. Never run by a migration."""

from dataclasses import dataclass

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db import transaction

from inventory.services import ensure_stock
from sagas.admin.ui.groups import ensure_groups

from .models import Product

VIEWERS = "Saga viewers"
OPERATORS = "Saga operators"
SUPERVISORS = "Saga supervisors"
# Beside what the engine gives these groups: the rows that a saga is about, and the sandbox that misbehaves on request.
VIEW_PERMISSIONS = (
    "orders.view_order",
    "orders.view_orderfacts",
    "orders.view_orderline",
    "orders.view_product",
    "inventory.view_stockitem",
    "inventory.view_orderstock",
    "inventory.view_reservation",
    "inventory.view_reservationline",
    "payments.view_orderpayment",
    "payments.view_payment",
    "payments.view_paymentoperation",
    "payments.view_sandboxauthorization",
    "payments.view_sandboxoperation",
    "shipping.view_ordershipment",
    "shipping.view_shipment",
    "shipping.view_shipmentoperation",
)
OPERATE_PERMISSIONS = ("payments.clear_failure", "payments.look_up_payment")


@dataclass(frozen=True, kw_only=True)
class DemoUser:
    """One account; its password is its name."""

    username: str
    """Name and password."""
    group: str = ""
    """The group it is in; empty for none."""
    is_staff: bool = False
    """Whether it may log in to the admin."""
    is_superuser: bool = False
    """Whether it may do everything."""


@dataclass(frozen=True, kw_only=True)
class DemoProduct:
    """One product."""

    sku: str
    """Its SKU."""
    name: str
    """Its name."""
    unit_price_minor: int
    """Its price in euro cents."""
    on_hand: int
    """Its opening stock."""


USERS = (
    DemoUser(username="operator", group=OPERATORS, is_staff=True),
    DemoUser(username="supervisor", group=SUPERVISORS, is_staff=True),
    DemoUser(username="viewer", group=VIEWERS, is_staff=True),
    DemoUser(username="admin", is_staff=True, is_superuser=True),
    DemoUser(username="customer"),
)
PRODUCTS = (
    DemoProduct(sku="TEA-EARL-GREY", name="Earl Grey, 100 g", unit_price_minor=790, on_hand=100_000),
    DemoProduct(sku="TEA-SENCHA", name="Sencha, 100 g", unit_price_minor=1150, on_hand=100_000),
    DemoProduct(sku="MUG-WHITE", name="White mug", unit_price_minor=950, on_hand=100_000),
    DemoProduct(sku="KETTLE-COPPER", name="Copper kettle", unit_price_minor=12900, on_hand=1),
    DemoProduct(sku="SCONE-SOLD-OUT", name="Scone", unit_price_minor=320, on_hand=0),
)


def seed_shop() -> None:
    """Create what is missing; what is there stays as it is, also a changed price, password or stock.

    Tx: opens one in the main database, and the inventory's own.
    """
    with transaction.atomic():
        ensure_groups()
        _grant(VIEWERS, VIEW_PERMISSIONS)
        for group in (OPERATORS, SUPERVISORS):
            _grant(group, (*VIEW_PERMISSIONS, *OPERATE_PERMISSIONS))
        for user in USERS:
            _ensure_user(user)
        for product in PRODUCTS:
            defaults = {"name": product.name, "unit_price_minor": product.unit_price_minor, "currency": "EUR"}
            Product.objects.get_or_create(sku=product.sku, defaults=defaults)
    for product in PRODUCTS:
        ensure_stock(product.sku, product.on_hand)


def _grant(group_name: str, names: tuple[str, ...]) -> None:
    wanted = {tuple(name.split(".")) for name in names}
    known = Permission.objects.select_related("content_type").filter(codename__in=[codename for _, codename in wanted])
    found = [permission for permission in known if (permission.content_type.app_label, permission.codename) in wanted]
    Group.objects.get(name=group_name).permissions.add(*found)


def _ensure_user(user: DemoUser) -> None:
    model = get_user_model()
    account, is_new = model._default_manager.get_or_create(
        username=user.username, defaults={"is_staff": user.is_staff, "is_superuser": user.is_superuser}
    )
    if not is_new:
        return
    account.set_password(user.username)
    account.save(update_fields=["password"])
    if user.group:
        account.groups.add(Group.objects.get(name=user.group))
