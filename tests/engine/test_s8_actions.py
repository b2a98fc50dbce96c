"""S8: the effect of each operation."""

from datetime import timedelta

import pytest

from sagas import Misconfigured, OutcomeUnknown, Parallel, RetryLater
from sagas.core.definition import registry
from sagas.core.states import Direction, Hold, Outcome
from sagas.exceptions import OperationRefused
from sagas.models import Saga, SagaAttempt
from sagas.operators import operations
from sagas.testing import drain, faults, outcomes_of, pass_time
from sagas.testing.drain import read

from .frozen import freeze
from .situations import SHORT, Trip, failing, orphaned, paused, pivot_held, turned_back, unknown, waiting
from .world import COMPENSATION, EVIDENCE, OPERATOR, REASON, CannotUndo, Refused, World, events, states, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__")


def test_s8_retry_makes_due_now_with_a_fresh_budget(world: World, saga: Saga) -> None:
    world.will("a", *[RetryLater(after=60)] * 4)
    for _ in range(4):
        pass_time(until_due=work(saga))
    work_at = step_of(saga, "a")
    assert work_at.budget_used == 4
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON, step="a")
    step = step_of(saga, "a")
    assert (step.budget_used, step.due_at) == (0, step.budget_started_at)
    assert read(saga.pk).due_at <= step.due_at
    world.will("a", *[RetryLater()] * 4)
    assert drain(saga).state == "completed"
    assert world.called("a") == 9


def test_s8_retry_of_a_spent_retriable_step_keeps_attention_until_success(world: World, saga: Saga) -> None:
    world.will("r", *[RetryLater()] * 5, RetryLater(after=60))
    saga = drain(saga, patience=timedelta(seconds=25))
    assert saga.attention == ["retries_exhausted"]
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    saga = work(saga)
    assert (saga.attention, step_of(saga, "r").state) == (["retries_exhausted"], "waiting")
    saga = drain(saga)
    assert (saga.state, saga.attention) == ("completed", [])


def test_s8_retry_without_a_step_retries_all_waiting_steps(world: World) -> None:
    group = Parallel(x=world.compensatable(), y=world.compensatable(), z=world.compensatable())
    saga = world.begin(g=group)
    world.will("x", RetryLater(after=600))
    world.will("y", Misconfigured("no"))
    work(saga)
    result = operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    assert result.message == "x, y are due now, with a fresh budget."
    assert work(saga).state == "completed"


def test_s8_retry_on_a_paused_saga_reports_that_it_stays_paused(world: World, saga: Saga) -> None:
    waiting(world, saga)
    paused(world, saga)
    result = operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    assert result.message == "a is due now, with a fresh budget. The saga is still held: paused."
    work(saga)
    assert world.called("a") == 1
    operations.resume(saga.pk, actor=OPERATOR, reason=REASON)
    assert work(saga).state == "completed"


def test_s8_retry_with_the_definition_missing_waits_for_the_code(world: World, saga: Saga) -> None:
    waiting(world, saga)
    definition = registry.get("trip", 1)
    orphaned(world, saga)
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    found = drain(saga, patience=timedelta(seconds=30))
    assert (found.hold, world.called("a")) == (Hold.DEFINITION_MISSING, 1)
    registry.register(definition)
    assert drain(found).state == "completed"


def test_s8_a_step_whose_stored_input_does_not_fit_is_held_and_can_be_retried(world: World) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable(), input=Trip, given=Trip(number="1"))
    Saga.objects.filter(pk=saga.pk).update(input={"number": 1})
    work(saga)
    assert (step_of(saga, "a").state, step_of(saga, "a").hold, world.calls) == ("pending", Hold.MISCONFIGURED, [])
    Saga.objects.filter(pk=saga.pk).update(input={"number": "1"})
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    assert drain(saga).state == "completed"


def test_s8_a_compensation_whose_stored_input_does_not_fit_is_held_and_can_be_retried(world: World) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable(), input=Trip, given=Trip(number="1"))
    world.will("b", Refused())
    world.will("a", RetryLater(), direction=COMPENSATION)
    saga = work(saga)
    Saga.objects.filter(pk=saga.pk).update(input={"number": 1})
    saga = drain(saga)
    assert (saga.state, step_of(saga, "a").hold) == ("compensating", Hold.MISCONFIGURED)
    Saga.objects.filter(pk=saga.pk).update(input={"number": "1"})
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    assert drain(saga).state == "compensated"


