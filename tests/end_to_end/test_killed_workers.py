"""Workers killed in the middle of any step: the saga ends correctly, with one effect per step."""

import signal
from dataclasses import dataclass

import pytest

from tests.processes import FAST_ENGINE, wait_until

from .shops import LOOK_SECONDS, PATIENCE_SECONDS, Shop
from .stops.points import Marks, Moment, StopPoint

ACTIONS = ("reserve_stock", "authorize_payment", "book_shipment", "capture_payment", "ship_stock", "confirm_order")
# In execution order if the capture is declined.
COMPENSATIONS = ("book_shipment", "authorize_payment", "reserve_stock", "place_order")
IN_THE_ENGINES_DATABASE = ("confirm_order", "place_order")

# From the settings of these tests: lease, then wake-up interval and two sweeps; takeover falls in between.
# Plus the start of a new worker on a busy machine.
LEASE_SECONDS = FAST_ENGINE["TIMEOUT"] + FAST_ENGINE["LEASE_MARGIN"]
RECOVERY_SECONDS = LEASE_SECONDS + FAST_ENGINE["WAKEUP_INTERVAL"] + 2 * FAST_ENGINE["SWEEP_INTERVAL"]
MACHINE_SECONDS = 60.0

# A worker that stands in one of these may hold the row of what is ordered. So each gets a product of its own, and they
# are placed last: a killed worker's lock is waited for only up to the server's timeout.
HOLDING_STOCK = {
    ("reserve_stock", "action"): "TEA-EARL-GREY",
    ("ship_stock", "action"): "TEA-SENCHA",
    ("reserve_stock", "compensation"): "MUG-WHITE",
}
# Work that was done but not recorded is the harder case.
MOMENTS = [pytest.param(Moment.BEFORE, marks=pytest.mark.full), Moment.AFTER]


@dataclass(frozen=True, kw_only=True)
class Victim:
    """Order whose worker stops at one place, and the order's expected end."""

    number: str
    point: StopPoint
    status: str


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_worker_is_replaced_by_another_one(quiet_shop: Shop, marks: Marks, moment: Moment) -> None:
    points = [*points_of(ACTIONS, "action", moment), *points_of(COMPENSATIONS, "compensation", moment)]
    worker = quiet_shop.start_worker("doomed", stops=marks, concurrency=len(points))
    victims, stopped = stop_in_each(quiet_shop, marks, points)
    assert set(stopped.values()) <= worker.pids

    worker.signal(signal.SIGKILL)
    wait_until(lambda: not worker.is_running, "the worker is gone")
    quiet_shop.start_worker("successor", concurrency=2)

    assert_all_end_correctly(quiet_shop, victims)


@pytest.mark.full
@pytest.mark.parametrize("moment", [Moment.BEFORE, Moment.AFTER])
def test_killed_child_process_is_replaced_by_its_worker(quiet_shop: Shop, marks: Marks, moment: Moment) -> None:
    points = [*points_of(ACTIONS, "action", moment), *points_of(COMPENSATIONS, "compensation", moment)]
    worker = quiet_shop.start_worker("bereaved", stops=marks, concurrency=len(points))
    victims, stopped = stop_in_each(quiet_shop, marks, points)

    for pid in stopped.values():
        worker.kill_child(pid)

    assert_all_end_correctly(quiet_shop, victims)
    assert worker.is_running


@pytest.mark.full  # as tests/crash_points does at each point
def test_killed_between_the_participants_commit_and_the_record(four_databases_shop: Shop, marks: Marks) -> None:
    shop = four_databases_shop
    apart = [
        *points_of(ACTIONS, "action", Moment.COMMITTED),
        *points_of(COMPENSATIONS, "compensation", Moment.COMMITTED),
    ]
    points = [point for point in apart if point.step not in IN_THE_ENGINES_DATABASE]
    worker = shop.start_worker("bereaved", stops=marks, concurrency=len(points))
    victims, stopped = stop_in_each(shop, marks, points)

    for pid in stopped.values():
        worker.kill_child(pid)

    assert_all_end_correctly(shop, victims)


