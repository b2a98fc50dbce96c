"""Requests made up from the committed OpenAPI document, right and wrong ones, are answered as it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import schemathesis
from django.contrib.auth.models import Permission
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, settings
from pytest_django import Settings
from schemathesis.checks import CHECKS

from .conftest import Shopper

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


@pytest.fixture
def token(customer: Shopper, settings: Settings) -> str:
    """Be a customer whom no throttle stops, and who may do everything with sagas."""
    assert customer.user is not None
    customer.user.user_permissions.set(Permission.objects.filter(content_type__app_label="sagas"))
    rates = dict.fromkeys(settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"], "900000/second")
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": rates}
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return customer.token


@schema.parametrize()
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_made_up_requests(case: schemathesis.Case, token: str) -> None:
    case.operation.app = get_wsgi_application()
    checks = CHECKS.get_by_names(CHECK_NAMES)

    case.call_and_validate(headers={"Authorization": f"Token {token}"}, checks=checks)
