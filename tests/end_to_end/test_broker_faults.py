"""Broker faults: checkouts stay fast, and every saga ends."""

import signal
import socket
import time
from collections.abc import Iterable
from statistics import median
from urllib.parse import urlsplit

import pytest

from config.local.children import wait_until_ready
from config.local.programs import worker_command
from config.local.valkey import keep_free_port
from tests.processes import UNHURRIED_ENGINE, Process, wait_until

from .shops import PATIENCE_SECONDS, Shop

ORDERS = 5
# A request that waited for the broker would take 0.6 seconds where its port is closed, and 4 where it is frozen.
SLOWER_AT_MOST_SECONDS = 0.4


def test_flushed_broker_loses_no_checkout(quiet_shop: Shop) -> None:
    numbers = [quiet_shop.place() for _ in range(ORDERS)]
    wait_until(lambda: count_queued(quiet_shop) >= ORDERS, "the wake-ups are queued", timeout_seconds=PATIENCE_SECONDS)

    assert send_to_broker(quiet_shop, "FLUSHALL") == "+OK"

    assert count_queued(quiet_shop) == 0
    quiet_shop.start_worker()
    assert_confirmed(quiet_shop, numbers)


def test_worker_continues_after_an_outage_of_its_broker(quiet_shop: Shop) -> None:
    worker = quiet_shop.start_worker()
    assert_confirmed(quiet_shop, [quiet_shop.place()])

    quiet_shop.kill_broker()
    numbers = [quiet_shop.place() for _ in range(ORDERS)]
    quiet_shop.restart_broker()

    assert_confirmed(quiet_shop, numbers)
    assert worker.is_running


def test_worker_receives_messages_after_losing_its_broker_before_an_acknowledgement(quiet_shop: Shop) -> None:
    worker = quiet_shop.start_worker(concurrency=1)
    assert_confirmed(quiet_shop, [quiet_shop.place()])
    [child] = worker.family()[1:]
    child.send_signal(signal.SIGSTOP)
    number = quiet_shop.place()
    # The worker has the first wake-up, and acknowledges it when its child accepts it; others wait behind it.
    wait_until(lambda: count_queued(quiet_shop) > 0, "a wake-up waits behind another one")

    quiet_shop.kill_broker()
    child.send_signal(signal.SIGCONT)
    assert_confirmed(quiet_shop, [number])
    quiet_shop.restart_broker()

    assert_confirmed(quiet_shop, [quiet_shop.place()])
    assert "Couldn't ack" in worker.log


@pytest.mark.full  # a frozen one is the harder case
def test_stopped_broker_neither_slows_nor_stops_checkouts(quiet_shop: Shop) -> None:
    quiet_shop.start_sweep()
    with_broker = place_timed(quiet_shop)
    assert_confirmed(quiet_shop, with_broker)

    quiet_shop.kill_broker()
    without_broker = place_timed(quiet_shop)

    assert_confirmed(quiet_shop, without_broker)
    assert_as_fast(with_broker, without_broker)
    quiet_shop.restart_broker()


def test_frozen_broker_neither_slows_nor_stops_checkouts(quiet_shop: Shop) -> None:
    worker = quiet_shop.start_worker()
    with_broker = place_timed(quiet_shop)
    assert_confirmed(quiet_shop, with_broker)

    quiet_shop.broker.process.send(signal.SIGSTOP)
    meanwhile = place_timed(quiet_shop)
    sweep = quiet_shop.start_sweep()
    assert_confirmed(quiet_shop, meanwhile)
    sweep.stop()
    later = [quiet_shop.place()]
    quiet_shop.broker.process.send(signal.SIGCONT)

    assert_confirmed(quiet_shop, later)
    assert_as_fast(with_broker, meanwhile)
    assert worker.is_running


def test_one_sweep_finishes_sagas_of_a_project_without_a_broker(quiet_shop: Shop) -> None:
    project = quiet_shop.project.with_environment(CELERY_BROKER_URL=f"redis://127.0.0.1:{keep_free_port()}/0")
    web, client = project.start_web()
    shop = Shop(project=project, brokers=quiet_shop.brokers, client=client.log_in("customer", "customer"))
    ends = {
        shop.place(): "confirmed",
        shop.place(sku="SCONE-SOLD-OUT"): "cancelled",
        shop.place("pm_card_declined"): "cancelled",
        shop.place("pm_card_capture_declined"): "cancelled",
    }
    quiet_shop.accepted |= shop.accepted
    assert {number: client_status(shop, number) for number in ends} == dict.fromkeys(ends, "processing")

    project.manage("saga_sweep", "--run")

    assert {number: client_status(shop, number) for number in ends} == ends
    quiet_shop.assert_ledgers_balance()
    web.stop()


def place_timed(shop: Shop) -> dict[str, float]:
    """Place orders one after the other.

    Returns: how many seconds each took, by number.
    """
    seconds: dict[str, float] = {}
    for _ in range(ORDERS):
        started_at = time.monotonic()
        number = shop.place()
        seconds[number] = time.monotonic() - started_at
    return seconds


