"""F7: a broker without memory, or one that restarts constantly: checkouts are accepted and every saga ends."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.end_to_end.shops import PATIENCE_SECONDS, Shop
from tests.processes import UNHURRIED_ENGINE

from .breaking import ask_valkey
from .customers import Customers, wait_until_time
from .kinds import NEEDS_PERSON, choose_kinds
from .settling import count_active, find_wrong_ends, list_held_orders, read_ends, wait_until_settled

ORDERS = 6
RESTARTS, FULL_RESTARTS = 5, 20
FULL_SECONDS = 60.0


def test_broker_without_memory_stops_neither_checkouts_nor_workers(quiet_shop: Shop) -> None:
    shop = quiet_shop
    worker = shop.start_worker()
    shop.wait_for(shop.place(), "confirmed")

    with without_memory(shop):
        assert "OOM" in ask_valkey(shop.broker, "SET x y")
        numbers = [shop.place() for _ in range(ORDERS)]
        sweep = shop.start_sweep()
        for number in numbers:
            shop.wait_for(number, "confirmed")
        sweep.stop()
        late = shop.place()

    shop.wait_for(late, "confirmed")
    assert worker.is_running
    shop.assert_ledgers_balance()


@pytest.mark.full
def test_constantly_restarting_broker_loses_nothing(quiet_shop: Shop, is_full: bool) -> None:
    shop, chance = quiet_shop, random.Random(7)
    restarts = FULL_RESTARTS if is_full else RESTARTS
    workers = [shop.with_engine(UNHURRIED_ENGINE).start_worker(name) for name in ("one", "other")]

    def restart() -> None:
        for _ in range(restarts):
            started_at = time.monotonic()
            shop.kill_broker()
            shop.restart_broker()
            wait_until_time(started_at + FULL_SECONDS / FULL_RESTARTS)

    kinds = [kind for kind in choose_kinds(10 * restarts, chance) if kind.end != NEEDS_PERSON]
    with ThreadPoolExecutor(1) as executor:
        restarting = executor.submit(restart)
        sales = Customers(
            client=shop.client, per_second=5, may_place=lambda: (count_active(shop.project) or 0) < 2 * ORDERS
        ).place_all(kinds)
        restarting.result()
    wait_until_settled(shop.project, patience_seconds=PATIENCE_SECONDS)

    ends = read_ends(shop.project)
    assert sales.wrong == []
    assert list(find_wrong_ends(sales.kinds, ends)) == []
    assert all(worker.is_running for worker in workers)
    shop.accepted |= set(sales.kinds)
    # Earlier tests may have left held orders; none of these is.
    assert list_held_orders({number: ends[number] for number in sales.kinds}) == set()
    shop.assert_ledgers_balance()


@contextmanager
def without_memory(shop: Shop) -> Iterator[None]:
    """Make the broker refuse every command that needs memory."""
    assert ask_valkey(shop.broker, "CONFIG SET maxmemory-policy noeviction") == "+OK"
    assert ask_valkey(shop.broker, "CONFIG SET maxmemory 1") == "+OK"
    try:
        yield
    finally:
        assert ask_valkey(shop.broker, "CONFIG SET maxmemory 0") == "+OK"