def test_s8_force_compensate_names_the_operator_as_the_cause(world: World, saga: Saga) -> None:
    unknown(world, saga)
    operations.force_compensate(saga.pk, actor=OPERATOR, reason=REASON)
    saga = drain(saga)
    assert (saga.state, saga.cause["kind"], saga.cause["actor"], saga.cause["reason"]) == (
        "compensated",
        "operator",
        "ada",
        REASON,
    )


def test_s8_force_compensate_on_a_paused_saga_waits_for_resume(world: World, saga: Saga) -> None:
    world.will("b", RetryLater(after=60))
    work(saga)
    paused(world, saga)
    operations.force_compensate(saga.pk, actor=OPERATOR, reason=REASON)
    saga = drain(saga, patience=SHORT)
    assert (saga.state, saga.hold, world.order()) == ("compensating", Hold.PAUSED, [])
    operations.resume(saga.pk, actor=OPERATOR, reason=REASON)
    assert drain(saga).state == "compensated"


def test_s8_a_pause_lets_only_the_live_attempt_finish(world: World, saga: Saga) -> None:
    frozen = freeze(saga, "a")
    paused(world, saga)
    frozen.thaw()
    saga = drain(saga, patience=SHORT)
    assert (saga.state, saga.hold, states(saga)["a"], world.called("b")) == ("running", Hold.PAUSED, "succeeded", 0)
    operations.resume(saga.pk, actor=OPERATOR, reason=REASON)
    assert drain(saga).state == "completed"


def test_s8_a_pause_stops_compensation_too(world: World, saga: Saga) -> None:
    turned_back(world, saga)
    paused(world, saga)
    saga = drain(saga)
    assert (saga.state, world.called("a", COMPENSATION)) == ("compensating", 1)
    operations.resume(saga.pk, actor=OPERATOR, reason=REASON)
    assert drain(saga).state == "compensated"


def test_s8_a_saga_without_definition_can_be_paused(world: World, saga: Saga) -> None:
    definition = registry.get("trip", 1)
    orphaned(world, saga)
    paused(world, saga)
    assert read(saga.pk).hold == Hold.PAUSED
    registry.register(definition)
    assert drain(saga, patience=SHORT).hold == Hold.PAUSED
    operations.resume(saga.pk, actor=OPERATOR, reason=REASON)
    assert drain(saga).state == "completed"


def test_s8_skip_supplies_the_result_that_later_steps_need(world: World, saga: Saga) -> None:
    operations.skip_step(saga.pk, actor=OPERATOR, reason=REASON, step="a", result={"seat": "1A"})
    saga = drain(saga)
    assert (saga.state, states(saga)["a"], world.called("a")) == ("completed", "skipped", 0)
    assert world.calls[0].results == {"a": {"seat": "1A"}}
    assert step_of(saga, "a").is_assumed


def test_s8_everything_but_the_pivot_can_be_skipped(world: World, saga: Saga) -> None:
    for step in "abr":
        operations.skip_step(saga.pk, actor=OPERATOR, reason=REASON, step=step)
    assert drain(saga).state == "completed"
    assert world.order(Direction.ACTION) == ["p"]


def test_s8_mark_succeeded_stores_the_result_as_assumed(world: World, saga: Saga) -> None:
    unknown(world, saga)
    operations.mark_succeeded(
        saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="a", result={"seat": "1A"}
    )
    step = step_of(saga, "a")
    assert (step.state, step.result, step.is_assumed) == ("succeeded", {"seat": "1A"}, True)
    first, word = SagaAttempt.objects.filter(saga_id=saga.pk, step__name="a").order_by("number")
    assert (first.outcome, word.outcome, word.is_assumed, word.worker, word.message) == (
        "unknown",
        "succeeded",
        True,
        "ada",
        EVIDENCE,
    )
    world.will("b", Refused())
    saga = drain(saga)
    assert (saga.state, world.called("a", COMPENSATION), step_of(saga, "a").is_assumed) == ("compensated", 1, False)


def test_s8_mark_refused_before_the_pivot_compensates_without_the_step(world: World, saga: Saga) -> None:
    world.will("b", OutcomeUnknown())
    work(saga)
    operations.mark_refused(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="b")
    saga = drain(saga)
    assert (saga.state, states(saga)["b"], world.order()) == ("compensated", "refused", ["a"])
    assert saga.cause["message"] == EVIDENCE


def test_s8_mark_refused_settles_a_held_pivot(world: World, saga: Saga) -> None:
    pivot_held(world, saga)
    operations.mark_refused(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="p")
    saga = drain(saga)
    assert (saga.state, states(saga)["p"], world.order()) == ("compensated", "refused", ["b", "a"])


