"""RabbitMQ: the shop depends on it no more than on Valkey."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu import Connection

from tests.end_to_end.shops import Shop
from tests.processes import wait_until
from tests.servers_rabbitmq import LocalRabbit, start_rabbitmq

QUEUE = "sagas"


def test_message_wakes_a_worker_long_before_its_next_sweep(quiet_shop: Shop) -> None:
    slow_sweep = {**json.loads(quiet_shop.project.environment["SAGAS"]), "SWEEP_INTERVAL": 600.0}
    worker = quiet_shop.project.with_environment(SAGAS=json.dumps(slow_sweep)).start_worker("sleepy")

    number = quiet_shop.place()

    quiet_shop.wait_for(number, "confirmed")
    worker.kill()
    quiet_shop.assert_ledgers_balance()


def test_purged_queue_loses_no_checkout(quiet_shop: Shop) -> None:
    numbers = [quiet_shop.place() for _ in range(5)]
    wait_until(lambda: count_queued(quiet_shop) >= len(numbers), "the wake-ups are queued", timeout_seconds=30)

    with open_channel(quiet_shop) as channel:
        channel.queue_purge(QUEUE)

    assert count_queued(quiet_shop) == 0
    quiet_shop.start_worker()
    for number in numbers:
        quiet_shop.wait_for(number, "confirmed")
    quiet_shop.assert_ledgers_balance()


def test_checkouts_are_accepted_during_an_outage_of_the_broker_and_end_after_it(
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
    quiet_shop.assert_ledgers_balance()


def count_queued(shop: Shop) -> int:
    """Count the wake-ups in the broker's queues."""
    with open_channel(shop) as channel:
        return int(channel.queue_declare(QUEUE, passive=True).message_count)


@contextmanager
def open_channel(shop: Shop) -> Iterator[Any]:
    """Open a channel to the broker without the project's code."""
    with Connection(shop.broker.url) as connection, connection.channel() as channel:
        yield channel
