"""Credentials: tokens, sessions, and limits on guessing."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from rest_framework.authtoken.models import Token

from orders.models import Order, ThrottleBucket
from tests.participants.side_by_side import run_side_by_side

from .conftest import Shopper, assert_problem, list_pointers, make_checkout, make_shopper, set_rates

pytestmark = pytest.mark.django_db(databases="__all__")

URL = "/api/v1/auth/token/"
NOBODY = Shopper()


@pytest.fixture
def ada(fill_shop: None) -> User:
    return User.objects.create_user("ada", password=" right horse ")


def log_in(
    username: Any = "ada", password: Any = " right horse ", *, address: str = "192.0.2.1", **headers: str
) -> HttpResponse:
    """Try to log in from an IP address."""
    body = json.dumps({"username": username, "password": password})
    return Client(REMOTE_ADDR=address).post(URL, body, content_type="application/json", headers=headers)


def test_login_returns_a_working_token(ada: User) -> None:
    response = log_in()

    assert (response.status_code, list(response.json()), response["Cache-Control"]) == (200, ["token"], "no-store")
    assert log_in().json() == response.json()
    assert Shopper(ada, response.json()["token"]).checkout().status_code == 202


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("ada", "wrong"),
        ("ada", "right horse"),
        ("nobody", " right horse "),
        ("ADA", " right horse "),
        ("ada' OR 1=1--", "x"),
    ],
)
def test_wrong_credentials_get_identical_responses(ada: User, username: str, password: str) -> None:
    response = log_in(username, password)

    problem = assert_problem(response, 401, "log-in-refused")
    assert problem["detail"] == "Wrong user name or password."
    assert response["WWW-Authenticate"] == "Token"
    assert not Token.objects.exists()


def test_inactive_account_is_refused(ada: User) -> None:
    token = log_in().json()["token"]
    User.objects.update(is_active=False)

    assert_problem(log_in(), 401, "log-in-refused")
    assert_problem(Shopper(ada, token).checkout(), 401, "not-authenticated")
    assert not Order.objects.exists()


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, {"/username", "/password"}),
        ({"username": "ada"}, {"/password"}),
        ({"username": 1, "password": 2}, {"/username", "/password"}),
        ({"username": "ada", "password": ["x"]}, {"/password"}),
        ({"username": "a\x00da", "password": "x"}, {"/username"}),
        ({"username": "ada", "password": "x" * 129}, {"/password"}),
        ({"username": "ada", "password": "x", "is_staff": True}, {"/is_staff"}),
        ([], {""}),
    ],
)
def test_login_accepts_two_strings_only(ada: User, body: Any, pointers: set[str]) -> None:
    problem = assert_problem(NOBODY.post(URL, body), 422, "invalid-input")

    assert list_pointers(problem) == pointers
    assert not ThrottleBucket.objects.exists()


@pytest.mark.parametrize(
    "header",
    ["", "Token", "Token ", "Token x", "Token " + "0" * 40, "Token a b", "token  ", "Bearer x", "Basic YTpi",
     "Token \x00", "Token \xff", "Token ' OR 1=1", "Token " + "a" * 10_000, "Negotiate"],
)  # fmt: skip
def test_unsupported_credentials_are_refused(ada: User, header: str) -> None:
    response = NOBODY.get("/api/v1/orders/", Authorization=header)

    assert_problem(response, 401, "not-authenticated")
    assert response["WWW-Authenticate"] == "Token"


def test_session_may_read(ada: User) -> None:
    client = Client()
    client.force_login(ada)

    assert client.get("/api/v1/orders/").status_code == 200


def test_session_needs_the_csrf_token_to_write(ada: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)
    sent = {"path": "/api/v1/checkout/", "data": make_checkout(), "content_type": "application/json"}

    response = client.post(**sent, headers={"Idempotency-Key": "key-1"})
    assert_problem(response, 403, "permission-denied")
    assert not Order.objects.exists()

    secret = "a" * 32
    client.cookies["csrftoken"] = secret
    response = client.post(**sent, headers={"Idempotency-Key": "key-1", "X-CSRFToken": secret})
    assert response.status_code == 202


def test_expired_session_is_anonymous(ada: User) -> None:
    client = Client()
    client.force_login(ada)
    from django.contrib.sessions.models import Session

    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))

    assert_problem(client.get("/api/v1/orders/"), 401, "not-authenticated")


def test_guesses_are_limited_per_account_and_ip_address(ada: User, settings: Settings) -> None:
    set_rates(settings, log_in="3/hour")
    refused = [log_in(password="wrong").status_code for _ in range(3)]

    response = log_in()

    assert refused == [401, 401, 401]
    assert_problem(response, 429, "too-many-requests")
    assert 1190 <= int(response["Retry-After"]) <= 1200
    assert log_in(address="192.0.2.2").status_code == 200
    assert log_in("other", "wrong").status_code == 401


@pytest.mark.parametrize("username", ["ADA", "  ada  ", "\uff41da"])
def test_spellings_of_a_user_name_count_as_one_account(ada: User, settings: Settings, username: str) -> None:
    set_rates(settings, log_in="1/hour")
    log_in(password="wrong")

    assert log_in(username, "wrong").status_code == 429


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "Client-IP"])
def test_headers_do_not_change_the_ip_address(ada: User, settings: Settings, header: str) -> None:
    set_rates(settings, log_in="1/hour")
    log_in(password="wrong")

    assert log_in(password="wrong", **{header: "198.51.100.7"}).status_code == 429


def test_header_of_a_declared_proxy_is_used(ada: User, settings: Settings) -> None:
    set_rates(settings, log_in="1/hour")
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 1}
    forwarded = "X-Forwarded-For"
    log_in(password="wrong", **{forwarded: "198.51.100.7"})

    assert log_in(password="wrong", **{forwarded: "198.51.100.8"}).status_code == 401
    assert log_in(password="wrong", **{forwarded: "203.0.113.9, 198.51.100.7"}).status_code == 429


def test_ipv6_network_counts_as_one_address(ada: User, settings: Settings) -> None:
    set_rates(settings, log_in="1/hour")
    log_in(password="wrong", address="2001:db8::1")

    assert log_in(password="wrong", address="2001:db8::ffff").status_code == 429
    assert log_in(password="wrong", address="2001:db8:1::1").status_code == 401
    log_in("other", "wrong", address="192.0.2.9")
    assert log_in("other", "wrong", address="::ffff:192.0.2.9").status_code == 429


def test_account_is_limited_over_all_addresses(ada: User, settings: Settings) -> None:
    set_rates(settings, log_in_account="3/hour")

    statuses = [log_in(password="wrong", address=f"192.0.2.{n}").status_code for n in range(4)]

    assert statuses == [401, 401, 401, 429]


def test_ip_address_is_limited_over_all_accounts(ada: User, settings: Settings) -> None:
    set_rates(settings, log_in_address="3/hour")

    statuses = [log_in(f"user{n}", "wrong").status_code for n in range(4)]

    assert statuses == [401, 401, 401, 429]


def test_successful_logins_do_not_count(ada: User, settings: Settings) -> None:
    set_rates(settings, log_in="2/hour")

    assert [log_in().status_code for _ in range(5)] == [200] * 5


def test_counters_store_no_user_name(ada: User) -> None:
    log_in(password="wrong")

    assert ThrottleBucket.objects.count() == 3
    assert all(len(bucket.key) == 64 and "ada" not in bucket.key for bucket in ThrottleBucket.objects.all())


def test_guesses_at_the_admin_are_limited_too(ada: User, settings: Settings) -> None:
    ada.is_staff = True
    ada.save()
    set_rates(settings, log_in="3/hour")

    def try_admin(password: str) -> HttpResponse:
        client = Client(REMOTE_ADDR="192.0.2.1")
        return client.post("/admin/login/?next=/admin/", {"username": "ada", "password": password})

    assert try_admin(" right horse ").status_code == 302  # does not count
    assert [b"correct username" in try_admin("wrong").content for _ in range(3)] == [True, True, True]
    assert b"Too many log-in attempts; try again in" in try_admin(" right horse ").content
    assert log_in().status_code == 429  # one counter for both logins


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_concurrent_guesses_are_all_counted(ada: User, settings: Settings) -> None:
    set_rates(settings, log_in="4/hour")

    responses = run_side_by_side([lambda: log_in(password="wrong")] * 12)

    assert sorted(response.status_code for response in responses) == [401] * 4 + [429] * 8


def test_checkouts_are_limited_per_user(customer: Shopper, stranger: Shopper, settings: Settings) -> None:
    set_rates(settings, checkout="3/minute")
    placed = [customer.checkout(key=f"key-{n}").status_code for n in range(3)]

    response = customer.checkout(key="key-4")

    assert placed == [202, 202, 202]
    assert_problem(response, 429, "too-many-requests")
    assert 19 <= int(response["Retry-After"]) <= 20
    assert Order.objects.count() == 3
    assert stranger.checkout().status_code == 202
    assert customer.get("/api/v1/orders/").status_code == 200


def test_allowance_recovers_gradually(customer: Shopper, settings: Settings) -> None:
    set_rates(settings, checkout="3/minute")
    for n in range(3):
        customer.checkout(key=f"key-{n}")

    bucket = ThrottleBucket.objects.get()
    ThrottleBucket.objects.update(free_at=bucket.free_at - timedelta(seconds=20))

    assert customer.checkout(key="key-4").status_code == 202
    assert customer.checkout(key="key-5").status_code == 429


def test_second_token_shares_the_allowance(customer: Shopper, settings: Settings) -> None:
    set_rates(settings, checkout="1/minute")
    customer.checkout()
    Token.objects.filter(user=customer.user).delete()
    again = Shopper(customer.user, Token.objects.create(user=customer.user).key)

    assert again.checkout(key="key-2", **{"X-Forwarded-For": "198.51.100.7"}).status_code == 429


def test_token_of_a_deleted_account_is_refused(fill_shop: None) -> None:
    guest = make_shopper("guest")
    guest.user.delete()

    assert_problem(guest.get("/api/v1/orders/"), 401, "not-authenticated")
