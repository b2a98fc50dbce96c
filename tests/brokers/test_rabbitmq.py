"""The shop works on RabbitMQ as it does on Valkey, and does not depend on it either."""

from __future__ import annotations

import signal

import pytest

from config.local.client import ShopClient
from tests.processes import Project, wait_until
from tests.servers_rabbitmq import LocalRabbit, start_rabbitmq

ADDRESS = {"name": "A", "line1": "1 Street", "city": "Cork", "postal_code": "T12", "country": "IE"}
ENDINGS = {
    ("TEA-SENCHA", "pm_card_visa"): ("confirmed", "completed"),
    ("TEA-SENCHA", "pm_card_timeout_once"): ("confirmed", "completed"),
    ("TEA-SENCHA", "pm_card_declined"): ("cancelled", "compensated"),
    ("SCONE-SOLD-OUT", "pm_card_visa"): ("cancelled", "compensated"),
}


def order_of(sku: str, payment_method: str) -> dict[str, object]:
    """Write a checkout of one piece."""
    lines = [{"sku": sku, "quantity": 1}]
    return {"lines": lines, "payment_method": payment_method, "shipping_address": ADDRESS}


@pytest.fixture
def customer(project: Project) -> ShopClient:
    """Start web server and worker, and log the customer in."""
    _, client = project.start_web()
    project.start_worker()
    return client.log_in("customer", "customer")


@pytest.mark.parametrize(("sku", "payment_method"), list(ENDINGS))
def test_checkout_of_each_kind_ends_as_it_must(customer: ShopClient, sku: str, payment_method: str) -> None:
    placed = customer.check_out(order_of(sku, payment_method))

    order = customer.wait_for_order(placed.body["number"], 30)

    assert placed.status == 202
    assert (order["status"], order["saga"]["state"]) == ENDINGS[sku, payment_method]


def test_message_rings_a_worker_that_does_not_sweep_for_long(project: Project) -> None:
    slow_sweep = project.environment["SAGAS"].replace('"SWEEP_INTERVAL": 0.2', '"SWEEP_INTERVAL": 600.0')
    slow = project.with_environment(SAGAS=slow_sweep)
    _, client = slow.start_web()
    slow.start_worker()
    customer = client.log_in("customer", "customer")

    placed = customer.check_out(order_of("TEA-SENCHA", "pm_card_visa"))
    order = customer.wait_for_order(placed.body["number"], 30)
    slow.stop_all()

    assert slow_sweep != project.environment["SAGAS"]
    assert order["status"] == "confirmed"


def test_checkout_is_accepted_while_the_broker_is_away_and_ends_when_it_is_back(
    customer: ShopClient, broker: LocalRabbit
) -> None:
    broker.process.send(signal.SIGKILL, whole_group=True)
    wait_until(lambda: not broker.process.is_running(), "the broker is gone")

    placed = customer.check_out(order_of("TEA-SENCHA", "pm_card_visa"))
    while_away = customer.get_order(placed.body["number"])
    second = start_rabbitmq(broker.port)
    order = customer.wait_for_order(placed.body["number"], 60)
    second.stop()

    assert placed.status == 202
    assert while_away["status"] == "processing"
    assert order["status"] == "confirmed"
