"""F12: workers' clocks are an hour ahead, an hour behind, and jump. No lease is stolen, no retry is early."""

from datetime import datetime, timedelta
from typing import Any

from tests.end_to_end.ledger_audit import show
from tests.end_to_end.shops import LOOK_SECONDS, PATIENCE_SECONDS, Shop
from tests.end_to_end.stops.points import DIRECTORY_VARIABLE, Marks, Moment, StopPoint
from tests.processes import UNHURRIED_ENGINE, Process, wait_until

from .obstacles.apps import CLOCK_VARIABLE
from .obstacles.clocks import JUMPING
from .testbed import SETTINGS

HOUR_SECONDS = 3600
CLOCKS = {"ahead": str(HOUR_SECONDS), "behind": str(-HOUR_SECONDS), "jumping": JUMPING}
# Long enough for every worker to claim a lease that it thinks has ended.
STANDS_FOR = timedelta(seconds=4 * UNHURRIED_ENGINE["WAKEUP_INTERVAL"])
HALF_A_BASE = timedelta(seconds=UNHURRIED_ENGINE["RETRY"]["base"] / 2)
MOST_ORDERS = 100
KINDS = {
    "pm_card_visa": "confirmed",
    "pm_card_timeout_once": "confirmed",
    "pm_card_capture_timeout_once": "confirmed",
    "pm_card_timeout": "cancelled",
    "pm_card_unavailable": "cancelled",
    "pm_card_capture_declined": "cancelled",
}
# A worker is stopped here for a while, and all the others look for work.
STAND = StopPoint(step="authorize_payment", direction="action", moment=Moment.BEFORE)

ATTEMPTS = """
    SELECT t.saga_id, t.name, a.direction, a.number, a.outcome, a.worker, a.started_at, a.ended_at, a.deadline_at,
           a.error_class, lag(a.ended_at) OVER w AS ended_before, lag(a.outcome) OVER w AS outcome_before,
           lag(a.started_at) OVER w AS started_before
    FROM sagas_sagaattempt a JOIN sagas_sagastep t ON t.id = a.step_id JOIN orders_order o ON o.saga_id = a.saga_id
    WHERE o.number = ANY(%s) AND a.worker <> ''
    WINDOW w AS (PARTITION BY a.step_id, a.direction ORDER BY a.number)"""
EVERY_TIME = """
    SELECT min(t) AS first, max(t) AS last FROM (
        SELECT unnest(ARRAY[s.created_at, s.updated_at, s.closed_at]) AS t
        FROM sagas_saga s JOIN orders_order o ON o.saga_id = s.id WHERE o.number = ANY(%(numbers)s)
        UNION ALL SELECT unnest(ARRAY[a.started_at, a.ended_at]) FROM sagas_sagaattempt a
        JOIN orders_order o ON o.saga_id = a.saga_id WHERE o.number = ANY(%(numbers)s)
        UNION ALL SELECT h.at FROM sagas_sagahistory h
        JOIN orders_order o ON o.saga_id = h.saga_id WHERE o.number = ANY(%(numbers)s)) AS times"""


def test_no_lease_is_stolen_and_no_retry_is_early(quiet_shop: Shop, marks: Marks) -> None:
    shop = quiet_shop
    began_at = read_clock(shop)
    workers = [start_worker(shop, name, clock, marks) for name, clock in CLOCKS.items()]
    standing = shop.place(line2=str(STAND))
    numbers = {shop.place(payment_method): status for payment_method, status in KINDS.items() for _ in range(3)}
    wait_until(
        lambda: marks.find_stopped(standing) is not None,
        "a worker stands in its step",
        timeout_seconds=PATIENCE_SECONDS,
        pause_seconds=LOOK_SECONDS,
    )
    stood_at = read_clock(shop)
    wait_until(lambda: read_clock(shop) > stood_at + STANDS_FOR, "a while has passed", pause_seconds=LOOK_SECONDS)
    marks.release(standing)

    shop.wait_for(standing, "confirmed")
    for number, status in numbers.items():
        shop.wait_for(number, status)
    # The clocks are wrong: participants store their worker's time. Which worker gets an order is random.
    while not have_all_taken_part(shop, workers, [standing, *numbers]) and len(numbers) < MOST_ORDERS:
        numbers[number := shop.place()] = "confirmed"
        shop.wait_for(number, "confirmed")

    assert have_all_taken_part(shop, workers, [standing, *numbers])
    rows = shop.project.query(ATTEMPTS, [[standing, *numbers]])
    assert [show(row) for row in rows if is_early(row)] == []
    assert [show(row) for row in rows if row["error_class"] == "sagas.LostWorker"] == []
    assert {int(row["worker"].rpartition(":")[2]) for row in rows} <= {pid for w in workers for pid in w.pids}
    times = shop.project.query(EVERY_TIME, {"numbers": [standing, *numbers]})[0]  # type: ignore[arg-type]
    assert began_at <= times["first"]
    assert times["last"] <= read_clock(shop)
    assert all(worker.is_running for worker in workers)
    shop.assert_ledgers_balance()


def start_worker(shop: Shop, name: str, clock: str, marks: Marks) -> Process:
    """Start a worker with a wrong clock."""
    project = shop.with_engine(UNHURRIED_ENGINE).project.with_environment(
        **{"DJANGO_SETTINGS_MODULE": SETTINGS, CLOCK_VARIABLE: clock, DIRECTORY_VARIABLE: str(marks.directory)}
    )
    shop.workers.append(project.start_worker(name))
    return shop.workers[-1]


def have_all_taken_part(shop: Shop, workers: list[Process], numbers: list[str]) -> bool:
    """Return whether each worker made an attempt, and payments were stored by clocks an hour apart."""
    rows = shop.project.query(ATTEMPTS, [numbers])
    spread = shop.project.query("SELECT max(changed_at) - min(changed_at) AS spread FROM payments_payment")[0]["spread"]
    return all(any(is_by(row, worker) for row in rows) for worker in workers) and spread > timedelta(hours=1)


def is_early(row: dict[str, Any]) -> bool:
    """Return whether an attempt began before its predecessor's end plus the minimum delay."""
    if row["ended_before"] is None:
        return False
    return bool(row["started_at"] < row["ended_before"] + HALF_A_BASE)


def is_by(row: dict[str, Any], worker: Process) -> bool:
    """Return whether a worker made an attempt."""
    return int(row["worker"].rpartition(":")[2]) in worker.pids


def read_clock(shop: Shop) -> datetime:
    """Return the database's time."""
    moment = shop.project.query("SELECT clock_timestamp() AS now")[0]["now"]
    assert isinstance(moment, datetime)
    return moment
