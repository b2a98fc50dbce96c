"""Workers during shutdown and after a freeze: steps finish, stale results change nothing."""

import signal
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from tests.processes import UNHURRIED_ENGINE, wait_until

from .shops import LOOK_SECONDS, PATIENCE_SECONDS, Shop
from .stops.points import Marks, Moment, StopPoint

BEFORE_AUTHORIZE = StopPoint(step="authorize_payment", direction="action", moment=Moment.BEFORE)
AFTER_AUTHORIZE = StopPoint(step="authorize_payment", direction="action", moment=Moment.AFTER)
BEFORE_CAPTURE = StopPoint(step="capture_payment", direction="action", moment=Moment.BEFORE)
AFTER_CAPTURE = StopPoint(step="capture_payment", direction="action", moment=Moment.AFTER)
LATE_AUTHORIZE = StopPoint(step="authorize_payment", direction="action", moment=Moment.LATE_DEATH)
AFTER_RESERVE = StopPoint(step="reserve_stock", direction="action", moment=Moment.AFTER)
BEFORE_VOID = StopPoint(step="authorize_payment", direction="compensation", moment=Moment.BEFORE)

# No lease ends before its worker is frozen, even on a slow machine.
LONG_LEASES = {**UNHURRIED_ENGINE, "TIMEOUT": 8.0}  # the server ends a transaction that is idle for so long


def test_terminated_worker_finishes_its_step_and_claims_no_other(quiet_shop: Shop, marks: Marks) -> None:
    worker = quiet_shop.start_worker("leaving", stops=marks)
    number = quiet_shop.place(line2=str(BEFORE_AUTHORIZE))
    wait_until_stopped(marks, [number])

    worker.signal(signal.SIGTERM)
    marks.release(number, once_shutting_down=True)

    assert worker.guarded.wait(PATIENCE_SECONDS) == 0
    assert quiet_shop.list_attempts(number, "authorize_payment") == ["succeeded"]
    assert quiet_shop.list_attempts(number, "book_shipment") == []
    assert count_leases(quiet_shop) == 0
    assert quiet_shop.count_in_ledger(number, "authorize") == 1

    quiet_shop.start_worker("staying")
    quiet_shop.wait_for(number, "confirmed")
    assert quiet_shop.list_attempts(number, "authorize_payment") == ["succeeded"]
    quiet_shop.assert_ledgers_balance()


def test_worker_that_quits_before_its_commits_is_replaced(quiet_shop: Shop, marks: Marks) -> None:
    lost = {AFTER_RESERVE: "retry", AFTER_AUTHORIZE: "unknown", AFTER_CAPTURE: "unknown"}
    worker = quiet_shop.with_engine(LONG_LEASES).start_worker("quitting", stops=marks, concurrency=len(lost))
    orders = {quiet_shop.place(sku="MUG-WHITE", line2=str(point)): point for point in reversed(lost)}
    wait_until_stopped(marks, orders)

    worker.signal(signal.SIGQUIT)
    worker.guarded.wait(PATIENCE_SECONDS)
    end_leases(quiet_shop)
    quiet_shop.with_engine(UNHURRIED_ENGINE).start_worker("successor")

    for number, point in orders.items():
        quiet_shop.wait_for(number, "confirmed")
        assert quiet_shop.list_attempts(number, point.step) == [lost[point], "succeeded"], point
        assert [quiet_shop.count_in_ledger(number, kind) for kind in ("authorize", "capture", "void")] == [1, 1, 0]
    quiet_shop.assert_ledgers_balance()


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """Order whose worker is frozen at one place.

    status: how the order ends. attempts: how those of the frozen step have ended when the frozen worker is gone, the
    first of them its own.
    """

    point: StopPoint
    payment_method: str = "pm_card_visa"
    # One SKU for all, except for the order that locks its row.
    sku: str = "TEA-SENCHA"
    status: str = "confirmed"
    attempts: tuple[str, str]


FROZEN = (
    # Each retries with the same key and gets the first response.
    Frozen(point=BEFORE_AUTHORIZE, attempts=("succeeded", "succeeded")),
    Frozen(point=AFTER_AUTHORIZE, attempts=("succeeded", "succeeded")),
    Frozen(point=BEFORE_CAPTURE, attempts=("succeeded", "succeeded")),
    # The database has ended the idle transaction.
    Frozen(point=AFTER_RESERVE, sku="MUG-WHITE", attempts=("retry", "succeeded")),
    # By then the key of the late authorise is closed.
    Frozen(
        point=BEFORE_AUTHORIZE, payment_method="pm_card_capture_declined", status="cancelled",
        attempts=("fenced", "succeeded"),
    ),
    Frozen(
        point=BEFORE_VOID, payment_method="pm_card_capture_declined", status="cancelled",
        attempts=("succeeded", "succeeded"),
    ),
)  # fmt: skip


