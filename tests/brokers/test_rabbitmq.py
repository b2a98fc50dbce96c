"""The shop works on RabbitMQ as it does on Valkey, and does not depend on it either."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu import Connection

from tests.acceptance.shops import Shop
from tests.acceptance.stops.points import Marks, Moment, StopPoint
from tests.processes import wait_until
from tests.servers_rabbitmq import LocalRabbit, start_rabbitmq

QUEUE = "sagas"
ENDINGS = {
    ("TEA-SENCHA", "pm_card_visa"): "confirmed",
    ("TEA-SENCHA", "pm_card_timeout_once"): "confirmed",
    ("TEA-SENCHA", "pm_card_capture_timeout_once"): "confirmed",
    ("TEA-SENCHA", "pm_card_declined"): "cancelled",
    ("TEA-SENCHA", "pm_card_timeout"): "cancelled",
    ("SCONE-SOLD-OUT", "pm_card_visa"): "cancelled",
}


def test_checkout_of_each_kind_ends_as_it_must(quiet_shop: Shop) -> None:
    quiet_shop.start_worker(concurrency=2)
    orders = {quiet_shop.place(method, sku=sku): status for (sku, method), status in ENDINGS.items()}

    for number, status in orders.items():
        quiet_shop.wait_for(number, status)

    quiet_shop.assert_books_balance()


def test_message_rings_a_worker_that_does_not_sweep_for_long(quiet_shop: Shop) -> None:
    slow_sweep = {**json.loads(quiet_shop.project.environment["SAGAS"]), "SWEEP_INTERVAL": 600.0}
    worker = quiet_shop.project.with_environment(SAGAS=json.dumps(slow_sweep)).start_worker("sleepy")

    number = quiet_shop.place()

    quiet_shop.wait_for(number, "confirmed")
    worker.kill()
    quiet_shop.assert_books_balance()


def test_killed_worker_is_replaced(quiet_shop: Shop, marks: Marks) -> None:
    point = StopPoint(step="capture_payment", direction="action", moment=Moment.AFTER)
    worker = quiet_shop.start_worker("doomed", stops=marks)
    number = quiet_shop.place(line2=str(point))
    wait_until(lambda: marks.find_stopped(number) is not None, "the worker is in the capture", timeout_seconds=60)

    worker.kill()
    quiet_shop.start_worker("successor")

    quiet_shop.wait_for(number, "confirmed")
    assert quiet_shop.list_attempts(number, "capture_payment") == ["unknown", "succeeded"]
    assert quiet_shop.count_in_ledger(number, "capture") == 1
    quiet_shop.assert_books_balance()


def test_purged_queue_loses_no_checkout(quiet_shop: Shop) -> None:
    numbers = [quiet_shop.place() for _ in range(5)]
    wait_until(lambda: count_queued(quiet_shop) >= len(numbers), "the rings are queued", timeout_seconds=30)

    with open_channel(quiet_shop) as channel:
        channel.queue_purge(QUEUE)

    assert count_queued(quiet_shop) == 0
    quiet_shop.start_worker()
    for number in numbers:
        quiet_shop.wait_for(number, "confirmed")
    quiet_shop.assert_books_balance()


def test_checkouts_are_accepted_while_the_broker_is_away_and_end_when_it_is_back(
    quiet_shop: Shop, rabbits: list[LocalRabbit]
) -> None:
    worker = quiet_shop.start_worker()
    quiet_shop.wait_for(quiet_shop.place(), "confirmed")

    quiet_shop.kill_broker()
    number = quiet_shop.place()
    while_away = quiet_shop.client.get_order(number)
    rabbits.append(start_rabbitmq(rabbits[-1].port))

    assert while_away["status"] == "processing"
    quiet_shop.wait_for(number, "confirmed")
    quiet_shop.wait_for(quiet_shop.place(), "confirmed")
    assert worker.is_running
    quiet_shop.assert_books_balance()


def count_queued(shop: Shop) -> int:
    """Count the rings that wait in the broker."""
    with open_channel(shop) as channel:
        return int(channel.queue_declare(QUEUE, passive=True).message_count)


@contextmanager
def open_channel(shop: Shop) -> Iterator[Any]:
    """Talk to the broker past the project's own code."""
    with Connection(shop.broker.url) as connection, connection.channel() as channel:
        yield channel
