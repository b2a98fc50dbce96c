"""F8: messages come five times, shuffled, late, for strangers, malformed and malicious. Each effect happens once."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tests.acceptance.shops import LOOK_SECONDS, PATIENCE_SECONDS, Shop
from tests.processes import wait_until

from .breaking import ask_valkey
from .messages import Message, list_junk, publish, ring
from .settling import wait_until_settled

TIMES = 5
SEED = 8
KINDS = {
    "pm_card_visa": "confirmed",
    "pm_card_timeout_once": "confirmed",
    "pm_card_declined": "cancelled",
    "pm_card_capture_declined": "cancelled",
}


def test_messages_of_any_number_order_age_and_form_change_nothing(quiet_shop: Shop, tmp_path: Path) -> None:
    shop, chance, canary = quiet_shop, random.Random(SEED), tmp_path / "canary"
    numbers = {shop.place(payment_method): status for payment_method, status in KINDS.items()}
    rings = [ring(shop.saga_of(number)) for number in numbers for _ in range(TIMES)]
    junk = list(list_junk(canary))
    early = [*rings, *junk]
    chance.shuffle(early)
    publish(shop.broker.url, early)

    worker = shop.start_worker("patient", concurrency=2)
    meanwhile = [*rings, *junk]
    chance.shuffle(meanwhile)
    publish(shop.broker.url, meanwhile)

    for number, status in numbers.items():
        shop.wait_for(number, status)
    wait_until_empty(shop)
    wait_until_settled(shop.project, patience_seconds=PATIENCE_SECONDS)
    before = read_everything(shop)
    publish(shop.broker.url, [*reversed(rings), *reversed(junk)])
    wait_until_empty(shop)
    assert_still_answers(shop)

    assert read_everything(shop)[: len(before)] == before
    assert worker.is_running
    assert not canary.exists()
    shop.assert_books_balance()


def test_canary_would_sing(tmp_path: Path) -> None:
    import pickle

    canary = tmp_path / "canary"
    [harmful] = [message for message in list_junk(canary) if message.name == "pickle as application/json"]

    assert isinstance(harmful, Message)
    pickle.loads(harmful.body)  # type: ignore[arg-type]  # noqa: S301

    assert canary.read_text() == "unpickled"


def wait_until_empty(shop: Shop) -> None:
    """Wait until the worker has taken every message."""
    wait_until(
        lambda: ask_valkey(shop.broker, "LLEN sagas:sagas") == ":0",
        "the queue is empty",
        timeout_seconds=PATIENCE_SECONDS,
        pause_seconds=LOOK_SECONDS,
    )


def assert_still_answers(shop: Shop) -> None:
    """Check that a worker is not merely there: what came before this order's message is done, too."""
    shop.wait_for(shop.place(), "confirmed")


def read_everything(shop: Shop) -> list[dict[str, Any]]:
    """Read what a message could have changed, oldest saga first."""
    return shop.project.query(
        "SELECT s.id, s.state, s.revision, s.history_count, s.updated_at, count(a.id) AS attempts"
        " FROM sagas_saga s JOIN sagas_sagaattempt a ON a.saga_id = s.id GROUP BY s.id ORDER BY s.created_at, s.id"
    )
