"""Fixtures: a small shop, and HTTP clients of different users."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings
from rest_framework.authtoken.models import Token

from inventory.services import ensure_stock
from orders.models import Product

PRODUCTS = {
    "TEA-EARL-GREY": ("Earl Grey", 790, 1000),
    "MUG-WHITE": ("White mug", 950, 1000),
    "KETTLE-COPPER": ("Copper kettle", 12900, 1),
    "SCONE-SOLD-OUT": ("Scone", 320, 0),
}
GROUPS = {"viewer": "Saga viewers", "operator": "Saga operators", "supervisor": "Saga supervisors"}
ADDRESS = {"name": "Ada", "line1": "Tea Lane 1", "city": "Bath", "postal_code": "BA1 1AA", "country": "GB"}


def make_checkout(**changes: Any) -> dict[str, Any]:
    """Return a valid body, with these changes."""
    body = {
        "lines": [{"sku": "TEA-EARL-GREY", "quantity": 2}, {"sku": "MUG-WHITE", "quantity": 1}],
        "payment_method": "pm_card_visa",
        "shipping_address": ADDRESS,
    }
    return {**body, **changes}


@dataclass(frozen=True)
class Shopper:
    """API client of one user, or of an anonymous one."""

    user: User | None = None
    token: str = ""

    def get(self, path: str, **headers: str) -> HttpResponse:
        """Send a GET request."""
        return Client().get(path, headers=self._headers(headers))

    def post(self, path: str, body: Any = None, **headers: str) -> HttpResponse:
        """Post a value as JSON, or bytes unchanged."""
        raw = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        content_type = headers.pop("content_type", "application/json")
        return Client().post(path, raw, content_type=content_type, headers=self._headers(headers))

    def checkout(self, body: Any = None, *, key: str = "key-1", **headers: str) -> HttpResponse:
        """Place an order."""
        sent = make_checkout() if body is None else body
        return self.post("/api/v1/checkout/", sent, **{"Idempotency-Key": key, **headers})

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {**({"Authorization": f"Token {self.token}"} if self.token else {}), **headers}


Enter = Callable[..., Shopper]


def make_shopper(username: str, **fields: Any) -> Shopper:
    """Create a user with a token."""
    user = User.objects.create(username=username, **fields)
    return Shopper(user, Token.objects.create(user=user).key)


def assert_problem(response: HttpResponse, status: int, code: str) -> dict[str, Any]:
    """Check that the response is this problem and reveals nothing internal."""
    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json"), response.content
    problem = json.loads(response.content)
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, f"urn:problem:{code}")
    assert problem["title"]
    assert problem["detail"]
    assert "Traceback" not in response.content.decode()
    return problem


def list_pointers(problem: Mapping[str, Any]) -> set[str]:
    """Return the pointers of a problem's errors."""
    return {error["pointer"] for error in problem["errors"]}


def set_rates(settings: Settings, **rates: str) -> None:
    """Set rates by their names with underscores."""
    named = {name.replace("_", "-"): rate for name, rate in rates.items()}
    known = settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": {**known, **named}}


@pytest.fixture
def fill_shop() -> None:
    """Create four products."""
    for sku, (name, price, on_hand) in PRODUCTS.items():
        Product.objects.create(sku=sku, name=name, unit_price_minor=price, currency="EUR")
        ensure_stock(sku, on_hand)


@pytest.fixture
def customer(fill_shop: None) -> Shopper:
    return make_shopper("customer")


@pytest.fixture
def stranger(fill_shop: None) -> Shopper:
    return make_shopper("stranger")


@pytest.fixture
def almighty(customer: Shopper, settings: Settings) -> Shopper:
    """Return a customer with every permission on sagas and without throttles."""
    assert customer.user is not None
    customer.user.user_permissions.set(Permission.objects.filter(content_type__app_label="sagas"))
    set_rates(settings, **dict.fromkeys(settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"], "900000/second"))
    return customer


@pytest.fixture
def enter() -> Enter:
    """Return a function that creates a user of a group, with a token."""

    def make(name: str) -> Shopper:
        found = make_shopper(name, is_superuser=name == "admin")
        if name in GROUPS:
            assert found.user is not None
            found.user.groups.add(Group.objects.get(name=GROUPS[name]))
        return found

    return make
