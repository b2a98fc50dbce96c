"""S8: which operation is allowed when, and that every allowed one leads to an end or a hold."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from sagas.engine.store.snapshot import SagaSnapshot
from sagas.exceptions import OperationRefused
from sagas.models import Saga, SagaStep
from sagas.operators import preview
from sagas.operators.preconditions import Operation
from sagas.testing import drain
from sagas.testing.drain import read

from .acting import ABANDON, CANCEL, COMPENSATE, NEEDS_EVIDENCE, NEEDS_STEP, PAUSE, REFUSED, RESUME, RETRY, perform
from .situations import TABLE, abandoned, expired, orphaned, paused, pivot_held, pivot_live, pivot_unknown, snapshot
from .world import EVIDENCE, REASON, World, events

pytestmark = pytest.mark.django_db(databases="__all__")

CASES = [
    pytest.param(situation, operation, id=f"{situation.__name__}-{operation.value}")
    for situation in TABLE
    for operation in Operation
]


@pytest.mark.parametrize(("situation", "operation"), CASES)
def test_s8_allowed_operations_of_each_situation(
    world: World, saga: Saga, situation: Callable[[World, Saga], None], operation: Operation
) -> None:
    step, allowed = TABLE[situation]
    situation(world, saga)
    before = read(saga.pk)
    plan = preview.preview_operation(operation, saga.pk, step=step if operation in NEEDS_STEP else None)
    assert plan.is_allowed is (operation in allowed)
    assert (plan.revision, plan.history_count) == (before.revision, before.history_count)

    if operation not in allowed:
        is_repeat = (situation, operation) in {(paused, PAUSE), (abandoned, ABANDON)}
        stored = snapshot(saga)
        if is_repeat:
            assert perform(operation, saga, step).is_repeat
        else:
            with pytest.raises(OperationRefused) as refused:
                perform(operation, saga, step)
            assert len(str(refused.value)) > 20
            assert str(refused.value) == plan.refusal
        assert snapshot(saga) == stored
        return

    result = perform(operation, saga, step, revision=before.revision)

    found = read(saga.pk)
    assert (result.is_repeat, result.revision, result.state) == (False, before.revision + 1, found.state)
    assert found.revision == before.revision + 1
    acted = events(saga, "operator_acted")[-1]
    assert (acted.actor, acted.reason, acted.to_state) == ("ada", REASON, operation.value)
    assert acted.data["operation"] == operation.value
    assert acted.data["before"] != acted.data["after"]
    assert acted.data["revision"] == before.revision
    assert acted.data.get("evidence") == (EVIDENCE if operation in NEEDS_EVIDENCE else None)


@pytest.mark.parametrize(
    ("situation", "operation"), [case for case in CASES if case.values[1] in TABLE[case.values[0]][1]]
)
def test_s8_every_allowed_operation_leads_to_an_end_or_a_hold(
    world: World, saga: Saga, situation: Callable[[World, Saga], None], operation: Operation
) -> None:
    step, _ = TABLE[situation]
    situation(world, saga)
    perform(operation, saga, step)
    saga = drain(saga, patience=timedelta(minutes=5 if situation is orphaned else 120))
    held = bool(saga.hold) or SagaStep.objects.filter(saga_id=saga.pk, hold__isnull=False).exists()
    assert held is not bool(saga.closed_at)
    if operation is ABANDON:
        assert saga.state == "abandoned"
    if operation in (COMPENSATE, CANCEL) and not held:
        assert saga.state == "compensated" if situation not in (pivot_unknown, pivot_live, pivot_held) else "completed"


def test_s8_a_second_resume_is_a_repeat_and_one_without_a_pause_is_refused(world: World, saga: Saga) -> None:
    with pytest.raises(OperationRefused):
        perform(RESUME, saga, "a")
    paused(world, saga)
    assert not perform(RESUME, saga, "a").is_repeat
    stored = snapshot(saga)
    again = perform(RESUME, saga, "a")
    assert (again.is_repeat, again.message) == (True, "The saga was already resumed.")
    assert snapshot(saga) == stored
    paused(world, saga)
    assert not perform(RESUME, saga, "a").is_repeat


def test_s8_a_preview_on_an_expired_lease_is_exact_and_writes_nothing(world: World, saga: Saga) -> None:
    expired(world, saga)
    stored = snapshot(saga)

    plan = preview.preview_operation(RETRY, saga.pk)
    back = preview.preview_operation(COMPENSATE, saga.pk)

    assert ([live.is_expired for live in plan.live], plan.outcome) == ([True], "The saga continues with a.")
    assert next((run.step, run.direction.value, run.note) for run in plan.runs) == ("a", "action", "")
    assert (back.outcome, [run.note for run in back.runs]) == (
        "The saga compensates: beginning with a, in reverse order.",
        [""],
    )
    assert preview.list_steps_to_retry(SagaSnapshot.find(saga.pk)) == ["a"]
    assert preview.find_refusals_by_step(SagaSnapshot.find(saga.pk), REFUSED)["a"] == ""
    assert snapshot(saga) == stored
