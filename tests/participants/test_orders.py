"""Orders without HTTP: placing, ending, cancelling, and constraints of the tables."""

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from orders import services, transitions
from orders.exceptions import (
    CancelTooLate,
    MixedCurrencies,
    OrderNotFound,
    OrderStateConflict,
    PriceChanged,
    UnknownProducts,
)
from orders.models import IdempotencyRecord, Order, OrderLine, OrderStatus, Product
from orders.numbers import ALPHABET, generate_order_number
from orders.reasons import Reason, explain
from orders.requests import Address, CheckoutRequest, LineRequest, Money, compute_digest
from sagas.models import Saga

pytestmark = pytest.mark.django_db(databases="__all__")

ADDRESS = Address(name="Ada", line1="Tea Lane 1", line2="", city="Bath", postal_code="BA1 1AA", country="GB")


@pytest.fixture
def ada() -> User:
    Product.objects.create(sku="TEA", name="Tea", unit_price_minor=790, currency="EUR")
    Product.objects.create(sku="MUG", name="Mug", unit_price_minor=950, currency="EUR")
    Product.objects.create(sku="DOLLAR", name="Dollar", unit_price_minor=1, currency="USD")
    return User.objects.create(username="ada")


def ask_for(*skus: str, expected_total: Money | None = None) -> CheckoutRequest:
    return CheckoutRequest(
        lines=tuple(LineRequest(sku=sku, quantity=2) for sku in skus),
        payment_method="pm_card_visa",
        shipping_address=ADDRESS,
        expected_total=expected_total,
    )


def test_placed_order_is_pending_with_its_lines_and_its_saga(ada: User) -> None:
    order = services.place_order(customer=ada, request=ask_for("TEA", "MUG"))

    stored = Order.objects.get()
    assert (stored.pk, stored.status, stored.total_minor, stored.currency) == (
        order.pk,
        OrderStatus.PENDING,
        3480,
        "EUR",
    )
    assert [(line.position, line.sku, line.quantity, line.unit_price_minor) for line in stored.lines.all()] == [
        (0, "TEA", 2, 790),
        (1, "MUG", 2, 950),
    ]
    assert Saga.objects.get().pk == stored.saga_id
    assert stored.ship_to_country == "GB"


@pytest.mark.parametrize(
    ("request_", "error", "facts"),
    [
        (ask_for("TEA", "NONE"), UnknownProducts, {"lines": {1: "NONE"}}),
        (ask_for("TEA", "DOLLAR"), MixedCurrencies, {"currencies": ("EUR", "USD")}),
        (
            ask_for("TEA", expected_total=Money(amount_minor=1, currency="EUR")),
            PriceChanged,
            {"amount_minor": 1580, "currency": "EUR"},
        ),
    ],
)
def test_refused_checkout_stores_nothing(
    ada: User, request_: CheckoutRequest, error: type[Exception], facts: dict[str, Any]
) -> None:
    with pytest.raises(error) as caught:
        services.checkout(customer=ada, key="k", digest="0" * 64, request=request_)

    assert {name: getattr(caught.value, name) for name in facts} == facts
    assert (Order.objects.count(), Saga.objects.count(), IdempotencyRecord.objects.count()) == (0, 0, 0)


def test_checkout_costs_few_statements(ada: User, django_assert_num_queries: Any) -> None:
    # Four of them open and release savepoints, two of which are BEGIN and COMMIT in production.
    with django_assert_num_queries(13):
        services.checkout(customer=ada, key="k", digest="0" * 64, request=ask_for("TEA", "MUG"))


def test_confirm_ends_an_order_once(ada: User) -> None:
    number = services.place_order(customer=ada, request=ask_for("TEA")).number

    first = transitions.confirm_order(number=number)
    again = transitions.confirm_order(number=number)

    assert (first.status, first.reason) == (OrderStatus.CONFIRMED, "")
    assert again.closed_at == first.closed_at
    with pytest.raises(OrderStateConflict):
        transitions.reject_order(number=number, reason=Reason.OUT_OF_STOCK)
    assert Order.objects.get().status == OrderStatus.CONFIRMED


def test_reject_ends_an_order_once_and_keeps_the_first_reason(ada: User) -> None:
    number = services.place_order(customer=ada, request=ask_for("TEA")).number

    first = transitions.reject_order(number=number, reason=Reason.OUT_OF_STOCK)
    again = transitions.reject_order(number=number, reason=Reason.PAYMENT_DECLINED)

    assert (first.status, again.reason) == (OrderStatus.CANCELLED, "out_of_stock")
    assert again.closed_at == first.closed_at
    with pytest.raises(OrderStateConflict):
        transitions.confirm_order(number=number)


def test_unknown_order_cannot_be_ended() -> None:
    with pytest.raises(OrderNotFound):
        transitions.confirm_order(number="ORD-NOBODY")


def test_cancel_of_an_order_whose_saga_is_gone_is_too_late(ada: User) -> None:
    order = services.place_order(customer=ada, request=ask_for("TEA"))
    Order.objects.update(saga_id=uuid4())

    with pytest.raises(CancelTooLate):
        services.request_cancel(number=order.number, user=ada)