@pytest.mark.full  # as the engine's test of S11 does with simulated deaths
def test_step_that_always_kills_its_worker_is_given_up(quiet_shop: Shop, marks: Marks) -> None:
    point = StopPoint(step="book_shipment", direction="action", moment=Moment.DEATH)
    worker = quiet_shop.start_worker("plagued", stops=marks, concurrency=2)
    deadly = quiet_shop.place(line2=str(point))
    others = [quiet_shop.place() for _ in range(3)]

    for number in others:
        quiet_shop.wait_for(number, "confirmed")
    order = quiet_shop.wait_for(deadly, "cancelled")

    assert order["reason"] == "temporarily_unavailable"
    assert quiet_shop.list_attempts(deadly, "book_shipment") == ["unknown"] * 4
    assert quiet_shop.list_attempts(deadly, "book_shipment", "compensation")[-1] == "succeeded"
    assert worker.is_running
    quiet_shop.assert_ledgers_balance()


def points_of(steps: tuple[str, ...], direction: str, moment: Moment) -> list[StopPoint]:
    """Return the same moment in each of these steps."""
    return [StopPoint(step=step, direction=direction, moment=moment) for step in steps]


def stop_in_each(shop: Shop, marks: Marks, points: list[StopPoint]) -> tuple[list[Victim], dict[str, int]]:
    """Place an order for each place, and wait until a worker has stopped in each.

    Returns: the orders, and by their numbers the process ids.
    """
    victims: list[Victim] = []
    stopped: dict[str, int] = {}
    for is_holding in (False, True):
        placed = [
            place(shop, point) for point in points if ((point.step, point.direction) in HOLDING_STOCK) == is_holding
        ]
        victims += placed
        stopped |= {victim.number: wait_until_stopped(marks, victim) for victim in placed}
    return victims, stopped


def place(shop: Shop, point: StopPoint) -> Victim:
    """Place the order that stops at one place; stops during compensation need a declined capture."""
    ends = {"action": ("pm_card_visa", "confirmed"), "compensation": ("pm_card_capture_declined", "cancelled")}
    payment_method, status = ends[point.direction]
    sku = HOLDING_STOCK.get((point.step, point.direction), "TEA-SENCHA")
    return Victim(number=shop.place(payment_method, sku=sku, line2=str(point)), point=point, status=status)


def wait_until_stopped(marks: Marks, victim: Victim) -> int:
    """Wait until a worker has stopped where the order says.

    Returns: its process id.
    """
    wait_until(
        lambda: marks.find_stopped(victim.number) is not None,
        f"a worker does {victim.point}",
        timeout_seconds=PATIENCE_SECONDS,
        pause_seconds=LOOK_SECONDS,
    )
    return marks.find_stopped(victim.number) or 0


def assert_all_end_correctly(shop: Shop, victims: list[Victim]) -> None:
    """Wait until the sagas are closed, and check their steps and how often each ran."""
    shop.wait_until_closed(victim.number for victim in victims)
    shop.assert_ledgers_balance()
    for victim in victims:
        order = shop.client.get_order(victim.number)
        assert order["status"] == victim.status, victim.point
        # Usually two; on a busy machine one may be taken over before all have stopped, or exceed its lease.
        *lost, last = shop.list_attempts(victim.number, victim.point.step, victim.point.direction)
        assert (set(lost) <= {"retry", "unknown"}, last) == (True, "succeeded"), victim.point
        takeovers = measure_takeovers(shop, victim)
        assert takeovers != [], victim.point
        assert min(takeovers) >= LEASE_SECONDS, victim.point
        assert max(takeovers) <= RECOVERY_SECONDS + MACHINE_SECONDS, victim.point


def measure_takeovers(shop: Shop, victim: Victim) -> list[float]:
    """Return the seconds from each lost attempt's lease end to the next attempt, by the database's clock."""
    statement = """
        SELECT waited FROM (
            SELECT a.error_class,
                extract(epoch FROM lead(a.started_at) OVER (ORDER BY a.number) - a.started_at)::float AS waited
            FROM sagas_sagaattempt a JOIN sagas_sagastep t ON t.id = a.step_id
            WHERE a.saga_id = %s AND t.name = %s AND a.direction = %s) AS attempts
        WHERE error_class = 'sagas.LostWorker'"""
    parameters = [shop.saga_of(victim.number), victim.point.step, victim.point.direction]
    return [row["waited"] for row in shop.project.query(statement, parameters)]
