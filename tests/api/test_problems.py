"""Problem documents for every error, including those outside of views."""

from typing import Any

import pytest
from django.conf import settings as project_settings
from django.db import DatabaseError, DataError, InterfaceError, InternalError, OperationalError
from django.test import Client, RequestFactory
from psycopg import errors as psycopg_errors
from pytest_django import Settings

from orders.api import problems, views
from orders.models import Order

from .conftest import Shopper, assert_problem

pytestmark = pytest.mark.django_db(databases="__all__")

NOBODY = Shopper()


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    "path",
    ["/api/", "/api/v1/", "/api/v1/nothing/", "/api/v2/orders/", "/api/v1/checkout", "/api/v1/%00/", "/api/%2e%2e/"],
)
def test_unknown_addresses(settings: Settings, path: str, debug: bool) -> None:
    settings.DEBUG = debug

    assert_problem(NOBODY.get(path), 404, "not-found")
    assert_problem(Client(enforce_csrf_checks=True).post(path), 404, "not-found")


ALLOWED = {
    "/api/v1/auth/token/": {"POST"},
    "/api/v1/products/": {"GET", "HEAD"},
    "/api/v1/checkout/": {"POST"},
    "/api/v1/orders/": {"GET", "HEAD"},
    "/api/v1/orders/ORD-000000000000/": {"GET", "HEAD"},
    "/api/v1/orders/ORD-000000000000/cancel/": {"POST"},
}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PURGE"])
@pytest.mark.parametrize("path", ALLOWED)
def test_other_methods(customer: Shopper, path: str, method: str) -> None:
    response = Client().generic(method, path, headers={"Authorization": f"Token {customer.token}"})

    if method in ALLOWED[path]:
        assert response.status_code in {200, 400, 404, 422}
    else:
        assert_problem(response, 405, "method-not-allowed")
        assert set(response["Allow"].split(", ")) == ALLOWED[path]


def test_unsupported_media_types(customer: Shopper) -> None:
    assert_problem(customer.get("/api/v1/products/", Accept="text/html"), 406, "not-acceptable")
    assert customer.get("/api/v1/products/?format=html").status_code == 200
    assert customer.get("/api/v1/products/", Accept="text/html, */*;q=0.1").status_code == 200


class Away(Exception):
    """Unexpected error."""


def fail_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the catalogue raise this error."""

    def fail() -> None:
        raise error

    monkeypatch.setattr(views, "list_offers", fail)


def make_read_only_error() -> InternalError:
    error = InternalError("cannot execute INSERT in a read-only transaction")
    error.__cause__ = psycopg_errors.ReadOnlySqlTransaction()
    return error


def test_server_error(customer: Shopper, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(Away("secret-of-the-server"), monkeypatch)
    client = Client(raise_request_exception=False, headers={"Authorization": f"Token {customer.token}"})

    response = client.get("/api/v1/products/")

    assert_problem(response, 500, "internal-error")
    assert "secret-of-the-server" not in response.content.decode()


def test_server_error_is_signalled(customer: Shopper, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(Away("told"), monkeypatch)

    with pytest.raises(Away, match="told"):
        customer.get("/api/v1/products/")


@pytest.mark.parametrize("error", [OperationalError("away"), InterfaceError("closed"), make_read_only_error()])
def test_unavailable_database(customer: Shopper, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    fail_with(error, monkeypatch)

    response = customer.get("/api/v1/products/")

    assert_problem(response, 503, "database-unavailable")
    assert response["Retry-After"] == "5"


def test_if_outages_were_server_errors_no_client_would_be_asked_to_retry(
    customer: Shopper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problems, "is_outage", lambda _error: False)
    # The test client raises server errors.
    with pytest.raises(OperationalError, match="away"):
        test_unavailable_database(customer, monkeypatch, OperationalError("away"))


@pytest.mark.parametrize("error", [DataError("x"), InternalError("x"), DatabaseError("x"), ValueError("x")])
def test_programming_error_is_not_an_outage(error: Exception) -> None:
    assert problems.describe_error(error).status == 500


def test_forged_host() -> None:
    client = Client(headers={"Host": "evil.example"})

    assert_problem(client.get("/api/v1/products/"), 400, "bad-request")
    assert client.get("/admin/").status_code == 400


def test_links_do_not_repeat_the_host(customer: Shopper) -> None:
    response = customer.checkout(Host="localhost", **{"X-Forwarded-Host": "evil.example"})

    assert response["Location"] == f"/api/v1/orders/{Order.objects.get().number}/"


def test_errors_outside_of_views_are_problems_below_api_only() -> None:
    request, page = RequestFactory().get("/api/v1/x/"), RequestFactory().get("/admin/")

    assert_problem(problems.refuse_csrf(request, "no cookie"), 403, "permission-denied")
    assert_problem(problems.refuse_permission(request, Exception()), 403, "permission-denied")
    assert_problem(problems.refuse_bad_request(request, Exception()), 400, "bad-request")
    assert_problem(problems.report_failure(request), 500, "internal-error")
    for answer, status in (
        (problems.refuse_csrf(page, "no cookie"), 403),
        (problems.refuse_permission(page, Exception()), 403),
        (problems.refuse_bad_request(page, Exception()), 400),
        (problems.refuse_unknown(page, Exception()), 404),
        (problems.report_failure(page), 500),
    ):
        assert (answer.status_code, answer["Content-Type"]) == (status, "text/html; charset=utf-8")


def test_unavailable_database_outside_of_a_view() -> None:
    try:
        raise OperationalError("away")
    except OperationalError:
        answers = [problems.report_failure(RequestFactory().get(path)) for path in ("/api/v1/x/", "/admin/")]

    assert [answer.status_code for answer in answers] == [503, 503]


def test_settings_name_the_handlers() -> None:
    from config import urls

    assert project_settings.CSRF_FAILURE_VIEW == "orders.api.problems.refuse_csrf"
    assert [urls.handler400, urls.handler403, urls.handler404, urls.handler500] == [
        "orders.api.problems.refuse_bad_request",
        "orders.api.problems.refuse_permission",
        "orders.api.problems.refuse_unknown",
        "orders.api.problems.report_failure",
    ]


COOKIES: dict[str, Any] = {
    "NUL by octal": 'sessionid="abcdefgh\\000"',
    "NUL": "sessionid=abcdefgh\x00",
    "bytes": 'sessionid="abcdefgh\\377"',
    "long": "sessionid=" + "a" * 5000,
    "SQL": "sessionid=' OR 1=1 --",
}


@pytest.mark.parametrize("cookie", COOKIES.values(), ids=COOKIES.keys())
def test_invalid_session_cookies_are_anonymous(cookie: str) -> None:
    assert_problem(Client().get("/api/v1/orders/", HTTP_COOKIE=cookie), 401, "not-authenticated")
