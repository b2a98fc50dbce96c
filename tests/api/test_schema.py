"""OpenAPI document: committed, up to date, correct, and served without external resources."""

import re
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from django.core.management import call_command
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern

from orders import urls as shop_urls
from sagas.api import urls as saga_urls
from sagas.models import Saga
from sagas.testing import drain

from .conftest import ADDRESS, Shopper, make_checkout

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

COMMITTED = Path(__file__).resolve().parents[2] / "openapi.yaml"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return yaml.safe_load(COMMITTED.read_text())


def check_response(document: dict[str, Any], path: str, method: str, response: HttpResponse) -> None:
    """Check a response against the document."""
    described = document["paths"][path][method]["responses"][str(response.status_code)]
    media_type = response["Content-Type"].partition(";")[0]
    schema = {**described["content"][media_type]["schema"], "components": document["components"]}
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(response.json())


def test_committed_document_is_in_sync() -> None:
    made = StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=made)

    assert COMMITTED.read_text() == made.getvalue()


def test_document_is_openapi_3_1_and_has_every_url(document: dict[str, Any]) -> None:
    addresses = {
        "/api/v1/" + re.sub(r"<\w+:(\w+)>", r"{\1}", str(pattern.pattern))
        for pattern in (*shop_urls.urlpatterns, *saga_urls.urlpatterns)
        if isinstance(pattern, URLPattern)
    }

    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == addresses
    assert len(addresses) == 16


def test_document_and_its_pages_are_served() -> None:
    served = Client().get("/api/schema/")
    page = Client().get("/api/docs/")

    assert yaml.safe_load(served.content)["openapi"] == "3.1.0"
    assert page.status_code == 200
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.content.decode())
    assert {url for url in loaded if not url.startswith("/static/")} == {"/api/schema/"}
    assert len(loaded) > 4


@pytest.mark.parametrize("path", ["/api/docs", "/api/schema"])
def test_missing_slash_is_added_to_documentation_urls(path: str) -> None:
    response = Client().get(path)

    assert (response.status_code, response["Location"]) == (301, f"{path}/")


def test_responses_match_the_document(document: dict[str, Any], customer: Shopper) -> None:
    placed = customer.checkout()
    url = placed["Location"]
    order = "/api/v1/orders/{number}/"
    check_response(document, "/api/v1/checkout/", "post", placed)
    check_response(document, order, "get", customer.get(url))
    check_response(document, "/api/v1/orders/", "get", customer.get("/api/v1/orders/"))
    check_response(document, "/api/v1/products/", "get", customer.get("/api/v1/products/"))
    check_response(document, f"{order}cancel/", "post", customer.post(f"{url}cancel/"))
    drain(Saga.objects.get())
    check_response(document, order, "get", customer.get(url))


def test_problems_match_the_document(document: dict[str, Any], customer: Shopper) -> None:
    check_response(document, "/api/v1/checkout/", "post", customer.checkout(make_checkout(lines=[], total=1)))
    check_response(document, "/api/v1/checkout/", "post", customer.checkout(b"{"))
    check_response(document, "/api/v1/checkout/", "post", customer.checkout(content_type="text/plain"))
    check_response(document, "/api/v1/checkout/", "post", Shopper().checkout())
    check_response(document, "/api/v1/auth/token/", "post", Shopper().post("/api/v1/auth/token/", {}))


def validate_request(document: dict[str, Any], body: Any) -> bool:
    schema = {"$ref": "#/components/schemas/CheckoutRequest", "components": document["components"]}
    return jsonschema.Draft202012Validator(schema).is_valid(body)


def test_document_describes_the_accepted_bodies(document: dict[str, Any]) -> None:
    assert validate_request(document, make_checkout())
    assert validate_request(document, make_checkout(expected_total={"amount_minor": 1, "currency": "EUR"}))
    for wrong in (
        make_checkout(price=1),
        make_checkout(lines=[]),
        make_checkout(lines=[{"sku": "A-1", "quantity": 1}] * 51),
        make_checkout(lines=[{"sku": "A-1", "quantity": 101}]),
        make_checkout(payment_method="4242424242424242"),
        make_checkout(shipping_address={**ADDRESS, "planet": "Mars"}),
    ):
        assert not validate_request(document, wrong)
