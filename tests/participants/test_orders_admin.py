"""Admin pages of the shop."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from orders.models import Order, Product
from sagas.admin.links import list_links, resolve_links
from sagas.models import Saga

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    return client


def test_order_page_shows_lines_and_its_saga(admin: Client, order: Order) -> None:
    page = admin.get(f"/admin/orders/order/{order.pk}/change/").content.decode()

    assert "TEA-1" in page
    assert str(order.saga_id) in page
    assert "<script>alert(1)" not in page
    assert 'name="_save"' not in page


@pytest.mark.parametrize(
    ("currency", "total", "price"), [("EUR", "11.50 EUR", "5.75 EUR"), ("JPY", "1150 JPY", "575 JPY"),
                                     ("KWD", "1.150 KWD", "0.575 KWD")],
)  # fmt: skip
def test_money_is_shown_in_its_currency(admin: Client, order: Order, currency: str, total: str, price: str) -> None:
    Order.objects.update(total_minor=1150, currency=currency, created_at="2026-11-29T14:46:10Z")
    order.lines.update(unit_price_minor=575, quantity=2)
    Product.objects.create(sku="TEA-9", name="Tea", unit_price_minor=575, currency=currency)

    listed = admin.get("/admin/orders/order/").content.decode()
    page = admin.get(f"/admin/orders/order/{order.pk}/change/").content.decode()

    assert total in listed
    assert "2026-11-29 14:46:10" in listed
    assert page.count(total) >= 2
    assert price in page
    assert price in admin.get("/admin/orders/product/").content.decode()


def test_saga_links_to_the_pages_of_its_order(admin: Client) -> None:
    found = resolve_links(list_links(Saga(), {"order": "ORD-7Q", "customer": "ada"}), "admin")

    assert [link.label for link in found] == ["Order ORD-7Q", "Payment ORD-7Q", "Reservation ORD-7Q", "Shipment ORD-7Q"]
    for link in found:
        assert admin.get(link.url).status_code == 200


def test_orders_cannot_be_edited(admin: Client, order: Order) -> None:
    url = f"/admin/orders/order/{order.pk}"

    statuses = [
        admin.post(f"{url}/change/", {"status": "confirmed"}).status_code,
        admin.post(f"{url}/delete/", {"post": "yes"}).status_code,
        admin.get("/admin/orders/order/add/").status_code,
    ]

    assert statuses == [403, 403, 403]
    assert Order.objects.get().status == "pending"


@pytest.mark.parametrize(
    ("query", "count"), [("q=ORD-7Q", 1), ("q=ORD-8", 0), ("q=ada", 1), ("q=ad", 0), ("status__exact=confirmed", 0)]
)
def test_orders_can_be_searched(admin: Client, order: Order, query: str, count: int) -> None:
    page = admin.get(f"/admin/orders/order/?{query}").content.decode()

    assert page.count(f"/admin/orders/order/{order.pk}/change/") == count


def test_price_can_be_edited_but_not_the_sku(admin: Client) -> None:
    product = Product.objects.create(sku="TEA-1", name="Tea", unit_price_minor=790, currency="EUR")
    fields = {"sku": "OTHER-1", "name": "Tea", "unit_price_minor": "850", "currency": "EUR", "is_active": "on"}

    assert admin.post(f"/admin/orders/product/{product.pk}/change/", fields).status_code == 302

    product.refresh_from_db()
    assert (product.sku, product.unit_price_minor) == ("TEA-1", 850)


@pytest.mark.parametrize(
    ("field", "value"),
    [("unit_price_minor", "0"), ("unit_price_minor", "-1"), ("currency", "eu"), ("unit_price_minor", "1e400")],
)
def test_impossible_prices_are_shown_as_errors(admin: Client, field: str, value: str) -> None:
    product = Product.objects.create(sku="TEA-1", name="Tea", unit_price_minor=790, currency="EUR")
    fields = {"name": "Tea", "unit_price_minor": "790", "currency": "EUR", "is_active": "on", field: value}

    page = admin.post(f"/admin/orders/product/{product.pk}/change/", fields)

    assert page.status_code == 200
    assert "errorlist" in page.content.decode()
    product.refresh_from_db()
    assert (product.unit_price_minor, product.currency) == (790, "EUR")


@pytest.mark.parametrize("sku", ["tea", "T", "TEA 1", "", "T" * 65])
def test_invalid_skus_are_refused(admin: Client, sku: str) -> None:
    fields = {"sku": sku, "name": "Tea", "unit_price_minor": "790", "currency": "EUR", "is_active": "on"}

    assert admin.post("/admin/orders/product/add/", fields).status_code == 200
    assert not Product.objects.exists()
