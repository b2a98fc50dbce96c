"""Modes of ``python -m tests.chaos.run``, and their reports."""

import random
import signal
import sys
import time
from pathlib import Path

from sagas.core.states import Coordination
from tests.end_to_end import ledger_audit
from tests.processes import UNHURRIED_ENGINE, wait_until

from .breaking import WorkerBreaker, is_ready
from .checkout_chaos import SETTLED_WITHIN_SECONDS, Plan, run_chaos
from .customers import Customers
from .kinds import choose_kinds
from .recovering import measure_recoveries
from .report import find_percentile, write_bound, write_counts, write_spread
from .settling import count_active, list_held_orders, read_ends, wait_until_settled
from .testbed import EVENT_ENGINE, PATIENT_ENGINE, RECOVERY_BOUND_SECONDS, Testbed, open_testbed

# Time for a worker to start a child, fetch a message and open a connection on a busy machine.
MACHINE_SECONDS = 5.0
READY_WITHIN_SECONDS = 60.0
SLOWER_AT_MOST_SECONDS = 0.050
STEP_SECONDS = 0.03
OPEN_SAGAS = 10
PAUSE_SECONDS = (0.3, 1.0)
TELL_EVERY_SECONDS = 30.0
STEADY_PER_SECOND = 20.0
DRAIN_SECONDS = 3.0  # for each order, on a shared machine
LEASED = """
    SELECT a.worker FROM sagas_sagaattempt a JOIN sagas_sagastep t ON t.lease_token = a.lease_token
    WHERE a.ended_at IS NULL"""


