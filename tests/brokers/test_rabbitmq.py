"""The shop does not depend on RabbitMQ any more than on Valkey; what it does on both is tested beside this module."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu import Connection

from tests.end_to_end.shops import Shop
from tests.processes import wait_until
from tests.servers_rabbitmq import LocalRabbit, start_rabbitmq

QUEUE = "sagas"


def test_message_wakes_a_worker_that_does_not_sweep_for_long(quiet_shop: Shop) -> None:
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
    quiet_shop.assert_ledgers_balance()


def count_queued(shop: Shop) -> int:
    """Count the wake-ups that wait in the broker."""
    with open_channel(shop) as channel:
        return int(channel.queue_declare(QUEUE, passive=True).message_count)


@contextmanager
def open_channel(shop: Shop) -> Iterator[Any]:
    """Talk to the broker past the project's own code."""
    with Connection(shop.broker.url) as connection, connection.channel() as channel:
        yield channel
