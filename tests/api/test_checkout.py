"""Checkout over HTTP, from the request to each of its outcomes."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from rest_framework.authtoken.models import Token

from config.local.runtime import ROOT
from inventory.services import availability
from orders.models import Order, OrderStatus, Product
from orders.seed import seed_shop
from payments.models import Payment
from sagas.models import Saga, SagaKey
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.operators.queries.listing import find_saga
from sagas.testing import assert_invariants, drain, faults

from .conftest import ADDRESS, Shopper, assert_problem, list_pointers, make_checkout

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def place_and_drain(customer: Shopper, body: dict[str, Any]) -> tuple[dict[str, Any], Saga]:
    """Place an order, run its saga as far as possible, and return both responses."""
    placed = customer.checkout(body)
    assert placed.status_code == 202, placed.content
    saga = drain(Saga.objects.get())
    return customer.get(placed["Location"]).json(), saga


def find_documented_body(page: str, beginning: str) -> dict[str, Any]:
    """Return the JSON object that follows this text on a page."""
    text = (ROOT / page).read_text()
    body, _ = json.JSONDecoder().raw_decode(text, text.index(beginning) + len(beginning))
    assert isinstance(body, dict)
    return body


@pytest.mark.parametrize(
    ("page", "beginning"), [("docs/reference/rest-api.md", "```json\n"), ("README.md", "application/json' -d '")]
)
def test_documented_checkouts_are_accepted(page: str, beginning: str) -> None:
    seed_shop()
    customer = User.objects.get(username="customer")
    shopper = Shopper(customer, Token.objects.create(user=customer).key)
    body = find_documented_body(page, beginning)

    response = shopper.checkout(body)

    assert response.status_code == 202, response.content
    assert response.json()["total"] == body.get("expected_total", response.json()["total"])
    assert "lines" in body


def test_accepted_checkout_answers_202_with_the_order_and_its_address(customer: Shopper) -> None:
    response = customer.checkout()

    body = response.json()
    order = Order.objects.get()
    assert response.status_code == 202
    assert response["Location"] == f"/api/v1/orders/{order.number}/"
    assert response["Content-Type"] == "application/json"
    assert "Preference-Applied" not in response
    assert body == customer.get(response["Location"]).json()
    members = ["number", "status", "reason", "lines", "total", "currency", "coordination", "saga", "created_at"]
    assert list(body) == members
    assert (body["number"], body["status"], body["reason"]) == (order.number, "processing", None)
    assert body["lines"][0] == {
        "sku": "TEA-EARL-GREY",
        "name": "Earl Grey",
        "quantity": 2,
        "unit_price": {"amount_minor": 790, "currency": "EUR"},
        "total": {"amount_minor": 1580, "currency": "EUR"},
    }
    assert (body["total"], body["currency"]) == ({"amount_minor": 2530, "currency": "EUR"}, "EUR")
    assert (body["saga"]["id"], body["saga"]["state"]) == (str(order.saga_id), "pending")
    assert [(step["name"], step["state"], step["attempts"]) for step in body["saga"]["steps"]] == [
        ("place_order", "succeeded", 1),
        ("reserve_stock", "pending", 0),
        ("authorize_payment", "pending", 0),
        ("book_shipment", "pending", 0),
        ("capture_payment", "pending", 0),
        ("ship_stock", "pending", 0),
        ("confirm_order", "pending", 0),
    ]


def test_order_and_saga_reference_each_other_by_value(customer: Shopper) -> None:
    number = customer.checkout(traceparent=f"00-{'a' * 32}-{'b' * 16}-01").json()["number"]

    saga = Saga.objects.get()
    assert saga.input == {"order_number": number}
    assert set(SagaKey.objects.values_list("name", "value")) == {("order", number), ("customer", "customer")}
    assert (saga.started_by, saga.traceparent) == ("customer", f"00-{'a' * 32}-{'b' * 16}-01")
    assert Order.objects.get().status == OrderStatus.PENDING


def test_completed_checkout_is_confirmed_and_paid_once(customer: Shopper) -> None:
    body, saga = place_and_drain(customer, make_checkout())

    assert (body["status"], body["reason"], body["saga"]["state"]) == ("confirmed", None, "completed")
    assert {step["state"] for step in body["saga"]["steps"]} == {"succeeded"}
    assert all(step["started_at"].endswith("Z") and step["finished_at"] for step in body["saga"]["steps"])
    assert Order.objects.get().status == OrderStatus.CONFIRMED
    assert [(payment.state, payment.amount_minor) for payment in Payment.objects.all()] == [("captured", 2530)]
    assert availability(["TEA-EARL-GREY"]) == {"TEA-EARL-GREY": 998}
    reference = Payment.objects.get().authorization_reference
    assert reference
    assert find_saga(reference, by_key=True) == saga.pk
    assert_invariants(saga.pk)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lines": [{"sku": "SCONE-SOLD-OUT", "quantity": 1}]}, "out_of_stock"),
        ({"payment_method": "pm_card_declined"}, "payment_declined"),
        ({"payment_method": "pm_card_nobody_knows"}, "payment_declined"),
        ({"payment_method": "pm_card_capture_declined"}, "payment_declined"),
        ({"shipping_address": {**ADDRESS, "postal_code": "00000"}}, "address_not_served"),
        ({"payment_method": "pm_card_timeout"}, "temporarily_unavailable"),
        ({"payment_method": "pm_card_unavailable"}, "temporarily_unavailable"),
    ],
)
def test_compensated_checkout_is_cancelled_for_a_plain_reason(
    customer: Shopper, changes: dict[str, Any], reason: str
) -> None:
    body, saga = place_and_drain(customer, make_checkout(**changes))

    assert (body["status"], body["reason"], body["saga"]["state"]) == ("cancelled", reason, "compensated")
    assert (Order.objects.get().status, Order.objects.get().reason) == (OrderStatus.CANCELLED, reason)
    assert not Payment.objects.filter(state__in=["authorized", "captured"]).exists()
    assert availability(["TEA-EARL-GREY", "SCONE-SOLD-OUT"]) == {"TEA-EARL-GREY": 1000, "SCONE-SOLD-OUT": 0}
    assert_invariants(saga.pk)


@pytest.mark.parametrize("method", ["pm_card_timeout_once", "pm_card_capture_timeout_once"])
def test_lost_answer_is_requested_again(customer: Shopper, method: str) -> None:
    body, saga = place_and_drain(customer, make_checkout(payment_method=method))

    asked = "authorize_payment" if method == "pm_card_timeout_once" else "capture_payment"
    attempts = {step["name"]: step["attempts"] for step in body["saga"]["steps"]}
    assert (body["status"], attempts[asked]) == ("confirmed", 2)
    assert [(payment.state, payment.amount_minor) for payment in Payment.objects.all()] == [("captured", 2530)]
    assert_invariants(saga.pk)


def test_capture_with_unknown_outcome_needs_review_and_is_not_cancelled(customer: Shopper) -> None:
    body, saga = place_and_drain(customer, make_checkout(payment_method="pm_card_capture_timeout"))

    assert (body["status"], body["reason"], body["saga"]["state"]) == ("needs_review", "under_review", "running")
    operations.mark_succeeded(
        saga.pk,
        actor=Actor(name="test", is_trusted=True),
        reason="Seen at the provider.",
        step="capture_payment",
        evidence="Capture seen in the provider's dashboard.",
    )
    drain(saga)
    assert customer.get(f"/api/v1/orders/{body['number']}/").json()["status"] == "confirmed"


def test_failing_void_needs_review_until_it_is_compensated(customer: Shopper) -> None:
    address = {**ADDRESS, "postal_code": "00000"}

    body, _ = place_and_drain(customer, make_checkout(payment_method="pm_card_refund_fails", shipping_address=address))

    assert (body["status"], body["reason"]) == ("needs_review", "address_not_served")
    assert body["saga"]["state"] == "compensating"
    assert Order.objects.get().status == OrderStatus.PENDING


def test_every_step_may_run_twice(customer: Shopper) -> None:
    with faults() as fault:
        fault.run_twice()
        body, _ = place_and_drain(customer, make_checkout())

    assert body["status"] == "confirmed"
    assert availability(["TEA-EARL-GREY", "MUG-WHITE"]) == {"TEA-EARL-GREY": 998, "MUG-WHITE": 999}


def test_order_keeps_the_price_at_checkout(customer: Shopper) -> None:
    placed = customer.checkout().json()

    Product.objects.filter(sku="TEA-EARL-GREY").update(unit_price_minor=1, name="Cheap tea")

    assert customer.get(f"/api/v1/orders/{placed['number']}/").json()["lines"] == placed["lines"]


def test_correct_expected_total_is_accepted(customer: Shopper) -> None:
    total = {"amount_minor": 2530, "currency": "EUR"}

    assert customer.checkout(make_checkout(expected_total=total)).status_code == 202


@pytest.mark.parametrize(
    "total", [{"amount_minor": 2529, "currency": "EUR"}, {"amount_minor": 2530, "currency": "USD"}]
)
def test_wrong_expected_total_is_refused_with_the_total(customer: Shopper, total: dict[str, Any]) -> None:
    problem = assert_problem(customer.checkout(make_checkout(expected_total=total)), 422, "price-changed")

    assert list_pointers(problem) == {"/expected_total"}
    assert problem["total"] == {"amount_minor": 2530, "currency": "EUR"}
    assert not Order.objects.exists()
    assert not Saga.objects.exists()


def test_products_of_two_currencies_are_refused(customer: Shopper) -> None:
    Product.objects.filter(sku="MUG-WHITE").update(currency="USD")

    problem = assert_problem(customer.checkout(), 422, "mixed-currencies")

    assert list_pointers(problem) == {"/lines"}
    assert not Order.objects.exists()


@pytest.mark.parametrize(
    ("currency", "total"), [("IQD", "2.530 IQD"), ("MGA", "25.30 MGA"), ("ABC", "2530 ABC (minor units)")]
)
def test_total_above_the_providers_limit_is_refused(
    customer: Shopper, settings: Any, currency: str, total: str
) -> None:
    settings.PAYMENT_GATEWAY, settings.STRIPE_API_KEY = "stripe", "sk_test_1"
    Product.objects.update(currency=currency)

    problem = assert_problem(customer.checkout(), 422, "total-not-chargeable")

    assert problem["detail"] == f"The payment provider cannot charge {total}; order other products or another quantity."
    assert list_pointers(problem) == {"/lines"}
    assert not Order.objects.exists()
    assert not Saga.objects.exists()


def test_order_is_accepted_without_a_configured_gateway(customer: Shopper, settings: Any) -> None:
    settings.PAYMENT_GATEWAY, settings.STRIPE_API_KEY = "stripe", ""

    assert customer.checkout().status_code == 202


def test_unknown_and_withdrawn_products_are_named(customer: Shopper) -> None:
    Product.objects.filter(sku="MUG-WHITE").update(is_active=False)
    lines = [{"sku": sku, "quantity": 1} for sku in ("TEA-EARL-GREY", "MUG-WHITE", "NO-SUCH-SKU")]

    problem = assert_problem(customer.checkout(make_checkout(lines=lines)), 422, "invalid-input")

    assert list_pointers(problem) == {"/lines/1/sku", "/lines/2/sku"}
    assert not Order.objects.exists()


def test_failed_commit_leaves_no_order_and_no_saga(customer: Shopper) -> None:
    with transaction.atomic():
        assert customer.checkout().status_code == 202
        transaction.set_rollback(True)

    assert not Order.objects.exists()
    assert not Saga.objects.exists()
    assert customer.checkout().status_code == 202


def test_catalogue_shows_prices_and_stock(customer: Shopper) -> None:
    Product.objects.filter(sku="MUG-WHITE").update(is_active=False)

    offers = {offer["sku"]: offer for offer in customer.get("/api/v1/products/").json()}

    assert set(offers) == {"TEA-EARL-GREY", "KETTLE-COPPER", "SCONE-SOLD-OUT"}
    assert offers["KETTLE-COPPER"] == {
        "sku": "KETTLE-COPPER",
        "name": "Copper kettle",
        "unit_price": {"amount_minor": 12900, "currency": "EUR"},
        "available": 1,
    }