def echo(text: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Progress:
    """Progress reports of a long run."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total = what, total
        self.started_at = self.told_at = time.monotonic()

    def __call__(self, done: int) -> None:
        """Report progress, unless it was reported a moment ago."""
        now = time.monotonic()
        if now >= self.told_at + TELL_EVERY_SECONDS:
            self.told_at = now
            echo(f"  {now - self.started_at:.0f} s: {done} of {self.total} {self.what}")


def run_chaos_mode(
    directory: Path, *, checkouts: int, seconds: float | None, per_second: float, seed: int, coordination: Coordination
) -> int:
    """Place checkouts while workers, broker, database, web server and what carries events are killed repeatedly."""
    echo(f"Chaos: {checkouts} checkouts, {coordination}, seed {seed}.")
    calm = max(checkouts // 10, 20)
    plan = Plan(
        coordination=coordination, calm=calm, checkouts=checkouts, seconds=seconds, per_second=per_second, seed=seed
    )
    engine = EVENT_ENGINE if plan.is_by_events else PATIENT_ENGINE
    with open_testbed(directory, engine=engine, step_seconds=STEP_SECONDS) as testbed:
        report = run_chaos(testbed, plan, progress=Progress("checkouts placed", checkouts))
    echo(report.render())
    return int(bool(report.wrong))


def run_kills(directory: Path, *, kills: int, seed: int) -> int:
    """Kill workers in the middle of a step, and measure how long their sagas stand still."""
    echo(f"Chaos: {kills} kills of workers at work, seed {seed}.")
    with open_testbed(directory, step_seconds=10 * STEP_SECONDS) as testbed:
        breaker = WorkerBreaker(testbed, every=(0, 0), seed=seed, workers=3)
        recoveries = kill_at_work(testbed, breaker, kills, seed)
        wrong = audit_ledgers(testbed)
    slowest = max(recoveries)
    is_late = slowest > RECOVERY_BOUND_SECONDS + MACHINE_SECONDS
    echo(f"Killed: {write_counts(breaker.injected)}")
    echo(f"Recovery after {len(recoveries)} kills of a worker at work: {write_spread(recoveries)}")
    echo(f"  {write_bound()}")
    echo(f"Wrong: {len(wrong)}")
    for sentence in wrong:
        echo(f"  {sentence}")
    return int(bool(wrong) or is_late)


def kill_at_work(testbed: Testbed, breaker: WorkerBreaker, kills: int, seed: int) -> list[float]:
    """Kill this often, alternately a child and a whole worker, each holding a lease.

    Each waits until all workers are ready again: this measures the recovery of a saga, not how many workers
    a machine can start at a time.
    Returns: the recovery time of each kill.
    """
    chance, hit, progress = random.Random(seed), 0, Progress("kills", kills)
    while hit < kills:
        wait_until(
            lambda: all(is_ready(worker) for worker in breaker.workers),
            "every worker is ready",
            timeout_seconds=READY_WITHIN_SECONDS,
            pause_seconds=0.1,
        )
        top_up(testbed, chance)
        busy = list_busy(testbed, breaker)
        if len({number for number, _ in busy}) < 2:
            time.sleep(0.05)
            continue
        number, pid = chance.choice(busy)
        kill = breaker.kill_worker(number) if hit % 2 else breaker.kill_child(number, pid)
        hit += bool(kill.pids & read_leased(testbed))
        progress(hit)
        time.sleep(chance.uniform(*PAUSE_SECONDS))
    breaker.restore()
    wait_until_settled(testbed.project, patience_seconds=SETTLED_WITHIN_SECONDS)
    return measure_recoveries(testbed.project, breaker.kills)


def top_up(testbed: Testbed, chance: random.Random) -> None:
    """Place checkouts if fewer than enough are active."""
    for kind in choose_kinds(max(OPEN_SAGAS - (count_active(testbed.project) or 0), 0), chance):
        answer = testbed.shop.client.check_out(kind.describe(chance))
        assert answer.status == 202, answer
        testbed.shop.take(answer)


def list_busy(testbed: Testbed, breaker: WorkerBreaker) -> list[tuple[int, int]]:
    """List the children that hold a lease, each with the number of its worker."""
    leased = read_leased(testbed)
    return [
        (number, child.pid)
        for number, worker in enumerate(breaker.workers)
        if is_ready(worker)
        for child in worker.family()[1:]
        if child.pid in leased
    ]


def read_leased(testbed: Testbed) -> set[int]:
    """Return the processes that hold a lease, dead ones too."""
    return {int(row["worker"].rpartition(":")[2]) for row in testbed.project.query(LEASED)}


def audit_ledgers(testbed: Testbed) -> list[str]:
    """Return the errors in what the shop has accepted."""
    held_orders = list_held_orders(read_ends(testbed.project))
    return [
        *ledger_audit.find_forbidden(testbed.project),
        *ledger_audit.find_differences(testbed.project, testbed.shop.accepted, held_orders),
    ]


def run_frozen_broker(directory: Path, *, rounds: int, checkouts: int) -> int:
    """Compare how long checkouts take with a working and with a frozen broker, alternately.

    No worker runs meanwhile, so that both have the machine to themselves; afterwards all sagas are finished.
    """
    echo(f"Chaos: {rounds} runs of {checkouts} checkouts with a working broker, and as many with a frozen one.")
    working: list[float] = []
    frozen: list[float] = []
    with open_testbed(directory) as testbed:
        progress = Progress("pairs of runs", rounds)
        time_checkouts(testbed, checkouts, seed=0)
        for number in range(rounds):
            working += time_checkouts(testbed, checkouts, seed=2 * number + 1)
            testbed.shop.broker.process.send(signal.SIGSTOP)
            frozen += time_checkouts(testbed, checkouts, seed=2 * number + 2)
            testbed.shop.broker.process.send(signal.SIGCONT)
            progress(number + 1)
        slower = find_percentile(frozen, 0.99) - find_percentile(working, 0.99)
        echo(f"Checkout, broker working: {write_spread(working)}")
        echo(f"Checkout, broker frozen:  {write_spread(frozen)}")
        echo(f"The p99 differs by {slower * 1000:+.0f} ms; {SLOWER_AT_MOST_SECONDS * 1000:.0f} ms are allowed.")
        testbed.shop.with_engine(UNHURRIED_ENGINE).start_worker("drain", concurrency=2)
        wait_until_settled(testbed.project, patience_seconds=DRAIN_SECONDS * len(testbed.shop.accepted))
        wrong = audit_ledgers(testbed)
    echo(f"Wrong: {len(wrong)}")
    return int(bool(wrong) or slower > SLOWER_AT_MOST_SECONDS)


def time_checkouts(testbed: Testbed, count: int, *, seed: int) -> list[float]:
    """Place checkouts at a steady pace.

    Returns: how long each took.
    """
    customers = Customers(client=testbed.shop.client, per_second=STEADY_PER_SECOND, threads=2, seed=seed)
    sales = customers.place_all(choose_kinds(count, random.Random(seed)))
    assert not sales.wrong, sales.wrong
    testbed.shop.accepted |= set(sales.kinds)
    return sales.first_seconds
