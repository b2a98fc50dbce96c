"""Idempotency keys: repeats, conflicts, and concurrent requests."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from inventory.services import availability
from orders import idempotency, services
from orders.api.serializers import CheckoutSerializer
from orders.models import IdempotencyRecord, Order
from orders.requests import CheckoutRequest
from sagas.models import Saga
from sagas.testing import drain
from tests.participants.side_by_side import run_side_by_side

from .conftest import Shopper, assert_problem, make_checkout

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def test_repeat_gets_the_stored_response(customer: Shopper) -> None:
    first = customer.checkout()
    drain(Saga.objects.get())

    again = customer.checkout()

    assert (again.status_code, again["Idempotent-Replayed"]) == (202, "true")
    assert again.content == first.content
    assert again["Location"] == first["Location"]
    assert "Idempotent-Replayed" not in first
    assert (Order.objects.count(), Saga.objects.count()) == (1, 1)


def test_repeat_is_recognised_despite_white_space_and_order(customer: Shopper) -> None:
    first = customer.checkout()
    turned = dict(reversed(make_checkout().items()))

    again = customer.checkout(json.dumps(turned, indent=3).encode())

    assert again["Idempotent-Replayed"] == "true"
    assert again.json() == first.json()


def test_repeat_is_answered_after_a_price_change(customer: Shopper) -> None:
    total = {"amount_minor": 2530, "currency": "EUR"}
    first = customer.checkout(make_checkout(expected_total=total))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE orders_product SET unit_price_minor = unit_price_minor + 1, is_active = false")

    again = customer.checkout(make_checkout(expected_total=total))

    assert again.content == first.content


def test_quoted_and_bare_key_are_the_same(customer: Shopper) -> None:
    customer.checkout(key="8e03978e-40d5-43dd-bc93-6894a57f9324")

    again = customer.checkout(key='"8e03978e-40d5-43dd-bc93-6894a57f9324"')

    assert again["Idempotent-Replayed"] == "true"
    assert Order.objects.count() == 1


def test_same_key_with_another_body_is_refused(customer: Shopper) -> None:
    customer.checkout()

    response = customer.checkout(make_checkout(payment_method="pm_card_declined"))

    assert_problem(response, 422, "idempotency-key-reused")
    assert Order.objects.count() == 1


def test_users_do_not_share_keys(customer: Shopper, stranger: Shopper) -> None:
    mine = customer.checkout()

    theirs = stranger.checkout()

    assert "Idempotent-Replayed" not in theirs
    assert mine.json()["number"] != theirs.json()["number"]


def test_missing_key_is_refused(customer: Shopper) -> None:
    response = customer.post("/api/v1/checkout/", make_checkout())

    assert_problem(response, 400, "idempotency-key-missing")
    assert not Order.objects.exists()


@pytest.mark.parametrize(
    "key",
    ["", " ", '""', '"   "', "k" * 256, f'"{"k" * 256}"', "two words", "a,b", 'half"', '"open', "tab\tin", "nul\x00",
     "clé", "bell\x07", "semi;colon", '"a";p=1'],
)  # fmt: skip
def test_malformed_key_is_refused(customer: Shopper, key: str) -> None:
    assert_problem(customer.checkout(key=key), 400, "idempotency-key-malformed")
    assert not Order.objects.exists()


@pytest.mark.parametrize("key", ["k", "k" * 255, "a:b/c_d.e~f+g=h-1", '"two words, and a \\"quote\\""', "  spaced  "])
def test_well_formed_key_is_accepted(customer: Shopper, key: str) -> None:
    assert customer.checkout(key=key).status_code == 202


def test_refused_request_does_not_use_up_its_key(customer: Shopper) -> None:
    assert customer.checkout(make_checkout(lines=[])).status_code == 422
    assert customer.checkout(make_checkout(lines=[{"sku": "NO-SUCH", "quantity": 1}])).status_code == 422

    assert not IdempotencyRecord.objects.exists()
    assert customer.checkout().status_code == 202


def test_record_expires_after_seven_days(customer: Shopper) -> None:
    customer.checkout()

    record = IdempotencyRecord.objects.get()
    assert record.expires_at - record.created_at == timedelta(days=7)
    assert abs(record.created_at - timezone.now()) < timedelta(minutes=1)


@contextmanager
def uncommitted(work: Callable[[], object]) -> Iterator[None]:
    """Do work on another connection, and commit it when the block ends."""
    is_done, may_commit = Event(), Event()

    def commit_late() -> None:
        with transaction.atomic():
            work()
            is_done.set()
            assert may_commit.wait(30)
        connection.close()

    other = Thread(target=commit_late)
    other.start()
    try:
        assert is_done.wait(30)
        yield
    finally:
        may_commit.set()
        other.join(30)


def test_repeat_of_an_uncommitted_request_is_asked_to_retry(customer: Shopper) -> None:
    def place() -> None:
        services.checkout(customer=customer.user, key="key-1", digest="0" * 64, request=_make_request())

    with uncommitted(place):
        meanwhile = customer.checkout()
        other_key = customer.checkout(key="key-2")

    assert_problem(meanwhile, 409, "request-in-flight")
    assert meanwhile["Retry-After"] == "1"
    assert other_key.status_code == 202
    assert_problem(customer.checkout(), 422, "idempotency-key-reused")
    assert Order.objects.count() == 2


def test_repeat_of_a_committed_request_does_not_wait(customer: Shopper) -> None:
    first = customer.checkout()

    with uncommitted(lambda: idempotency.lock_key(customer.user, "key-1")):
        again = customer.checkout()

    assert (again.status_code, again["Idempotent-Replayed"]) == (202, "true")
    assert again.content == first.content
    assert Order.objects.count() == 1


def test_request_committed_just_before_the_lock_is_found(customer: Shopper, monkeypatch: pytest.MonkeyPatch) -> None:
    lock_key, first = idempotency.lock_key, []

    def lose_the_race(user: User, key: str) -> bool:
        monkeypatch.setattr(idempotency, "lock_key", lock_key)
        [response] = run_side_by_side([customer.checkout])
        first.append(response)
        return lock_key(user, key)

    monkeypatch.setattr(idempotency, "lock_key", lose_the_race)

    again = customer.checkout()

    assert (again.status_code, again["Idempotent-Replayed"]) == (202, "true")
    assert again.content == first[0].content
    assert Order.objects.count() == 1


def test_concurrent_requests_with_one_key_place_one_order(customer: Shopper) -> None:
    responses = run_side_by_side([customer.checkout] * 12)

    placed = [response for response in responses if response.status_code == 202]
    told_to_wait = [response for response in responses if response.status_code == 409]
    assert len(placed) + len(told_to_wait) == 12
    assert len({response.json()["number"] for response in placed}) == 1
    assert sum("Idempotent-Replayed" not in response for response in placed) == 1
    assert (Order.objects.count(), Saga.objects.count(), IdempotencyRecord.objects.count()) == (1, 1, 1)


def test_last_kettle_is_sold_once(customer: Shopper) -> None:
    body = make_checkout(lines=[{"sku": "KETTLE-COPPER", "quantity": 1}])
    placed = [customer.checkout(body, key=f"key-{number}") for number in range(20)]
    assert {response.status_code for response in placed} == {202}

    sagas = list(Saga.objects.values_list("pk", flat=True))
    for saga_id in sagas:
        drain(saga_id)

    statuses = sorted(customer.get(response["Location"]).json()["status"] for response in placed)
    assert statuses == ["cancelled"] * 19 + ["confirmed"]
    assert availability(["KETTLE-COPPER"]) == {"KETTLE-COPPER": 0}


def _make_request() -> CheckoutRequest:
    serializer = CheckoutSerializer(data=make_checkout())
    serializer.is_valid(raise_exception=True)
    return serializer.read_request()