def test_worker_frozen_beyond_its_lease_changes_nothing_when_resumed(quiet_shop: Shop, marks: Marks) -> None:
    worker = quiet_shop.with_engine(LONG_LEASES).start_worker("frozen", stops=marks, concurrency=len(FROZEN))
    orders = {
        quiet_shop.place(frozen.payment_method, sku=frozen.sku, line2=str(frozen.point)): frozen for frozen in FROZEN
    }
    wait_until_stopped(marks, orders)
    worker.pause()
    for number in orders:
        marks.release(number)

    end_leases(quiet_shop)
    quiet_shop.with_engine(UNHURRIED_ENGINE).start_worker("awake", concurrency=2)
    quiet_shop.wait_until_closed(orders)
    quiet_shop.assert_ledgers_balance()
    before = read_sagas(quiet_shop)
    worker.resume()
    worker.signal(signal.SIGTERM)

    assert worker.guarded.wait(PATIENCE_SECONDS) == 0
    assert read_sagas(quiet_shop) == before
    assert count_late_answers(quiet_shop, orders) == len(FROZEN) - 1  # the database had ended one
    quiet_shop.assert_ledgers_balance()
    for number, frozen in orders.items():
        is_kept = frozen.status == "confirmed"
        assert quiet_shop.client.get_order(number)["status"] == frozen.status, frozen
        done = [quiet_shop.count_in_ledger(number, kind) for kind in ("authorize", "capture", "void")]
        assert done == [1, int(is_kept), int(not is_kept)], frozen
        attempts = quiet_shop.list_attempts(number, frozen.point.step, frozen.point.direction)
        assert tuple(attempts) == frozen.attempts, frozen


def test_late_call_whose_worker_dies_leaves_nothing_behind(quiet_shop: Shop, marks: Marks) -> None:
    worker = quiet_shop.with_engine(LONG_LEASES).start_worker("late", stops=marks, concurrency=1)
    number = quiet_shop.place("pm_card_capture_declined", line2=str(LATE_AUTHORIZE))
    wait_until_stopped(marks, [number])
    [child] = worker.family()[1:]
    worker.pause()
    marks.release(number)
    end_leases(quiet_shop)
    quiet_shop.with_engine(UNHURRIED_ENGINE).start_worker("awake")
    quiet_shop.wait_for(number, "cancelled")
    before = read_sagas(quiet_shop)

    worker.resume()

    # The call was made, and refused because the key is closed, but no worker survived to record it.
    wait_until(lambda: is_dead(child), "the late worker is dead")
    assert read_sagas(quiet_shop) == before
    assert quiet_shop.list_attempts(number, "authorize_payment") == ["unknown", "succeeded"]
    assert [quiet_shop.count_in_ledger(number, kind) for kind in ("authorize", "capture", "void")] == [1, 0, 1]
    assert count_late_answers(quiet_shop, [number]) == 0
    quiet_shop.assert_ledgers_balance()


def is_dead(process: psutil.Process) -> bool:
    """Return whether a process has ended, even if its parent has not collected it yet."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def wait_until_stopped(marks: Marks, numbers: Iterable[str]) -> None:
    """Wait until a worker has stopped where each of these orders says."""
    for number in numbers:
        wait_until(
            lambda number=number: marks.find_stopped(number) is not None,
            f"a worker stands where order {number} says",
            timeout_seconds=PATIENCE_SECONDS,
            pause_seconds=LOOK_SECONDS,
        )


def count_leases(shop: Shop) -> int:
    """Count the leased steps."""
    return int(
        shop.project.query("SELECT count(*) AS held FROM sagas_sagastep WHERE lease_token IS NOT NULL")[0]["held"]
    )


def end_leases(shop: Shop) -> None:
    """End every lease, as if the time had passed.

    The orders' sagas are due, so that the next sweep finds them.
    """
    shop.project.query("UPDATE sagas_sagastep SET lease_until = now() WHERE lease_token IS NOT NULL RETURNING id")
    shop.project.query("UPDATE sagas_saga SET due_at = now() WHERE closed_at IS NULL RETURNING id")


def count_late_answers(shop: Shop, numbers: Iterable[str]) -> int:
    """Count the late answers stored as evidence for these orders."""
    statement = """SELECT count(*) AS kept FROM sagas_sagahistory h JOIN orders_order o ON o.saga_id = h.saga_id
        WHERE h.what = 'late_answer' AND o.number = ANY(%s)"""
    return int(shop.project.query(statement, [list(numbers)])[0]["kept"])


def read_sagas(shop: Shop) -> list[dict[str, object]]:
    """Return what a stale worker must not change: states and revisions of all sagas and steps.

    Each stored late answer increments the revision once, which makes earlier forms stale.
    """
    return shop.project.query("""
        SELECT s.id, s.state, s.hold, s.attention, s.closed_at, t.name, t.state AS step_state, t.epoch, t.result,
            s.revision - (SELECT count(*) FROM sagas_sagahistory h
                          WHERE h.saga_id = s.id AND h.what = 'late_answer') AS decisions
        FROM sagas_saga s JOIN sagas_sagastep t ON t.saga_id = s.id ORDER BY s.id, t.position""")
