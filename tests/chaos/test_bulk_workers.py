"""Bulk of one failing provider's sagas while real workers die: each saga is retried exactly once."""

import json
from typing import Any

import pytest

from tests.end_to_end.shops import Shop
from tests.processes import FAST_ENGINE, wait_until

# One a second, and up to eleven at once after a pause: some are left at each kill.
PER_SECOND, AT_ONCE = 1, 11
# Number of sagas with a result when a worker is killed.
KILLED_AT, FULLY_KILLED_AT = (3,), (3, 16, 30)
SLOW_BULKS = {**FAST_ENGINE, "BULK_RATE": PER_SECOND}
OPERATIONS = """
    SELECT o.number, h.to_state AS operation, h.data ->> 'bulk' AS bulk FROM sagas_sagahistory h
    JOIN orders_order o ON o.saga_id = h.saga_id
    WHERE h.what = 'operator_acted' AND o.number = ANY(%s) ORDER BY o.number"""


@pytest.mark.full
def test_bulk_survives_its_workers_and_operates_once_on_each_saga(quiet_shop: Shop, is_full: bool) -> None:
    shop, killed_at = quiet_shop.with_engine(SLOW_BULKS), FULLY_KILLED_AT if is_full else KILLED_AT
    sagas = killed_at[-1] + AT_ONCE
    numbers = sorted(quiet_shop.place("pm_card_capture_timeout") for _ in range(sagas))
    worker = shop.start_worker("first", concurrency=2)
    for number in numbers:
        quiet_shop.wait_until_needing(number, "outcome_unknown")
    quiet_shop.held_orders |= set(numbers)
    before = {number: quiet_shop.list_attempts(number, "capture_payment") for number in numbers}
    ids = [part for number in numbers for part in ("--id", quiet_shop.saga_of(number))]

    started = json.loads(
        quiet_shop.project.manage(
            "saga_bulk", "retry", *ids, "--reason", "The provider answers again", "--json", "--no-input"
        ).stdout
    )
    for ended in killed_at:
        wait_until_ended(quiet_shop, started["id"], ended)
        worker.kill()
        assert read_bulk(quiet_shop, started["id"])["state"] == "running"
        worker = shop.start_worker(f"after-{ended}", concurrency=2)
    wait_until_ended(quiet_shop, started["id"], sagas)

    wait_until(lambda: read_bulk(quiet_shop, started["id"])["state"] == "finished", "the bulk is finished")
    counts = read_bulk(quiet_shop, started["id"])["counts"]
    assert {name: count for name, count in counts.items() if count} == {"done": sagas}
    operations = [
        (row["number"], row["operation"], row["bulk"]) for row in quiet_shop.project.query(OPERATIONS, [numbers])
    ]
    assert operations == [(number, "retry", started["id"]) for number in numbers]
    for number in numbers:
        # The provider does not answer yet: the outcome is still unknown, and the money was captured once.
        quiet_shop.wait_until_needing(number, "outcome_unknown")
        assert len(quiet_shop.list_attempts(number, "capture_payment")) > len(before[number])
        assert quiet_shop.count_in_ledger(number, "capture") == 1
    quiet_shop.assert_ledgers_balance()


def read_bulk(shop: Shop, bulk_id: str) -> dict[str, Any]:
    """Return what an operator sees of a bulk."""
    found: dict[str, Any] = json.loads(shop.project.manage("saga_bulk_show", bulk_id, "--json").stdout)
    return found


def wait_until_ended(shop: Shop, bulk_id: str, count: int) -> None:
    """Wait until this number of a bulk's sagas have a result."""
    statement = "SELECT count(*) AS ended FROM sagas_sagabulkitem WHERE bulk_id = %s AND result IS NOT NULL"
    wait_until(
        lambda: shop.project.query(statement, [bulk_id])[0]["ended"] >= count,
        f"{count} sagas of the bulk have a result",
        timeout_seconds=shop.patience_seconds,
    )
