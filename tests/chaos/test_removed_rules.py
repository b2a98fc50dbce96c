"""Removed guarding rules, one at a time: the test that guards each must fail with its own message.

These are the rules whose absence shows in one process; the others are in ``removed_at_work.py``.
"""

import time
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from sagas import clock
from sagas.core import planner
from sagas.core.definition.options import StepFunction
from sagas.engine import advance, execute
from sagas.engine.execute import ClaimedStep
from sagas.engine.store import unit_of_work
from sagas.engine.store.compiled import CompiledQuery
from sagas.models import Saga
from sagas.worker import sweeper
from tests.participants.side_by_side import PATIENCE_SECONDS
from tests.removed import must_fail, rewrite

from . import test_backlog, test_poisoned_rows, test_races

pytestmark = pytest.mark.full

# One round is enough if the race is forced.
FEW, ROUNDS = 1, 40
NAP_SECONDS = 0.05
in_memory = pytest.mark.django_db(databases="__all__")
on_disk = pytest.mark.django_db(databases="__all__", transaction=True)


@on_disk
def test_without_the_lock_of_the_saga_two_decisions_are_made(
    customer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlocked = CompiledQuery(Saga, lambda using, saga_id: Saga.objects.using(using).filter(pk=saga_id))
    monkeypatch.setattr(unit_of_work, "_LOCKED", unlocked)
    with must_fail(r"assert \[(StaleWrite|IntegrityErr|TransitionNo)"):
        test_races.race_for_a_decision(customer, ROUNDS, tmp_path)


@on_disk
def test_if_a_live_pivot_could_be_compensated_its_result_would_be_stale(
    customer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "is_pivot_open", lambda _saga, _effects: True)
    monkeypatch.setattr(advance, "RECORD_PAUSE_SECONDS", 0.0)
    slow_down_steps(monkeypatch)
    with must_fail("saga_never_compensated_after_pivot"):
        test_races.race_for_the_pivot(customer, ROUNDS, tmp_path)


@on_disk
def test_if_sweepers_claimed_after_reading_all_would_send_wakeups(
    customer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody_has_looked = Barrier(3)

    def look_and_claim(*, limit: int) -> list[sweeper.DueSaga]:
        now = clock.read_now("default")
        page = list(Saga.objects.filter(due_at__lte=now, woken_at=None).order_by("due_at")[:limit])
        everybody_has_looked.wait(PATIENCE_SECONDS)
        Saga.objects.filter(pk__in=[saga.pk for saga in page]).update(woken_at=now)
        return [sweeper.DueSaga(id=saga.pk, queues=()) for saga in page]

    monkeypatch.setattr(sweeper, "claim_due", look_and_claim)
    with must_fail(r"\): 3} != {.*\): 1}"):
        test_races.share_what_is_due(customer, FEW)


@in_memory
def test_if_sweeps_always_took_the_oldest_sagas_behind_poisoned_rows_would_starve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rewrite(monkeypatch, "ORDER BY woken_at NULLS FIRST, due_at", "ORDER BY due_at")
    with must_fail("assert None == "):
        test_poisoned_rows.test_changed_saga_is_woken_before_those_that_wakeups_do_not_advance()


@in_memory
def test_if_a_busy_queue_kept_being_woken_its_wakeups_would_fill_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "BUSY_PART", 0.01)
    with must_fail("assert 6 == 3"):
        test_backlog.TestBusyQueue().test_busy_queue_gets_one_wakeup_per_sweep(monkeypatch)


def slow_down_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every step take long enough for others to meet it."""

    def intercept(_claimed: ClaimedStep, function: StepFunction) -> StepFunction:
        def run(context: Any) -> Any:
            time.sleep(NAP_SECONDS)
            return function(context)

        return run

    monkeypatch.setattr(execute, "intercept", intercept)
