"""F3: a step that kills its worker every time gets its attempts and no more; other sagas continue.

``tests/end_to_end/test_killed_workers.py`` has a deadly external step that can be undone; these are the others.
"""

from dataclasses import dataclass

import psycopg
import pytest

from tests.end_to_end.shops import Shop
from tests.end_to_end.stops.points import Marks, Moment, StopPoint
from tests.processes import FAST_ENGINE, wait_until

ATTEMPTS = FAST_ENGINE["RETRY"]["attempts"]
PATIENCE_SECONDS = 120.0
LOOK_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Deadly:
    """Step that kills its worker, and the end of its order.

    needs: why an operator is needed; empty if the saga ends without one. outcome: of each of its attempts.
    """

    step: str
    direction: str = "action"
    payment_method: str = "pm_card_visa"
    sku: str
    needs: str = ""
    outcome: str


DEADLY = (
    # Local: certainly rolled back. Nothing was done, so the saga compensates by itself.
    Deadly(step="reserve_stock", sku="TEA-EARL-GREY", outcome="retry"),
    # The pivot: it may have happened, and only an operator can find out.
    Deadly(step="capture_payment", sku="TEA-SENCHA", needs="outcome_unknown", outcome="unknown"),
    # After the pivot: it must succeed, so it is retried.
    Deadly(step="ship_stock", sku="MUG-WHITE", needs="retries_exhausted", outcome="retry"),
    # A compensation: retried forever, but slowly.
    Deadly(
        step="authorize_payment", direction="compensation", payment_method="pm_card_capture_declined",
        sku="TEA-SENCHA", needs="compensation_failing", outcome="unknown",
    ),
)  # fmt: skip


@pytest.mark.full
def test_step_that_kills_its_worker_is_limited_to_its_attempts(quiet_shop: Shop, marks: Marks) -> None:
    worker = quiet_shop.start_worker("plagued", stops=marks, concurrency=3)
    placed = {place(quiet_shop, deadly): deadly for deadly in DEADLY}
    others = [quiet_shop.place(sku="TEA-SENCHA") for _ in range(3)]

    for number in others:
        quiet_shop.wait_for(number, "confirmed")
    for number, deadly in placed.items():
        if deadly.needs:
            wait_until_needed(quiet_shop, number, deadly.needs)
        else:
            quiet_shop.wait_for(number, "cancelled")

    for number, deadly in placed.items():
        outcomes = quiet_shop.list_attempts(number, deadly.step, deadly.direction)
        assert outcomes[:ATTEMPTS] == [deadly.outcome] * ATTEMPTS, deadly
        # Only what must succeed continues at once, and only its last attempt may be in progress.
        assert len(outcomes) == ATTEMPTS or deadly.needs == "retries_exhausted", deadly
    assert worker.is_running
    cure(quiet_shop, placed)
    quiet_shop.assert_ledgers_balance()


def place(shop: Shop, deadly: Deadly) -> str:
    """Place the order whose saga has the deadly step."""
    point = StopPoint(step=deadly.step, direction=deadly.direction, moment=Moment.DEATH)
    return shop.place(deadly.payment_method, sku=deadly.sku, line2=str(point))


def wait_until_needed(shop: Shop, number: str, reason: str) -> None:
    """Wait until a saga shows that an operator is needed, and why."""
    statement = """SELECT s.attention ? %s OR EXISTS (SELECT 1 FROM sagas_sagastep t
        WHERE t.saga_id = s.id AND t.hold = %s) AS needs FROM sagas_saga s WHERE s.id = %s"""
    wanted = [reason, reason, shop.saga_of(number)]
    wait_until(
        lambda: bool(shop.project.query(statement, wanted)[0]["needs"]),
        f"order {number} needs a person: {reason}",
        timeout_seconds=PATIENCE_SECONDS,
        pause_seconds=LOOK_SECONDS,
    )


def cure(shop: Shop, placed: dict[str, Deadly]) -> None:
    """Remove the cause, and do an operator's work: every order must then end correctly."""
    with psycopg.connect(shop.project.environment["DATABASE_URL"]) as connection:
        connection.execute("UPDATE orders_order SET ship_to_line2 = '' WHERE number = ANY(%s)", [list(placed)])
    for number, deadly in placed.items():
        if deadly.needs in ("outcome_unknown", "compensation_failing"):
            shop.operate("saga_retry", number)
        cancelled = not deadly.needs or deadly.direction == "compensation"
        shop.wait_until_closed([number])  # until its next attempt the order is still under review
        shop.wait_for(number, "cancelled" if cancelled else "confirmed")
        kinds = [shop.count_in_ledger(number, kind) for kind in ("authorize", "capture", "void")]
        assert kinds[1] == int(not cancelled), deadly
        assert kinds[0] == kinds[1] + kinds[2], deadly
