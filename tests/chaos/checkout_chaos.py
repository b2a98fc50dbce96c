"""Checkouts in a shop while everything around it breaks, and the check that nothing is lost."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from sagas.core.states import Coordination
from tests.end_to_end import ledger_audit
from tests.processes import wait_until

from .breaking import Breaker, Breakers, BrokerBreaker, DatabaseBreaker, WebBreaker, WorkerBreaker
from .customers import Customers, Sales
from .event_breaking import EventProcessBreaker, StreamBreaker
from .kinds import choose_kinds
from .recovering import LOST, measure_recoveries
from .report import Report
from .settling import (
    count_active,
    count_ends,
    find_lost_business,
    find_share_confirmed,
    find_unsettled_events,
    find_wrong_ends,
    list_held_orders,
    read_ends,
    wait_until_settled,
)
from .testbed import Testbed

SETTLED_WITHIN_SECONDS = 60.0
# What the broker lost is missed after RESEND_AFTER, and sent again by the next but one reconciliation.
EVENTS_SETTLED_WITHIN_SECONDS = 150.0
LONGEST_CHAOS = 120.0  # seconds after the last checkout in which a slow machine must inject every fault once


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Intensity of a run.

    coordination: of all checkouts. calm, checkouts: number placed before and during the faults. seconds: maximum
    duration. per_second: maximum rate. backlog: none are placed while more sagas are active. worker_seconds,
    broker_seconds, database_seconds, web_seconds, event_seconds, stream_seconds: between two faults of a kind.
    """

    coordination: Coordination = Coordination.ORCHESTRATION
    calm: int
    checkouts: int
    seconds: float | None = None
    per_second: float = 20.0
    backlog: int = 24
    seed: int = 0
    worker_seconds: tuple[float, float] = (1.0, 5.0)
    broker_seconds: tuple[float, float] = (10.0, 10.0)
    database_seconds: tuple[float, float] = (20.0, 20.0)
    web_seconds: tuple[float, float] = (25.0, 35.0)
    event_seconds: tuple[float, float] = (2.0, 8.0)
    stream_seconds: tuple[float, float] = (10.0, 15.0)

    @property
    def is_by_events(self) -> bool:
        """Return whether the checkouts are choreographed."""
        return self.coordination == Coordination.CHOREOGRAPHY


def run_chaos(testbed: Testbed, plan: Plan, *, progress: Callable[[int], None] = lambda _placed: None) -> Report:
    """Place checkouts without faults, then with faults, then wait until all have settled and check everything.

    progress: called with the number of checkouts after each one placed under chaos.
    Raises: AssertionError if anything is still active a minute after the last fault.
    """
    breakers = make_breakers(testbed, plan)
    chance = random.Random(plan.seed)
    calm = place(testbed, plan, plan.calm, random.Random(chance.random()))
    breakers.start()
    started_at = time.monotonic()
    try:
        disturbed = place(testbed, plan, plan.checkouts, random.Random(chance.random()), progress=progress)
        wait_until(lambda: breakers.has_broken_everything, "each fault was injected", timeout_seconds=LONGEST_CHAOS)
    finally:
        breakers.finish()
    seconds = time.monotonic() - started_at
    patience_seconds = EVENTS_SETTLED_WITHIN_SECONDS if plan.is_by_events else SETTLED_WITHIN_SECONDS
    settled_seconds = wait_until_settled(testbed.project, patience_seconds=patience_seconds)
    return describe(testbed, calm, disturbed, breakers, seconds=seconds, settled_seconds=settled_seconds)


def make_breakers(testbed: Testbed, plan: Plan) -> Breakers:
    """Start the processes that are killed, and return the breakers of everything that the checkouts need."""
    breakers: list[Breaker] = [
        WorkerBreaker(testbed, every=plan.worker_seconds, seed=plan.seed),
        BrokerBreaker(testbed, every=plan.broker_seconds, seed=plan.seed),
        DatabaseBreaker(testbed, every=plan.database_seconds, seed=plan.seed),
        WebBreaker(testbed, every=plan.web_seconds, seed=plan.seed),
    ]
    if plan.is_by_events:
        breakers += [
            EventProcessBreaker(testbed, every=plan.event_seconds, seed=plan.seed),
            StreamBreaker(testbed, every=plan.stream_seconds, seed=plan.seed),
        ]
    return Breakers(all=breakers)


def place(
    testbed: Testbed,
    plan: Plan,
    count: int,
    chance: random.Random,
    *,
    progress: Callable[[int], None] = lambda _placed: None,
) -> Sales:
    """Place this number of checkouts of mixed kinds."""

    def may_place() -> bool:
        # While the database is unavailable, customers place orders anyway.
        return (count_active(testbed.project) or 0) < plan.backlog

    customers = Customers(
        client=testbed.shop.client,
        coordination=plan.coordination,
        per_second=plan.per_second,
        may_place=may_place,
        seed=chance.getrandbits(64),
        seconds=plan.seconds,
        progress=progress,
    )
    return customers.place_all(choose_kinds(count, chance))


def describe(
    testbed: Testbed, calm: Sales, disturbed: Sales, breakers: Breakers, *, seconds: float, settled_seconds: float
) -> Report:
    """Build the report."""
    project, kinds = testbed.project, {**calm.kinds, **disturbed.kinds}
    testbed.shop.accepted |= set(kinds)
    ends = read_ends(project)
    share_confirmed = find_share_confirmed(kinds, ends)
    wrong = [
        *calm.wrong,
        *disturbed.wrong,
        *find_wrong_ends(kinds, ends),
        *find_lost_business(share_confirmed),
        *find_unsettled_events(project),
        *ledger_audit.find_forbidden(project),
        *ledger_audit.find_differences(project, testbed.shop.accepted, list_held_orders(ends)),
    ]
    return Report(
        accepted=len(kinds),
        seconds=seconds,
        answers=calm.answers + disturbed.answers,
        injected=breakers.injected,
        ends=count_ends(kinds, ends),
        share_confirmed=share_confirmed,
        recoveries=measure_recoveries(project, breakers.kills),
        calm_seconds=calm.first_seconds,
        first_seconds=disturbed.first_seconds,
        all_seconds=disturbed.all_seconds,
        settled_seconds=settled_seconds,
        lost_workers=len(project.query(LOST)),
        wrong=wrong,
    )