def assert_as_fast(usual: dict[str, float], present: dict[str, float]) -> None:
    """Check that requests do not wait for a broker, by their median, since single ones may be slow.

    ``make chaos`` measures the slowest.
    """
    assert median(present.values()) < median(usual.values()) + SLOWER_AT_MOST_SECONDS


def assert_confirmed(shop: Shop, numbers: Iterable[str]) -> None:
    """Wait until these orders are confirmed, and audit the ledgers."""
    for number in numbers:
        shop.wait_for(number, "confirmed")
    shop.assert_ledgers_balance()


def client_status(shop: Shop, number: str) -> str:
    """Read an order's status over REST."""
    return str(shop.client.get_order(number)["status"])


def count_queued(shop: Shop) -> int:
    """Count the wake-ups in the broker's queues."""
    return int(send_to_broker(shop, "LLEN sagas:sagas").removeprefix(":"))


def send_to_broker(shop: Shop, command: str) -> str:
    """Send the broker one command of its protocol, and return the line of its response."""
    with socket.create_connection(("127.0.0.1", port_of(shop)), timeout=5) as connection:
        connection.sendall(f"{command}\r\n".encode())
        return connection.recv(1024).decode().strip()


def port_of(shop: Shop) -> int:
    """Return the broker's port."""
    return int(urlsplit(shop.broker.url).port or 0)


def test_worker_started_without_its_broker_sweeps_but_serves_no_queue(quiet_shop: Shop) -> None:
    port = port_of(quiet_shop)
    quiet_shop.kill_broker()
    number = quiet_shop.place()
    worker = quiet_shop.start_worker(ready=False)

    wait_until(lambda: list_beats(quiet_shop, worker) == [[]], "it sweeps", timeout_seconds=PATIENCE_SECONDS)
    assert quiet_shop.list_attempts(number, "reserve_stock") == []
    assert port_of(quiet_shop) == port
    quiet_shop.restart_broker()

    assert_confirmed(quiet_shop, [number])
    wait_until(lambda: list_beats(quiet_shop, worker) == [["sagas"]], "it serves", timeout_seconds=PATIENCE_SECONDS)


@pytest.mark.parametrize(
    "pool", ["prefork", *(pytest.param(pool, marks=pytest.mark.full) for pool in ("threads", "solo"))]
)
def test_worker_with_sweep_runs_executes_without_its_broker(quiet_shop: Shop, pool: str) -> None:
    shop = quiet_shop.with_engine({**UNHURRIED_ENGINE, "SWEEP_RUNS": True})
    worker = start_worker_in_pool(shop, pool)
    assert_confirmed(quiet_shop, [quiet_shop.place()])
    ran_before = count_runs_by(shop, worker)
    quiet_shop.kill_broker()

    assert_confirmed(quiet_shop, [quiet_shop.place()])
    assert count_runs_by(shop, worker) > ran_before or pool != "prefork"
    wait_until(lambda: list_beats(shop, worker) == [["sagas"]], "it serves", timeout_seconds=PATIENCE_SECONDS)
    quiet_shop.restart_broker()
    assert_confirmed(quiet_shop, [quiet_shop.place()])
    worker.stop()

    assert list_beats(shop, worker) == []


def test_worker_started_without_a_broker_stops_cleanly(quiet_shop: Shop) -> None:
    quiet_shop.kill_broker()
    number = quiet_shop.place()
    shop = quiet_shop.with_engine({**UNHURRIED_ENGINE, "SWEEP_RUNS": True})
    worker = shop.start_worker(ready=False)

    assert_confirmed(quiet_shop, [number])
    worker.stop()

    assert list_beats(shop, worker) == []
    quiet_shop.restart_broker()


def start_worker_in_pool(shop: Shop, pool: str) -> Process:
    """Start a worker with another pool than Celery's usual one, and wait until it consumes."""
    worker = shop.project.start(pool, [*worker_command(pool, concurrency=1), "--pool", pool])
    shop.workers.append(worker)
    wait_until_ready(worker.guarded, lambda: " ready." in worker.log, timeout_seconds=PATIENCE_SECONDS)
    return worker


def list_beats(shop: Shop, worker: Process) -> list[list[str]]:
    """Return the queues a worker serves according to its heartbeat; an empty list without one."""
    statement = "SELECT queues FROM sagas_sagaworker WHERE pid = %s"
    return [row["queues"] for row in shop.project.query(statement, [worker.pid])]


def count_runs_by(shop: Shop, worker: Process) -> int:
    """Count the attempts that the main process of a worker made."""
    statement = "SELECT count(*) AS made FROM sagas_sagaattempt WHERE worker LIKE '%%:' || %s"
    return int(shop.project.query(statement, [str(worker.pid)])[0]["made"])
