"""F5: a backlog of checkouts without workers is drained oldest first, without a flood of wake-ups."""

from uuid import UUID

import pytest

from sagas.engine.notify import wakeup_sending
from sagas.models import Saga
from sagas.worker import sweeper
from tests.commands.cases import define_trip, start_trip, trips
from tests.end_to_end.shops import Shop
from tests.processes import wait_until

from .breaking import ask_valkey
from .customers import Customers
from .kinds import KINDS
from .settling import wait_until_settled

PILE, FULL_PILE = 100, 1_000
QUEUE = "LLEN sagas:sagas"

FIRST_CLAIMS = """
    SELECT o.number FROM orders_order o JOIN sagas_saga s ON s.id = o.saga_id
    JOIN sagas_sagaattempt a ON a.saga_id = s.id AND a.worker <> '' AND o.number = ANY(%s)
    GROUP BY o.number, s.created_at ORDER BY {}"""


@pytest.mark.full
@pytest.mark.parametrize("is_flushed", [False, True], ids=["woken", "swept"])
def test_backlog_is_drained_oldest_first(quiet_shop: Shop, is_full: bool, is_flushed: bool) -> None:
    count = FULL_PILE if is_full else PILE
    # One after another: orders placed side by side may be committed in another order than they were created in.
    sales = Customers(client=quiet_shop.client, threads=1, per_second=200).place_all([KINDS[0]] * count)
    quiet_shop.accepted |= set(sales.kinds)
    assert (sales.wrong, len(sales.kinds)) == ([], count)
    # A wake-up sent after the flush would put its saga first.
    wait_until(lambda: int(ask_valkey(quiet_shop.broker, QUEUE).removeprefix(":")) >= count, "all wake-ups are there")
    if is_flushed:
        ask_valkey(quiet_shop.broker, "FLUSHALL")

    quiet_shop.start_worker("alone", concurrency=1)
    wait_until_settled(quiet_shop.project, patience_seconds=60 + count)

    numbers = [sorted(sales.kinds)]
    placed = [row["number"] for row in quiet_shop.project.query(FIRST_CLAIMS.format("s.created_at"), numbers)]
    claimed = [row["number"] for row in quiet_shop.project.query(FIRST_CLAIMS.format("min(a.started_at)"), numbers)]
    assert len(placed) == count
    assert claimed == placed
    quiet_shop.assert_ledgers_balance()


def test_wakeups_waiting_in_the_broker_are_counted(quiet_shop: Shop) -> None:
    ask_valkey(quiet_shop.broker, "FLUSHALL")
    code = """
from uuid import uuid4
from sagas.engine.notify import wakeup_sending
def count():
    wakeup_sending._sender.flush(10)
    wakeup_sending.count_waiting("sagas")
    wakeup_sending._sender.flush(10)
    return wakeup_sending.count_waiting("sagas")
nothing = count()
for _ in range(3):
    wakeup_sending.send(uuid4())
print(nothing, count())
"""
    counted = quiet_shop.project.manage("shell", "--no-imports", "--command", code).stdout

    assert counted.split() == ["0", ask_valkey(quiet_shop.broker, QUEUE).removeprefix(":")]
    assert counted.split() == ["0", "3"]
    ask_valkey(quiet_shop.broker, "FLUSHALL")


@pytest.mark.django_db(databases="__all__")
class TestBusyQueue:
    def test_busy_queue_gets_one_wakeup_per_sweep(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with trips():
            busy = [start_trip(f"busy-{number}") for number in range(4)]
            define_trip(version=2, queue="payments")
            other = [start_trip(f"other-{number}") for number in range(2)]
            Saga.objects.filter(pk__in=[saga.pk for saga in other]).update(queue="payments")
            woken = self.listen(monkeypatch, {"sagas": 3})

            assert sweeper.wake_due(limit=8) == 3

            assert woken == [(other[0].pk, "payments"), (other[1].pk, "payments"), (busy[0].pk, "sagas")]

    def test_queue_is_busy_above_a_quarter_of_a_page(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with trips():
            for number in range(4):
                start_trip(str(number))
            self.listen(monkeypatch, {"sagas": 2})

            assert sweeper.wake_due(limit=8) == 4

    def listen(self, monkeypatch: pytest.MonkeyPatch, waiting: dict[str, int]) -> list[tuple[UUID, str]]:
        """Stand in for the broker, with this number of waiting wake-ups in each queue.

        Returns: the wake-ups as they are sent.
        """
        woken: list[tuple[UUID, str]] = []
        monkeypatch.setattr(wakeup_sending, "count_waiting", lambda queue: waiting.get(queue, 0))
        monkeypatch.setattr(wakeup_sending, "send", lambda saga_id, queue="": woken.append((saga_id, queue)))
        return woken
