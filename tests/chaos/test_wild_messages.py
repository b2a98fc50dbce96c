"""F8: duplicate, shuffled, late, misdirected, malformed and malicious messages. Each effect happens once."""

import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config.local.children import wait_until_ready
from config.local.programs import worker_command
from tests.end_to_end.shops import LOOK_SECONDS, PATIENCE_SECONDS, Shop
from tests.processes import Process, wait_until

from .breaking import ask_valkey
from .messages import BOMB_BYTES, QUEUE, Message, list_junk, list_malformed, publish, send
from .obstacles.apps import CLOCK_VARIABLE
from .obstacles.sagas import OTHER_QUEUE
from .settling import wait_until_settled
from .testbed import SETTINGS

TIMES = 5
HOUR_SECONDS = 3600
SEED = 8
MEMORY_MAX_BYTES = 4 * BOMB_BYTES  # a worker uses about 100 MB; a decompressed bomb adds several times that
KINDS = {
    "pm_card_visa": "confirmed",
    "pm_card_timeout_once": "confirmed",
    "pm_card_declined": "cancelled",
    "pm_card_capture_declined": "cancelled",
}


def test_duplicate_shuffled_late_and_malformed_messages_change_nothing(quiet_shop: Shop, tmp_path: Path) -> None:
    shop, chance, canary = quiet_shop, random.Random(SEED), tmp_path / "canary"
    numbers = {shop.place(payment_method): status for payment_method, status in KINDS.items()}
    wakeups = [send(shop.saga_of(number)) for number in numbers for _ in range(TIMES)]
    junk = list(list_junk(canary))
    early = [*wakeups, *junk]
    chance.shuffle(early)
    publish(shop.broker.url, early)

    worker = shop.start_worker("patient", concurrency=2)
    meanwhile = [*wakeups, *junk]
    chance.shuffle(meanwhile)
    publish(shop.broker.url, meanwhile)

    for number, status in numbers.items():
        shop.wait_for(number, status)
    wait_until_empty(shop)
    wait_until_settled(shop.project, patience_seconds=PATIENCE_SECONDS)
    before = read_everything(shop)
    publish(shop.broker.url, [*reversed(wakeups), *reversed(junk)])
    wait_until_empty(shop)
    assert_still_answers(shop)

    assert read_everything(shop)[: len(before)] == before
    assert worker.is_running
    assert not canary.exists()
    shop.assert_ledgers_balance()


@pytest.mark.full
def test_messages_an_hour_late_or_misdirected_change_nothing(quiet_shop: Shop) -> None:
    shop = quiet_shop
    done, waiting = shop.place(), shop.place()
    for_done, for_waiting = shop.saga_of(done), shop.saga_of(waiting)

    # A worker of another queue gets messages for sagas of this one, and must not run them.
    stranger = start_worker(shop, "stranger", queues=OTHER_QUEUE)
    publish(shop.broker.url, [send(saga, queue=OTHER_QUEUE) for saga in (for_done, for_waiting) for _ in range(TIMES)])
    wait_until_empty(shop, OTHER_QUEUE)
    assert stranger.is_running
    stranger.stop()
    begun = "SELECT id FROM sagas_sagaattempt WHERE worker <> '' AND saga_id = ANY(%s::uuid[])"
    assert shop.project.query(begun, [[for_done, for_waiting]]) == []

    # One saga's message in another's envelope: the content counts. The worker's clock is an hour ahead of the sender's.
    envelope = {"id": for_done, "root_id": for_done, "parent_id": for_waiting, "group": for_done}
    mixed = [replace(send(for_waiting), headers=envelope), replace(send(for_done), headers={"id": for_waiting})]
    publish(shop.broker.url, mixed * TIMES)
    worker = start_worker(shop, "late", clock_seconds=HOUR_SECONDS)
    shop.wait_for(done, "confirmed")
    shop.wait_for(waiting, "confirmed")
    wait_until_empty(shop)
    wait_until_settled(shop.project, patience_seconds=PATIENCE_SECONDS)
    before = read_everything(shop)
    publish(shop.broker.url, mixed * TIMES)
    wait_until_empty(shop)
    assert_still_answers(shop)

    assert read_everything(shop)[: len(before)] == before
    assert worker.is_running
    shop.assert_ledgers_balance()


@pytest.mark.parametrize(
    "pool", ["prefork", *(pytest.param(pool, marks=pytest.mark.full) for pool in ("threads", "solo"))]
)
def test_no_part_of_a_message_can_harm_a_worker(quiet_shop: Shop, pool: str) -> None:
    shop = quiet_shop
    number = shop.place()
    done = shop.saga_of(number)
    worker = shop.project.start("wild", [*worker_command("wild", concurrency=1), "--pool", pool])
    shop.workers.append(worker)
    wait_until_ready(worker.guarded, lambda: " ready." in worker.log, timeout_seconds=PATIENCE_SECONDS)
    shop.wait_until_closed([number])  # sagas held by earlier tests of this shop do not change
    family = {member.pid for member in worker.family()}
    before = read_everything(shop)

    messages = list(list_malformed(done))
    publish(shop.broker.url, messages)
    wait_until_empty(shop)
    assert_still_answers(shop)
    wait_until(lambda: ask_valkey(shop.broker, "ZCARD sagas:unacked_index") == ":0", "all messages are acknowledged")

    assert worker.is_running
    assert {member.pid for member in worker.family()} == family  # not even a child ended
    assert read_everything(shop)[: len(before)] == before
    assert largest_memory_bytes(worker) < MEMORY_MAX_BYTES


def largest_memory_bytes(worker: Process) -> int:
    """Return the peak memory of a worker's main process."""
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def start_worker(shop: Shop, name: str, *, queues: str = "", clock_seconds: int = 0) -> Process:
    """Start a worker of other queues, or one whose clock is ahead."""
    project = shop.project.with_environment(**{"DJANGO_SETTINGS_MODULE": SETTINGS, CLOCK_VARIABLE: str(clock_seconds)})
    shop.workers.append(project.start_worker(name, queues=queues))
    return shop.workers[-1]


def test_unpickling_would_be_detected(tmp_path: Path) -> None:
    import pickle

    canary = tmp_path / "canary"
    [harmful] = [message for message in list_junk(canary) if message.name == "pickle as application/json"]

    assert isinstance(harmful, Message)
    pickle.loads(harmful.body)  # type: ignore[arg-type]  # noqa: S301

    assert canary.read_text() == "unpickled"


def wait_until_empty(shop: Shop, queue: str = QUEUE) -> None:
    """Wait until the worker has taken every message."""
    wait_until(
        lambda: ask_valkey(shop.broker, f"LLEN sagas:{queue}") == ":0",
        "the queue is empty",
        timeout_seconds=PATIENCE_SECONDS,
        pause_seconds=LOOK_SECONDS,
    )


def assert_still_answers(shop: Shop) -> None:
    """Check that a worker is alive and has processed every message before this order's."""
    shop.wait_for(shop.place(), "confirmed")


def read_everything(shop: Shop) -> list[dict[str, Any]]:
    """Return everything a message could have changed, oldest saga first."""
    return shop.project.query(
        "SELECT s.id, s.state, s.revision, s.history_count, s.updated_at, count(a.id) AS attempts"
        " FROM sagas_saga s JOIN sagas_sagaattempt a ON a.saga_id = s.id GROUP BY s.id ORDER BY s.created_at, s.id"
    )
