"""``Prefer: wait``: the response is held until the checkout is over, within limits."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest
from django.db import connection, connections

from orders.api import waiting
from sagas.models import Saga
from sagas.testing import drain

from .conftest import Shopper

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

PATIENCE_SECONDS = 30


@contextmanager
def work_in_background() -> Iterator[None]:
    """Run every new saga in another thread, as a worker would."""
    is_over = Event()

    def work() -> None:
        while not is_over.wait(0.02):
            for saga_id in Saga.objects.filter(due_at__isnull=False).values_list("pk", flat=True):
                drain(saga_id)
        connections.close_all()

    worker = Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        is_over.set()
        worker.join(PATIENCE_SECONDS)


def test_response_is_sent_when_the_saga_closes(customer: Shopper) -> None:
    started = time.monotonic()
    with work_in_background():
        response = customer.checkout(Prefer="wait=20")

    body = response.json()
    assert (response.status_code, response["Preference-Applied"]) == (202, "wait=20")
    assert (body["status"], body["saga"]["state"]) == ("confirmed", "completed")
    assert body == customer.get(response["Location"]).json()
    assert time.monotonic() - started < 15


def test_response_is_sent_after_the_time_limit_without_a_worker(customer: Shopper) -> None:
    started = time.monotonic()
    response = customer.checkout(Prefer="respond-async, wait=1")

    assert 1 <= time.monotonic() - started < 10
    assert (response.status_code, response["Preference-Applied"]) == (202, "wait=1")
    assert response.json()["status"] == "processing"


@pytest.mark.parametrize(
    "header", ["wait=0", "wait=-1", "wait=x", "wait", "wait=1.5", "wait=\u0663", "handling=strict", ","]
)
def test_malformed_preference_is_ignored(customer: Shopper, header: str) -> None:
    response = customer.checkout(Prefer=header)

    assert response.status_code == 202
    assert "Preference-Applied" not in response


@pytest.mark.parametrize("header", ["wait=31", "wait=" + "9" * 4000, 'WAIT = "600"', "wait=0600; x=1"])
def test_wait_is_capped(header: str) -> None:
    from orders.api.headers import read_wait_seconds

    assert read_wait_seconds(header) == 30


def test_replay_does_not_wait(customer: Shopper) -> None:
    first = customer.checkout()

    again = customer.checkout(Prefer="wait=30")

    assert again.content == first.content
    assert "Preference-Applied" not in again


def test_number_of_waiting_requests_is_capped(customer: Shopper) -> None:
    taken = [waiting._places.acquire(blocking=False) for _ in range(waiting.MAX_WAITERS)]
    try:
        response = customer.checkout(Prefer="wait=30")
    finally:
        for _ in taken:
            waiting._places.release()

    assert taken == [True] * waiting.MAX_WAITERS
    assert response.status_code == 202
    assert "Preference-Applied" not in response
    assert response.json()["status"] == "processing"


def test_waiting_slots_are_released(customer: Shopper) -> None:
    with work_in_background():
        for index in range(waiting.MAX_WAITERS + 1):
            response = customer.checkout(key=f"key-{index}", Prefer="wait=20")
            assert response["Preference-Applied"] == "wait=20"


def test_waiting_request_holds_no_connection(customer: Shopper, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    def look(seconds: float) -> None:
        held.append(connection.connection is not None)
        Saga.objects.update(state="compensated", cause={}, due_at=None, closed_at="2026-01-01T00:00Z")

    monkeypatch.setattr(waiting.time, "sleep", look)

    response = customer.checkout(Prefer="wait=20")

    assert held == [False]
    assert response.json()["status"] == "cancelled"
