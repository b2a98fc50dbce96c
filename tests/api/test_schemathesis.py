"""Requests generated from the committed OpenAPI document, valid and invalid, get documented responses."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS
from schemathesis.core.failures import FailureGroup

from orders.models import Order

from .conftest import Shopper
from .operating import find_ids

# A WSGI application closes connections that are inside a transaction when a request ends.
pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

DOCUMENT = Path(__file__).resolve().parents[2] / "openapi.yaml"
CHECK_NAMES = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
)

schema = schemathesis.openapi.from_path(DOCUMENT)


@schema.parametrize()
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_generated_requests(case: schemathesis.Case, almighty: Shopper) -> None:
    case.operation.app = get_wsgi_application()
    checks = CHECKS.get_by_names(CHECK_NAMES)

    case.call_and_validate(headers={"Authorization": f"Token {almighty.token}"}, checks=checks)


WITH_IDS = schema.include(path_regex=r"\{")


@WITH_IDS.parametrize()
@settings(
    max_examples=5, phases=[Phase.generate], deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_generated_requests_for_existing_objects(case: schemathesis.Case, almighty: Shopper) -> None:
    """Insert an existing order, saga and bulk, so that generated requests reach them."""
    found = Order.objects.first()
    number = found.number if found else almighty.checkout().json()["number"]
    known = {"number": number, **find_ids(almighty, number)}
    case.path_parameters = {name: known.get(name, value) for name, value in case.path_parameters.items()}
    case.operation.app = get_wsgi_application()

    # The id is now valid, so a negative case may be valid as a whole.
    names = tuple(name for name in CHECK_NAMES if name != "negative_data_rejection")
    response = case.call_and_validate(
        headers={"Authorization": f"Token {almighty.token}"}, checks=CHECKS.get_by_names(names)
    )
    anonymous = case.call(headers={"Authorization": "Token of-nobody"})

    assert response.status_code != 401
    assert anonymous.status_code == 401 if response.status_code < 400 else 400 <= anonymous.status_code < 500


def test_planted_500_is_found() -> None:
    def fail(_environment: Any, start_response: Any) -> list[bytes]:
        start_response("500 Internal Server Error", [("Content-Type", "application/problem+json")])
        return [b"{}"]

    operation = schema["/api/v1/products/"]["GET"]
    case = operation.Case()
    case.operation.app = fail

    with pytest.raises(FailureGroup) as caught:
        case.call_and_validate(checks=CHECKS.get_by_names(["not_a_server_error"]))
    assert "Server error" in str(caught.value)