def test_cancel_of_another_users_order_is_not_found(ada: User) -> None:
    order = services.place_order(customer=ada, request=ask_for("TEA"))

    with pytest.raises(OrderNotFound):
        services.request_cancel(number=order.number, user=User.objects.create(username="eve"))
    assert Saga.objects.get().abort_request is None


def test_account_with_orders_cannot_be_deleted(ada: User) -> None:
    services.place_order(customer=ada, request=ask_for("TEA"))

    with pytest.raises(ProtectedError):
        ada.delete()


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        ({"kind": "refused", "step": "reserve_stock"}, Reason.OUT_OF_STOCK),
        ({"kind": "refused", "step": "authorize_payment"}, Reason.PAYMENT_DECLINED),
        ({"kind": "refused", "step": "capture_payment"}, Reason.PAYMENT_DECLINED),
        ({"kind": "refused", "step": "book_shipment"}, Reason.ADDRESS_NOT_SERVED),
        ({"kind": "refused", "step": "a_later_version"}, Reason.TEMPORARILY_UNAVAILABLE),
        ({"kind": "budget_spent", "step": "authorize_payment"}, Reason.TEMPORARILY_UNAVAILABLE),
        ({"kind": "deadline", "actor": ""}, Reason.TOOK_TOO_LONG),
        ({"kind": "cancel", "actor": "ada"}, Reason.CANCELLED_BY_CUSTOMER),
        ({"kind": "cancel", "actor": "operator"}, Reason.CANCELLED_BY_SHOP),
        ({"kind": "operator", "actor": "ada"}, Reason.CANCELLED_BY_SHOP),
        ({}, Reason.CANCELLED_BY_SHOP),
    ],
)
def test_every_cause_has_a_customer_facing_reason(cause: dict[str, Any], reason: Reason) -> None:
    assert explain(cause, owner="ada") is reason


def test_order_numbers_are_readable_and_not_sequential() -> None:
    numbers = [generate_order_number() for _ in range(200)]

    assert len(set(numbers)) == 200
    assert all(
        len(number) == 16 and number.startswith("ORD-") and set(number[4:]) <= set(ALPHABET) for number in numbers
    )
    assert not set("ILOU") & set(ALPHABET)
    assert numbers != sorted(numbers)


def test_digest_depends_on_the_value_and_not_on_the_text() -> None:
    assert compute_digest({"a": 1, "b": [1, 2]}) == compute_digest({"b": [1, 2], "a": 1})
    assert compute_digest({"a": 1}) != compute_digest({"a": True})
    assert compute_digest({"a": [1, 2]}) != compute_digest({"a": [2, 1]})
    assert compute_digest({"a": 1}) != compute_digest({"a": "1"})


def make_order(ada: User, **changes: Any) -> Order:
    fields = {
        "number": "ORD-1", "owner": ada, "total_minor": 1, "currency": "EUR", "saga_id": uuid4(),
        "payment_method": "pm_card_visa", "ship_to_country": "GB",
    }  # fmt: skip
    return Order.objects.create(**{**fields, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "pending", "reason": "out_of_stock"},
        {"status": "pending", "closed_at": timezone.now()},
        {"status": "confirmed"},
        {"status": "confirmed", "closed_at": timezone.now(), "reason": "out_of_stock"},
        {"status": "cancelled", "closed_at": timezone.now()},
        {"status": "cancelled", "reason": "out_of_stock"},
        {"status": "shipped", "closed_at": timezone.now()},
        {"total_minor": 0},
        {"currency": "eur"},
        {"ship_to_country": "uk"},
    ],
)
def test_impossible_orders_are_refused_by_the_database(ada: User, changes: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        make_order(ada, **changes)
    assert not Order.objects.exists()


@pytest.mark.parametrize("changes", [{"quantity": 0}, {"quantity": 101}, {"unit_price_minor": 0}, {"sku": "TEA"}])
def test_impossible_lines_are_refused_by_the_database(ada: User, changes: dict[str, Any]) -> None:
    order = make_order(ada)
    OrderLine.objects.create(order=order, position=0, sku="TEA", name="Tea", unit_price_minor=1, quantity=1)
    fields = {"order": order, "position": 1, "sku": "MUG", "name": "Mug", "unit_price_minor": 1, "quantity": 1}

    with pytest.raises(IntegrityError), transaction.atomic():
        OrderLine.objects.create(**{**fields, **changes})
    assert OrderLine.objects.count() == 1


@pytest.mark.parametrize("changes", [{"unit_price_minor": 0}, {"unit_price_minor": 10**12 + 1}, {"currency": "E"}])
def test_impossible_prices_are_refused_by_the_database(ada: User, changes: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Product.objects.filter(sku="TEA").update(**changes)
    assert Product.objects.get(sku="TEA").unit_price_minor == 790


def test_one_answer_per_user_and_key(ada: User) -> None:
    services.checkout(customer=ada, key="k", digest="0" * 64, request=ask_for("TEA"))
    record = IdempotencyRecord.objects.get()

    record.pk, record.order = None, make_order(ada)
    with pytest.raises(IntegrityError), transaction.atomic():
        record.save()
    assert IdempotencyRecord.objects.count() == 1
