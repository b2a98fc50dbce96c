"""Both coordinations over HTTP: one document, one way to cancel, one way to wait."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import connections

from orders.models import Order
from sagas.events import relay
from sagas.models import OutboxEvent, Saga
from tests.choreography_shop import shop

from .conftest import Shopper, assert_problem, list_pointers, make_checkout

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

STEPS = ["payment", "stock", "quote", "confirmation", "shipment"]


@pytest.fixture
def events(settings: Any) -> Iterator[None]:
    """Switch events on."""
    events = {"URL": f"memory://{uuid.uuid4()}", "SOURCE": "/shop", "RELAY_ON_COMMIT": False}
    settings.SAGAS = {**settings.SAGAS, "EVENTS": events}
    yield
    relay.close_transport()


@contextmanager
def work_in_background() -> Iterator[None]:
    """Relay, consume and perform in another thread, as the processes of the shop would."""
    is_over = Event()

    def work() -> None:
        while not is_over.wait(0.02):
            shop.turn()
        connections.close_all()

    worker = Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        is_over.set()
        worker.join()


def choreographed(**changes: Any) -> dict[str, Any]:
    return make_checkout(coordination="choreography", **changes)


@pytest.mark.usefixtures("events")
def test_choreographed_checkout_is_shown_like_any_other(customer: Shopper) -> None:
    placed = customer.checkout(choreographed())
    assert placed.status_code == 202, placed.content
    body = placed.json()
    assert (body["coordination"], body["status"], body["saga"]["state"]) == ("choreography", "processing", "pending")
    assert [step["name"] for step in body["saga"]["steps"]] == STEPS
    assert set(body["saga"]["steps"][0]) == {"name", "state", "attempts", "started_at", "finished_at"}

    shop.run(Order.objects.get())

    body = customer.get(placed["Location"]).json()
    assert (body["status"], body["reason"], body["saga"]["state"]) == ("confirmed", None, "completed")
    assert [step["state"] for step in body["saga"]["steps"]] == ["succeeded"] * 5


@pytest.mark.usefixtures("events")
def test_event_carries_what_the_participants_need(customer: Shopper) -> None:
    customer.checkout(choreographed())
    event, order = OutboxEvent.objects.get(), Order.objects.get()
    assert (event.type, event.key, event.correlation_id) == ("OrderCreated", order.number, str(order.saga_id))
    assert event.data["orderId"] == order.number
    assert event.data["lines"] == [{"sku": "TEA-EARL-GREY", "quantity": 2}, {"sku": "MUG-WHITE", "quantity": 1}]
    assert event.data["total"] == {"amountMinor": 2530, "currency": "EUR"}
    assert event.data["paymentMethod"] == "pm_card_visa"
    assert event.data["address"]["postalCode"] == "BA1 1AA"


@pytest.mark.usefixtures("events")
def test_cancel_is_accepted_and_then_too_late(customer: Shopper) -> None:
    first = customer.checkout(choreographed(), key="key-1")["Location"]
    asked = customer.post(f"{first}cancel/")
    assert (asked.status_code, asked.json()["reason"]) == (202, "cancelled_by_customer")
    shop.run(Order.objects.get())
    assert customer.get(first).json()["status"] == "cancelled"

    second = customer.checkout(choreographed(), key="key-2")["Location"]
    shop.run(Order.objects.get(status="pending"))
    assert_problem(customer.post(f"{second}cancel/"), 409, "too-late")


@pytest.mark.usefixtures("events")
def test_prefer_wait_holds_the_response_until_nothing_is_owed(customer: Shopper) -> None:
    with work_in_background():
        response = customer.checkout(choreographed(), Prefer="wait=30")
    assert response["Preference-Applied"] == "wait=30"
    assert (response.json()["status"], response.json()["saga"]["state"]) == ("confirmed", "completed")


def test_without_a_transport_it_is_refused_and_nothing_is_stored(customer: Shopper) -> None:
    problem = assert_problem(customer.checkout(choreographed()), 422, "events-off")
    assert list_pointers(problem) == {"/coordination"}
    assert (Order.objects.count(), Saga.objects.count()) == (0, 0)


def test_unknown_coordination_is_refused(customer: Shopper) -> None:
    problem = assert_problem(customer.checkout(make_checkout(coordination="chaos")), 422, "invalid-input")
    assert list_pointers(problem) == {"/coordination"}


def test_shop_chooses_where_the_request_does_not(customer: Shopper, settings: Any) -> None:
    assert customer.checkout().json()["coordination"] == "orchestration"
    settings.CHECKOUT_COORDINATION = "choreography"
    assert_problem(customer.checkout(key="key-2"), 422, "events-off")
    body = make_checkout(coordination="orchestration")
    assert json.loads(customer.checkout(body, key="key-3").content)["coordination"] == "orchestration"


@pytest.mark.parametrize(("value", "found"), [("chaos", ["orders.E002"]), ("choreography", ["orders.E003"])])
def test_default_that_refuses_every_checkout_is_reported(settings: Any, value: str, found: list[str]) -> None:
    settings.CHECKOUT_COORDINATION = value
    assert [message.id for message in run_checks() if str(message.id).startswith("orders.")] == found
