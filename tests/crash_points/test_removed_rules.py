"""Negative controls: without one rule, undisturbed runs still end correctly and a disturbed one must not.

An enumeration that finds no violation without a rule proves nothing about it.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path as FilePath
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction

from inventory import services as inventory
from inventory.models import ReservationLine, StockItem
from orders import idempotency
from payments.gateways import sandbox
from sagas import SagaDefinition, StepContext, clock
from sagas.core import outcomes
from sagas.engine import advance as engine
from sagas.engine import claim as claims
from sagas.engine import late_answers, step_transitions
from sagas.engine.claim import ClaimResult
from sagas.engine.store.unit_of_work import SagaUnitOfWork
from sagas.exceptions import StaleRevision
from sagas.models import BarrierState, Saga
from sagas.operators import operations
from sagas.participants import barrier
from sagas.participants.barrier import Entry
from sagas.retention.archive import Archive
from sagas.testing import faults, pass_time
from sagas.testing.drain import read
from sagas.worker import sweeper
from tests.end_to_end.blueprints import FOUR_DATABASES, ONE_DATABASE
from tests.participants.side_by_side import PATIENCE_SECONDS, count_types, run_side_by_side

from . import bare, bare_paths, checkouts, operators, situations, upkeep
from .databases import on
from .enumeration import Path, Verdict, fail_everywhere, freeze_everywhere, kill_everywhere, map_points
from .points import Failure, call_outside
from .shop import COMPLETED, advance, find_problems, finish, make_shopper

one_database, four_databases = on(ONE_DATABASE), on(FOUR_DATABASES)

Disturb = Callable[[Path[Any], tuple[str, ...], Iterable[int]], Iterable[Verdict]]


def find_violation(path: Path[Any], disturb: Disturb) -> Verdict:
    """Disturb a path until a violation shows.

    Raises: AssertionError when the rule that was taken away guards nothing.
    """
    points = map_points(path)
    for verdict in disturb(path, points, range(1, len(points) + 1)):
        if verdict.problems:
            return verdict
    raise AssertionError(f"{path.name}: nothing goes wrong at any of {len(points)} points without the rule")


@one_database
def test_without_the_lease_token_a_late_worker_repeats_a_local_step(
    databases: int, bare_saga: type[SagaDefinition], monkeypatch: pytest.MonkeyPatch
) -> None:
    def record_without_looking(run: Any, work: Any, claimed: Any, report: Any) -> ClaimResult:
        step = work.step(claimed.step.name)
        if step.lease_token is not None:
            step_transitions.record(work, step, claimed.direction, report)
        return claims.claim_next(work, queues=run.queues, worker=run.worker, may_claim=run.may_go_on)

    monkeypatch.setattr(engine, "_record_in", record_without_looking)
    violation = find_violation(bare_paths.make_forward(bare_saga), freeze_everywhere)
    assert any("doubles is [('note', 2, 0)" in problem for problem in violation.problems), violation


@one_database
def test_without_a_stable_key_a_repeat_is_a_second_effect(
    databases: int, bare_saga: type[SagaDefinition], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StepContext, "key", property(lambda step: f"{step.saga_id}:{step.step}:{uuid4()}"))
    violation = find_violation(bare_paths.make_forward(bare_saga), kill_everywhere)
    assert any("('ask', 2, 0)" in problem for problem in violation.problems), violation


@four_databases
def test_without_the_barrier_a_repeated_local_step_is_a_second_effect(
    databases: int, bare_saga: type[SagaDefinition], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(barrier, "enter", lambda *_place, **_options: Entry())
    violation = find_violation(bare_paths.make_forward(bare_saga), kill_everywhere)
    assert any("('take', 2, 0)" in problem for problem in violation.problems), violation


@four_databases
def test_without_the_tombstone_a_late_action_is_left_behind(
    databases: int, bare_saga: type[SagaDefinition], monkeypatch: pytest.MonkeyPatch
) -> None:
    def enter_unfenced(_using: str, row: Any) -> Entry:
        return Entry(is_done=row.state == BarrierState.DONE, result=row.result)

    monkeypatch.setattr(barrier, "_enter_action", enter_unfenced)
    violation = find_violation(bare_paths.make_forward(bare_saga, is_cancelled=True), freeze_everywhere)
    assert any("left is ['take']" in problem for problem in violation.problems), violation


@one_database
def test_without_evidence_of_late_answers_an_open_key_leaves_an_effect(
    databases: int, bare_saga: type[SagaDefinition], open_keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bare_paths.make_forward(bare_saga, is_cancelled=True)
    with monkeypatch.context() as removed:
        removed.setattr(late_answers, "keep", lambda *_late: ClaimResult())
        violation = find_violation(path, freeze_everywhere)
    assert any("left is ['ask']" in problem for problem in violation.problems), violation
    # With the rule, the late answer makes the saga undo the late call: at the same point all ends correctly.
    (verdict,) = freeze_everywhere(path, map_points(path), [violation.point])
    assert verdict.problems == []


@one_database
def test_if_a_lost_worker_counted_as_no_effect_a_cancelled_order_would_hold_money(
    databases: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = outcomes.lost_worker
    monkeypatch.setattr(
        outcomes, "lost_worker", lambda *, is_rolled_back, worker: lost(is_rolled_back=True, worker=worker)
    )
    violation = find_violation(checkouts.FORWARD_THEN_CANCELLED, kill_everywhere)
    assert any("money is ['held']" in problem for problem in violation.problems), violation


@one_database
@pytest.mark.parametrize("disturbance", ["killed", "answer lost"])
def test_if_answers_were_stored_after_the_commit_a_repeat_would_order_twice(
    databases: int, monkeypatch: pytest.MonkeyPatch, disturbance: str
) -> None:
    remember = idempotency.remember_answer

    def remember_later(*args: Any, **kwargs: Any) -> None:
        transaction.on_commit(lambda: remember(*args, **kwargs))

    monkeypatch.setattr(idempotency, "remember_answer", remember_later)
    violation = find_violation(checkouts.REQUEST, kill_everywhere if disturbance == "killed" else lose_answers)
    assert violation.problems == ["recovery failed: 2 orders were placed"]


@one_database
def test_a_provider_without_idempotency_acts_twice(
    databases: int, bare_saga: type[SagaDefinition], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = bare.write_unless
    monkeypatch.setattr(bare, "write_unless", lambda alias, key, what, unless: write(alias, key, what, unless=()))
    violation = find_violation(bare_paths.make_forward(bare_saga), kill_everywhere)
    assert any("('ask', 2, 0)" in problem for problem in violation.problems), violation


@one_database
def test_a_gateway_without_idempotency_declines_a_good_order(databases: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_find_repeat", lambda *_request, **_amount: None)
    violation = find_violation(checkouts.FORWARD, kill_everywhere)
    assert any("saga is" in problem for problem in violation.problems), violation


@four_databases
def test_if_an_unanswered_commit_counted_as_rolled_back_its_effect_would_remain(
    databases: int, bare_saga: type[SagaDefinition], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "commit_unknown", outcomes.faultless)
    violation = find_violation(bare_paths.make_forward(bare_saga, is_cancelled=True), lose_answers)
    assert any("left is ['take']" in problem for problem in violation.problems), violation


@one_database
def test_a_sweep_that_marks_sagas_as_done_loses_them(databases: int, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = sweeper.claim_due

    def claim_and_forget(**options: Any) -> list[sweeper.DueSaga]:
        found = claim(**options)
        Saga.objects.filter(pk__in=[saga.id for saga in found]).update(due_at=None)
        return found

    monkeypatch.setattr(sweeper, "claim_due", claim_and_forget)
    violation = find_violation(upkeep.RUN_DUE, kill_everywhere)
    assert violation.problems == ["recovery failed: The sweep does not bring every saga to its end."]


@one_database
def test_a_cleanup_that_deletes_before_it_archives_loses_a_saga(
    databases: int, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Archive.append

    def append_later(archive: Archive, documents: list[str]) -> None:
        transaction.on_commit(lambda: call_outside("archive", "append", lambda: append(archive, documents)))

    monkeypatch.setattr(Archive, "append", append_later)
    violation = find_violation(upkeep.make_cleanup_path(tmp_path), kill_everywhere)
    assert any("in no archive" in problem for problem in violation.problems), violation


@one_database
def test_if_history_were_written_after_the_commit_a_crash_would_lose_it(
    databases: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = SagaUnitOfWork._run

    def run_and_write_later(written: SagaUnitOfWork, parts: list[Any]) -> None:
        run(written, [part for part in parts if part[0] != "history"])
        transaction.on_commit(lambda: run(written, [part for part in parts if part[0] == "history"]))

    monkeypatch.setattr(SagaUnitOfWork, "_run", run_and_write_later)
    (pause,) = [path for path in operators.PATHS if path.name == f"operator: {operations.Operation.PAUSE.value}"]
    violation = find_violation(pause, kill_everywhere)
    assert any("pause is half done" in problem for problem in violation.problems), violation


def mark_refused_on_stale_data() -> list[str]:
    """Look a lost payment up, let it happen after all, and then mark it refused.

    Returns: what is wrong in the end.
    """
    shopper = make_shopper().place()
    situations.lose_the_payment(shopper)
    seen, _history = operators.read_marks(shopper)
    with faults() as planted:
        planted.lose_answer("authorize_payment")
        pass_time(until_due=read(shopper.find_saga()))
        advance(shopper.saga_id, attempts=1)
    with suppress(StaleRevision):
        situations.act(
            shopper, operations.Operation.MARK_REFUSED, revision=seen, step="authorize_payment",
            evidence="The provider never saw the request.",
        )  # fmt: skip
    finish(shopper.saga_id)
    return find_problems(shopper, COMPLETED)


@one_database
def test_without_the_revision_an_operator_refuses_a_step_that_happened_since(
    databases: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with clock.restored():
        assert mark_refused_on_stale_data() == []
    monkeypatch.setattr(operations, "check_revision", lambda _work, _revision: None)
    with clock.restored():
        problems = mark_refused_on_stale_data()
    assert "money is ['held'], not ['captured']" in problems, problems


def race_for_last_unit(sku: str, monkeypatch: pytest.MonkeyPatch, take: Callable[..., None]) -> dict[str, int]:
    """Let two threads reserve the last unit, both having checked the stock before either takes it.

    Returns: what they got.
    """
    inventory.ensure_stock(sku, 1)
    both_have_looked = Barrier(2)
    monkeypatch.setattr(
        inventory,
        "_take_from_hand",
        lambda key, quantities: take(key, quantities, lambda: both_have_looked.wait(PATIENCE_SECONDS)),
    )
    line = inventory.Line(sku=sku, quantity=1)
    return count_types(
        run_side_by_side(
            [
                partial(inventory.reserve, key=f"{sku}:{number}", order_number=f"{sku}-{number}", lines=[line])
                for number in range(2)
            ]
        )
    )


@one_database
def test_without_the_conditional_update_the_last_unit_is_sold_twice(
    databases: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_guarded = inventory._take_from_hand

    def take_after_waiting(key: str, quantities: Any, wait: Callable[[], object]) -> None:
        wait()
        take_guarded(key, quantities)

    def take_what_was_seen(key: str, quantities: Any, wait: Callable[[], object]) -> None:
        ((sku, quantity),) = quantities.items()
        seen = StockItem.objects.get(sku=sku)
        assert seen.on_hand >= quantity
        wait()
        StockItem.objects.filter(sku=sku).update(on_hand=seen.on_hand - quantity, reserved=seen.reserved + quantity)

    assert race_for_last_unit("GUARDED", monkeypatch, take_after_waiting) == {"Reservation": 1, "OutOfStock": 1}
    assert ReservationLine.objects.filter(sku="GUARDED").count() == 1
    assert race_for_last_unit("LAST", monkeypatch, take_what_was_seen) == {"Reservation": 2}
    assert ReservationLine.objects.filter(sku="LAST").count() == 2


def lose_answers(path: Path[Any], _points: tuple[str, ...], _numbers: Iterable[int]) -> Iterable[Verdict]:
    """Lose the answer of each COMMIT in turn."""
    return fail_everywhere(path, (Failure.ANSWER_LOST,), lambda event: event.is_commit)