def test_s8_mark_succeeded_settles_a_held_pivot(world: World, saga: Saga) -> None:
    pivot_held(world, saga)
    operations.mark_succeeded(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="p")
    saga = drain(saga)
    assert (saga.state, saga.pivot_passed_at is not None, world.called("r")) == ("completed", True, 1)


def test_s8_mark_refused_after_the_pivot_is_a_contract_violation(world: World, saga: Saga) -> None:
    world.will("r", OutcomeUnknown())
    work(saga)
    operations.mark_refused(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="r")
    saga = drain(saga)
    assert (saga.state, step_of(saga, "r").hold) == ("running", Hold.CONTRACT_VIOLATION)


def test_s8_marks_in_a_compensating_group_settle_what_is_unknown(world: World) -> None:
    group = Parallel(x=world.compensatable(external=True), y=world.compensatable(external=True))
    saga = world.begin(g=group, z=world.compensatable())
    world.will("x", OutcomeUnknown())
    live_one = freeze(saga, "y")
    operations.force_compensate(saga.pk, actor=OPERATOR, reason=REASON)
    assert states(saga) == {"x": "unknown", "y": "running", "z": "pending"}
    operations.mark_refused(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="x")
    live_one.thaw()
    saga = drain(saga)
    assert (saga.state, states(saga)["x"], world.order()) == ("compensated", "refused", ["y"])


def test_s8_mark_compensated_ends_a_failing_compensation(world: World, saga: Saga) -> None:
    failing(world, saga)
    operations.mark_compensated(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="a")
    saga = read(saga.pk)
    assert (saga.state, saga.attention, step_of(saga, "a").is_assumed) == ("compensated", [], True)
    assert outcomes_of(saga.pk, "a", COMPENSATION)[-1] is Outcome.SUCCEEDED


def test_s8_mark_compensated_needs_no_verification(world: World) -> None:
    step = world.compensatable(external=True, verify_after=timedelta(minutes=5))
    saga = world.begin(a=step, b=world.compensatable())
    world.will("a", *[OutcomeUnknown()] * 5)
    world.will("a", CannotUndo(), direction=COMPENSATION)
    saga = drain(saga)
    assert step_of(saga, "a").hold == Hold.COMPENSATION_REFUSED
    operations.mark_compensated(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="a")
    assert read(saga.pk).state == "compensated"


def test_s8_abandon_stores_what_is_left_behind(world: World, saga: Saga) -> None:
    world.will("b", OutcomeUnknown())
    work(saga)
    result = operations.abandon(saga.pk, actor=OPERATOR, reason=REASON)
    saga = read(saga.pk)
    assert result.message == "The saga is abandoned; left behind: a, b."
    assert saga.effects_left == [
        {"step": "a", "effect": "yes", "state": "succeeded", "key": f"{saga.pk}:a", "result": {"by": "a"}},
        {"step": "b", "effect": "maybe", "state": "unknown", "key": f"{saga.pk}:b", "result": None},
    ]
    assert (saga.state, saga.due_at, saga.hold) == ("abandoned", None, None)
    assert events(saga, "saga_abandoned")[0].data == {"left": saga.effects_left}


@pytest.mark.parametrize("has_definition", [True, False])
@pytest.mark.parametrize("way", ["forward", "back"])
def test_s8_abandon_ends_an_expired_lease(world: World, saga: Saga, has_definition: bool, way: str) -> None:
    if way == "back":
        world.will("b", Refused())
    freeze(saga, "a", compensation=way == "back")
    if not has_definition:
        registry.forget("trip", 1)
        work(saga)
    with pytest.raises(OperationRefused, match="until"):
        operations.abandon(saga.pk, actor=OPERATOR, reason=REASON)
    pass_time(timedelta(seconds=31))
    operations.abandon(saga.pk, actor=OPERATOR, reason=REASON)
    saga = read(saga.pk)
    assert (saga.state, [left["step"] for left in saga.effects_left]) == ("abandoned", ["a"])
    assert step_of(saga, "a").lease_token is None
    assert not SagaAttempt.objects.filter(saga_id=saga.pk, ended_at=None).exists()
    assert events(saga, "saga_turned_back") == [] if way == "forward" else True


def test_s8_abandon_of_a_lost_local_step_leaves_no_effect(world: World) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable())
    with faults() as fault:
        fault.crash_before("a")
        work(saga)
    pass_time(timedelta(seconds=31))
    operations.abandon(saga.pk, actor=OPERATOR, reason=REASON)
    assert (read(saga.pk).state, read(saga.pk).effects_left) == ("abandoned", [])
