"""S8, F13: operator, worker and deadline act on one saga at the same moment; each round has one winner."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from sagas import RetryLater
from sagas.engine import advance
from sagas.exceptions import OperationRefused, StaleRevision
from sagas.models import Saga
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.operators.operations import OperationResult
from sagas.operators.preconditions import Operation
from sagas.operators.preview import OperationPreview, preview_operation
from sagas.testing import drain
from sagas.testing.drain import read

from .side_by_side import run_elsewhere, run_side_by_side
from .world import OPERATOR, REASON, World, attempts, begin, define, events, states, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)
OTHER = Actor(name="eve", is_trusted=True)
ROUNDS = 15


@pytest.fixture
def start(world: World) -> Callable[[], Saga]:
    """Return a function that starts a saga with a pivot and external steps."""
    external = {"external": True}
    trip = define(a=world.compensatable(**external), p=world.pivot(**external), r=world.retriable(**external))
    return lambda: begin(trip)


def cancel(saga: Saga, **more: Any) -> OperationResult:
    return operations.cancel(saga.pk, actor=OPERATOR, reason=REASON, **more)


def test_s8_cancel_against_completion_has_one_winner(world: World, start: Callable[[], Saga]) -> None:
    ends = set()
    for _ in range(ROUNDS):
        saga = start()
        run_side_by_side([lambda saga=saga: advance.advance(saga.pk), lambda saga=saga: cancel(saga)])
        saga = drain(saga)
        ends.add(saga.state)
        charged, undone = world.count(saga, "p"), world.count(saga, "a", "undone")
        assert (saga.state, charged, undone) in {("completed", 1, 0), ("compensated", 0, world.count(saga, "a"))}
    assert ends <= {"completed", "compensated"}


def test_s8_a_preview_needs_no_lock_on_the_saga(start: Callable[[], Saga]) -> None:
    saga = start()

    def draw() -> OperationPreview:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
        return preview_operation(Operation.PAUSE, saga.pk)

    with transaction.atomic():
        Saga.objects.select_for_update().get(pk=saga.pk)
        plan = run_elsewhere(draw)
    assert (plan.is_allowed, plan.revision) == (True, saga.revision)


def test_s8_a_cancel_that_waits_for_the_lock_sees_the_passed_pivot(world: World, start: Callable[[], Saga]) -> None:
    saga = start()
    world.will("r", lambda _step, proceed: answers.append(run_elsewhere(refused)) or proceed())
    answers: list[str] = []

    def refused() -> str:
        with pytest.raises(OperationRefused) as error:
            cancel(saga)
        return str(error.value)

    assert work(saga).state == "completed"
    assert answers == ["Too late: the pivot has succeeded."]


def test_s8_two_operators_on_one_revision_have_one_winner(world: World, start: Callable[[], Saga]) -> None:
    for _ in range(ROUNDS):
        saga = start()
        world.will("a", RetryLater(after=60))
        revision = work(saga).revision
        results = run_side_by_side(
            [
                lambda saga=saga, revision=revision: operations.retry_now(
                    saga.pk, actor=OPERATOR, reason=REASON, revision=revision
                ),
                lambda saga=saga, revision=revision: operations.pause(
                    saga.pk, actor=OTHER, reason=REASON, revision=revision
                ),
            ]
        )
        assert sorted(type(result).__name__ for result in results) == ["OperationResult", "StaleRevision"]
        assert len(events(saga, "operator_acted")) == 1
        if read(saga.pk).hold:
            operations.resume(saga.pk, actor=OPERATOR, reason=REASON)
        assert drain(saga).state == "completed"


def test_s8_a_double_click_at_the_same_moment_acts_once(world: World, start: Callable[[], Saga]) -> None:
    for _ in range(ROUNDS):
        saga = start()
        world.will("a", RetryLater(after=60))
        revision = work(saga).revision

        def click(saga: Saga = saga, revision: int = revision) -> OperationResult:
            return operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON, revision=revision)

        results = run_side_by_side([click] * 3)
        assert sorted(result.is_repeat for result in results) == [False, True, True]
        assert len(events(saga, "operator_acted")) == 1
        drain(saga)


def test_s8_a_retry_against_a_claiming_worker_runs_the_step_once(world: World, start: Callable[[], Saga]) -> None:
    for _ in range(ROUNDS):
        saga = start()
        world.will("a", RetryLater())
        work(saga)
        results = run_side_by_side(
            [
                lambda saga=saga: operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON),
                lambda saga=saga: advance.advance(saga.pk),
                lambda saga=saga: advance.advance(saga.pk),
            ]
        )
        assert isinstance(results[0], OperationResult | OperationRefused)
        saga = drain(saga)
        assert (saga.state, world.count(saga, "a"), world.count(saga, "p")) == ("completed", 1, 1)
        assert [attempt.outcome for attempt in attempts(saga, "a")][-1] == "succeeded"


def test_s8_operator_worker_and_deadline_have_one_winner(world: World) -> None:
    external = {"external": True}
    trip = define(
        a=world.compensatable(**external),
        p=world.pivot(**external),
        r=world.retriable(**external),
        deadline=timedelta(minutes=1),
    )
    for number in range(ROUNDS):
        saga = begin(trip)
        # The deadline passes in the middle of the round.
        Saga.objects.filter(pk=saga.pk).update(deadline_at=saga.created_at + timedelta(milliseconds=20 + number))
        results = run_side_by_side(
            [
                lambda saga=saga: advance.advance(saga.pk),
                lambda saga=saga: cancel(saga),
                lambda saga=saga: advance.advance(saga.pk),
                lambda saga=saga: operations.pause(saga.pk, actor=OTHER, reason=REASON),
            ]
        )
        unexpected = [r for r in results if isinstance(r, Exception) and not isinstance(r, OperationRefused)]
        assert unexpected == []
        if read(saga.pk).hold:
            operations.resume(saga.pk, actor=OTHER, reason=REASON)
        saga = drain(saga)
        charged, undone = world.count(saga, "p"), world.count(saga, "a", "undone")
        assert (saga.state, charged, undone) in {("completed", 1, 0), ("compensated", 0, world.count(saga, "a"))}


def test_s8_a_stale_form_after_a_race_names_both_revisions(world: World, start: Callable[[], Saga]) -> None:
    saga = start()
    world.will("a", RetryLater(after=60))
    revision = work(saga).revision
    run_elsewhere(lambda: operations.pause(saga.pk, actor=OTHER, reason=REASON))
    with pytest.raises(StaleRevision) as stale:
        cancel(saga, revision=revision)
    assert (stale.value.expected, stale.value.found) == (revision, revision + 1)
    assert "held: paused" in str(stale.value)
    assert (states(saga)["a"], step_of(saga, "p").state) == ("waiting", "pending")
