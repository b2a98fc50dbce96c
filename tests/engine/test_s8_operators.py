"""S8: what a person may do when, what it needs, and that it is done once."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from sagas import Misconfigured, OutcomeUnknown, Parallel, RetryLater, operations, plans, registry
from sagas.actors import Actor
from sagas.exceptions import BadRequest, OperationRefused, PermissionRefused, SagaNotFound, StaleRevision
from sagas.models import Saga, SagaAttempt, SagaHistory, SagaStep
from sagas.models.saga import new_saga_id
from sagas.reading import read_journal
from sagas.rules import PERMISSIONS, Operation
from sagas.states import Hold, Outcome
from sagas.testing import drain, faults, outcomes_of, pass_time
from sagas.testing.drain import read

from .frozen import freeze
from .world import (
    ACTION,
    COMPENSATION,
    CannotUndo,
    Refused,
    World,
    attempts,
    begin,
    define,
    states,
    step_of,
    told,
    work,
)

pytestmark = pytest.mark.django_db(databases="__all__")

OPERATOR = Actor(name="ada", is_trusted=True)
REASON, EVIDENCE = "because the test wants it", "the provider's page says so"
NEEDS_STEP = {Operation.SKIP, Operation.MARK_SUCCEEDED, Operation.MARK_REFUSED, Operation.MARK_COMPENSATED}
NEEDS_EVIDENCE = NEEDS_STEP - {Operation.SKIP}
SHORT = timedelta(minutes=5)


@dataclass(frozen=True)
class Trip:
    """Name the trip."""

    number: str


def perform(operation: Operation, saga: Saga, step: str, **more: Any) -> operations.OperationResult:
    """Do an operation with everything it needs."""
    arguments: dict[str, Any] = {"actor": OPERATOR, "reason": REASON, **more}
    if operation in NEEDS_STEP:
        arguments.setdefault("step", step)
    if operation in NEEDS_EVIDENCE:
        arguments.setdefault("evidence", EVIDENCE)
    return operations.perform_operation(operation, saga.pk, **arguments)


# --- situations: how to get there, which step is looked at, what is allowed -----------------------------------------


def start(world: World) -> Saga:
    external = {"external": True}
    return begin(
        define(
            a=world.compensatable(**external),
            b=world.compensatable(**external),
            p=world.pivot(**external),
            r=world.retriable(refuses_on=[Refused], **external),
        )
    )


def started(_world: World, saga: Saga) -> None:
    """Leave it as it was started."""


def live(_world: World, saga: Saga) -> None:
    freeze(saga, "a")


def expired(_world: World, saga: Saga) -> None:
    freeze(saga, "a")
    pass_time(timedelta(seconds=31))


def waiting(world: World, saga: Saga) -> None:
    world.will("a", RetryLater(after=60))
    work(saga)


def waiting_in_doubt(world: World, saga: Saga) -> None:
    world.will("a", OutcomeUnknown(), RetryLater(after=60))
    pass_time(until_due=work(saga))
    work(saga)


def unknown(world: World, saga: Saga) -> None:
    world.will("a", OutcomeUnknown())
    work(saga)


def misconfigured(world: World, saga: Saga) -> None:
    world.will("a", Misconfigured("no key"))
    work(saga)


def misconfigured_in_doubt(world: World, saga: Saga) -> None:
    world.will("a", {"x": object()})
    work(saga)


def paused(_world: World, saga: Saga) -> None:
    operations.pause(saga.pk, actor=OPERATOR, reason=REASON)


def pivot_live(_world: World, saga: Saga) -> None:
    freeze(saga, "p")


def pivot_waiting(world: World, saga: Saga) -> None:
    world.will("p", RetryLater(after=60))
    work(saga)


def pivot_unknown(world: World, saga: Saga) -> None:
    world.will("p", OutcomeUnknown())
    work(saga)


def pivot_held(world: World, saga: Saga) -> None:
    world.will("p", *[OutcomeUnknown()] * 5)
    drain(saga, patience=SHORT)


def after_pivot(world: World, saga: Saga) -> None:
    world.will("r", RetryLater(after=60))
    work(saga)


def violated(world: World, saga: Saga) -> None:
    world.will("r", Refused())
    work(saga)


def turned_back(world: World, saga: Saga) -> None:
    world.will("b", Refused())
    world.will("a", RetryLater(after=60), direction=COMPENSATION)
    work(saga)


def failing(world: World, saga: Saga) -> None:
    world.will("b", Refused())
    world.will("a", *[RetryLater()] * 10, direction=COMPENSATION)
    drain(saga, patience=SHORT)


def cannot_undo(world: World, saga: Saga) -> None:
    world.will("b", Refused())
    world.will("a", CannotUndo(), direction=COMPENSATION)
    work(saga)


def undoing(world: World, saga: Saga) -> None:
    world.will("b", Refused())
    freeze(saga, "a", compensation=True)


def orphaned(_world: World, saga: Saga) -> None:
    registry.forget("trip", 1)
    work(saga)


def completed(_world: World, saga: Saga) -> None:
    drain(saga)


def compensated(world: World, saga: Saga) -> None:
    world.will("b", Refused())
    drain(saga)


def abandoned(_world: World, saga: Saga) -> None:
    operations.abandon(saga.pk, actor=OPERATOR, reason=REASON)


RETRY, COMPENSATE, SKIP, SUCCEEDED, REFUSED, COMPENSATED, PAUSE, RESUME, CANCEL, ABANDON = Operation
FORWARD = {COMPENSATE, PAUSE, CANCEL, ABANDON}
TABLE: dict[Callable[[World, Saga], None], tuple[str, set[Operation]]] = {
    started: ("a", FORWARD | {SKIP}),
    live: ("a", FORWARD - {ABANDON}),
    expired: ("a", FORWARD | {RETRY, SUCCEEDED, REFUSED}),
    waiting: ("a", FORWARD | {RETRY, SKIP}),
    waiting_in_doubt: ("a", FORWARD | {RETRY}),
    unknown: ("a", FORWARD | {RETRY, SUCCEEDED, REFUSED}),
    misconfigured: ("a", FORWARD | {RETRY, SKIP, SUCCEEDED, REFUSED}),
    misconfigured_in_doubt: ("a", FORWARD | {RETRY, SUCCEEDED, REFUSED}),
    paused: ("a", FORWARD - {PAUSE} | {SKIP, RESUME}),
    pivot_live: ("p", {PAUSE, CANCEL}),
    pivot_waiting: ("p", FORWARD | {RETRY}),
    pivot_unknown: ("p", {PAUSE, CANCEL, ABANDON, RETRY, SUCCEEDED, REFUSED}),
    pivot_held: ("p", {PAUSE, CANCEL, ABANDON, RETRY, SUCCEEDED, REFUSED}),
    after_pivot: ("r", {PAUSE, ABANDON, RETRY, SKIP}),
    violated: ("r", {PAUSE, ABANDON, RETRY, SKIP, SUCCEEDED}),
    turned_back: ("a", {PAUSE, ABANDON, RETRY}),
    failing: ("a", {PAUSE, ABANDON, RETRY, COMPENSATED}),
    cannot_undo: ("a", {PAUSE, ABANDON, RETRY, COMPENSATED}),
    undoing: ("a", {PAUSE}),
    orphaned: ("a", FORWARD | {SKIP}),
    completed: ("a", set()),
    compensated: ("a", set()),
    abandoned: ("a", set()),
}
CASES = [
    pytest.param(situation, operation, id=f"{situation.__name__}-{operation.value}")
    for situation in TABLE
    for operation in Operation
]


def picture(saga: Saga) -> list[Any]:
    """Return everything that is stored about a saga."""
    models = (SagaStep, SagaAttempt, SagaHistory)
    return [
        list(Saga.objects.filter(pk=saga.pk).values()),
        *[list(model.objects.filter(saga_id=saga.pk).order_by("pk").values()) for model in models],
    ]


@pytest.mark.parametrize(("situation", "operation"), CASES)
def test_s8_what_is_allowed_when(world: World, situation: Callable[[World, Saga], None], operation: Operation) -> None:
    step, allowed = TABLE[situation]
    saga = start(world)
    situation(world, saga)
    before = read(saga.pk)
    plan = plans.draw_plan(operation, saga.pk, step=step if operation in NEEDS_STEP else None)
    assert plan.is_allowed is (operation in allowed)
    assert (plan.revision, plan.history_count) == (before.revision, before.history_count)

    if operation not in allowed:
        is_repeat = (situation, operation) in {(paused, PAUSE), (abandoned, ABANDON)}
        stored = picture(saga)
        if is_repeat:
            assert perform(operation, saga, step).is_repeat
        else:
            with pytest.raises(OperationRefused) as refused:
                perform(operation, saga, step)
            assert len(str(refused.value)) > 20
            assert str(refused.value) == plan.refusal
        assert picture(saga) == stored
        return

    result = perform(operation, saga, step, revision=before.revision)

    found = read(saga.pk)
    assert (result.is_repeat, result.revision, result.state) == (False, before.revision + 1, found.state)
    assert found.revision == before.revision + 1
    acted = told(saga, "operator_acted")[-1]
    assert (acted.actor, acted.reason, acted.to_state) == ("ada", REASON, operation.value)
    assert acted.data["operation"] == operation.value
    assert acted.data["before"] != acted.data["after"]
    assert acted.data["revision"] == before.revision
    assert acted.data.get("evidence") == (EVIDENCE if operation in NEEDS_EVIDENCE else None)


@pytest.mark.parametrize(
    ("situation", "operation"), [case for case in CASES if case.values[1] in TABLE[case.values[0]][1]]
)
def test_s8_every_allowed_action_leads_to_an_end_or_a_hold(
    world: World, situation: Callable[[World, Saga], None], operation: Operation
) -> None:
    step, _ = TABLE[situation]
    saga = start(world)
    situation(world, saga)
    perform(operation, saga, step)
    saga = drain(saga, patience=SHORT if situation is orphaned else timedelta(hours=2))
    held = bool(saga.hold) or SagaStep.objects.filter(saga_id=saga.pk, hold__isnull=False).exists()
    assert held is not bool(saga.closed_at)
    if operation is ABANDON:
        assert saga.state == "abandoned"
    if operation in (COMPENSATE, CANCEL) and not held:
        assert saga.state == "compensated" if situation not in (pivot_unknown, pivot_live, pivot_held) else "completed"


def test_s8_a_second_resume_finds_it_done_and_one_without_a_pause_is_refused(world: World) -> None:
    saga = start(world)
    with pytest.raises(OperationRefused):
        perform(RESUME, saga, "a")
    paused(world, saga)
    assert not perform(RESUME, saga, "a").is_repeat
    stored = picture(saga)
    again = perform(RESUME, saga, "a")
    assert (again.is_repeat, again.message) == (True, "The saga was resumed already.")
    assert picture(saga) == stored
    paused(world, saga)
    assert not perform(RESUME, saga, "a").is_repeat


def test_s8_a_plan_on_an_ended_lease_tells_what_the_action_finds_and_writes_nothing(world: World) -> None:
    saga = start(world)
    expired(world, saga)
    stored = picture(saga)

    plan = plans.draw_plan(RETRY, saga.pk)
    back = plans.draw_plan(COMPENSATE, saga.pk)

    assert ([live.is_expired for live in plan.live], plan.outcome) == ([True], "The saga goes on with a.")
    assert next((run.step, run.direction.value, run.note) for run in plan.runs) == ("a", "action", "")
    assert (back.outcome, [run.note for run in back.runs]) == (
        "The saga compensates: beginning with a, in reverse order.",
        [""],
    )
    assert plans.list_retriable_steps(read_journal(saga.pk)) == ["a"]
    assert plans.list_allowed_steps(read_journal(saga.pk), REFUSED)["a"] == ""
    assert picture(saga) == stored


# --- what each action does ------------------------------------------------------------------------------------------


@pytest.fixture
def saga(world: World) -> Saga:
    """Start the saga of the table."""
    return start(world)


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


def test_s8_retry_of_a_retriable_step_that_spent_its_budget_keeps_the_alarm_until_it_succeeds(
    world: World, saga: Saga
) -> None:
    world.will("r", *[RetryLater()] * 5, RetryLater(after=60))
    saga = drain(saga, patience=timedelta(seconds=25))
    assert saga.attention == ["retries_exhausted"]
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    saga = work(saga)
    assert (saga.attention, step_of(saga, "r").state) == (["retries_exhausted"], "waiting")
    saga = drain(saga)
    assert (saga.state, saga.attention) == ("completed", [])


def test_s8_retry_without_a_step_takes_all_that_wait(world: World) -> None:
    group = Parallel(x=world.compensatable(), y=world.compensatable(), z=world.compensatable())
    saga = begin(define(g=group))
    world.will("x", RetryLater(after=600))
    world.will("y", Misconfigured("no"))
    work(saga)
    result = operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    assert result.message == "Due now, with a fresh budget: x, y."
    assert work(saga).state == "completed"


def test_s8_retry_on_a_paused_saga_says_that_it_stays_paused(world: World, saga: Saga) -> None:
    waiting(world, saga)
    paused(world, saga)
    result = operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    assert result.message == "Due now, with a fresh budget: a. The saga is still held: paused."
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
    saga = begin(define(a=world.compensatable(), b=world.compensatable(), input=Trip), Trip(number="1"))
    Saga.objects.filter(pk=saga.pk).update(input={"number": 1})
    work(saga)
    assert (step_of(saga, "a").state, step_of(saga, "a").hold, world.calls) == ("pending", Hold.MISCONFIGURED, [])
    Saga.objects.filter(pk=saga.pk).update(input={"number": "1"})
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    assert drain(saga).state == "completed"


def test_s8_a_compensation_whose_stored_input_does_not_fit_is_held_and_can_be_retried(world: World) -> None:
    saga = begin(define(a=world.compensatable(), b=world.compensatable(), input=Trip), Trip(number="1"))
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


def test_s8_a_pause_lets_the_live_attempt_finish_and_nothing_follow(world: World, saga: Saga) -> None:
    frozen = freeze(saga, "a")
    paused(world, saga)
    frozen.thaw()
    saga = drain(saga, patience=SHORT)
    assert (saga.state, saga.hold, states(saga)["a"], world.called("b")) == ("running", Hold.PAUSED, "succeeded", 0)
    operations.resume(saga.pk, actor=OPERATOR, reason=REASON)
    assert drain(saga).state == "completed"


def test_s8_a_pause_stops_the_way_back_too(world: World, saga: Saga) -> None:
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


def test_s8_skipping_everything_but_the_pivot_leaves_the_pivot(world: World, saga: Saga) -> None:
    for step in "abr":
        operations.skip_step(saga.pk, actor=OPERATOR, reason=REASON, step=step)
    assert drain(saga).state == "completed"
    assert world.order(ACTION) == ["p"]


def test_s8_mark_succeeded_stores_the_result_as_assumed(world: World, saga: Saga) -> None:
    unknown(world, saga)
    operations.mark_succeeded(
        saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="a", result={"seat": "1A"}
    )
    step = step_of(saga, "a")
    assert (step.state, step.result, step.is_assumed) == ("succeeded", {"seat": "1A"}, True)
    first, word = attempts(saga, "a")
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
    saga = begin(define(g=group, z=world.compensatable()))
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


def test_s8_mark_compensated_needs_no_second_look(world: World) -> None:
    step = world.compensatable(external=True, verify_after=timedelta(minutes=5))
    saga = begin(define(a=step, b=world.compensatable()))
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
    assert told(saga, "saga_abandoned")[0].data == {"left": saga.effects_left}


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
    assert told(saga, "saga_turned_back") == [] if way == "forward" else True


def test_s8_abandon_of_a_lost_local_step_leaves_no_effect(world: World) -> None:
    saga = begin(define(a=world.compensatable(), b=world.compensatable()))
    with faults() as fault:
        fault.crash_before("a")
        work(saga)
    pass_time(timedelta(seconds=31))
    operations.abandon(saga.pk, actor=OPERATOR, reason=REASON)
    assert (read(saga.pk).state, read(saga.pk).effects_left) == ("abandoned", [])


# --- what every action needs ----------------------------------------------------------------------------------------

HOW = {
    RETRY: waiting, COMPENSATE: started, SKIP: started, SUCCEEDED: unknown, REFUSED: unknown, COMPENSATED: cannot_undo,
    PAUSE: started, RESUME: paused, CANCEL: started, ABANDON: started,
}  # fmt: skip


@pytest.fixture(params=Operation)
def operation(request: pytest.FixtureRequest) -> Operation:
    """Go through every operation."""
    return Operation(request.param)


def test_s8_every_action_needs_its_permission(world: World, saga: Saga, operation: Operation) -> None:
    HOW[operation](world, saga)
    user = User.objects.create_user("ada")
    others = Permission.objects.filter(content_type__app_label="sagas").exclude(codename=PERMISSIONS[operation])
    user.user_permissions.set(others)
    stored = picture(saga)
    with pytest.raises(PermissionRefused, match=PERMISSIONS[operation]):
        perform(operation, saga, "a", actor=Actor.of_user(User.objects.get(pk=user.pk)))
    assert picture(saga) == stored
    user.user_permissions.set(Permission.objects.filter(codename=PERMISSIONS[operation]))
    perform(operation, saga, "a", actor=Actor.of_user(User.objects.get(pk=user.pk)))
    assert told(saga, "operator_acted")[-1].actor == "ada"


@pytest.mark.parametrize("reason", ["", "   ", "too short", " nine char ", "x" * 501, "a\x00b" * 10, "\ud800" * 20])
def test_s8_every_action_needs_a_reason(world: World, saga: Saga, operation: Operation, reason: str) -> None:
    HOW[operation](world, saga)
    stored = picture(saga)
    with pytest.raises(BadRequest):
        perform(operation, saga, "a", reason=reason)
    assert picture(saga) == stored


@pytest.mark.parametrize("reason", ["ten chars.", "x" * 500])
def test_s8_a_reason_may_have_ten_to_five_hundred_characters(world: World, saga: Saga, reason: str) -> None:
    operations.pause(saga.pk, actor=OPERATOR, reason=reason)
    assert told(saga, "operator_acted")[0].reason == reason


@pytest.mark.parametrize("mark", sorted(NEEDS_EVIDENCE))
@pytest.mark.parametrize("evidence", ["", "short", "x" * 501])
def test_s8_every_mark_needs_evidence(world: World, saga: Saga, mark: Operation, evidence: str) -> None:
    HOW[mark](world, saga)
    with pytest.raises(BadRequest):
        perform(mark, saga, "a", evidence=evidence)
    assert told(saga, "operator_acted") == []


@pytest.mark.parametrize("result", [["a"], {"a": float("nan")}, {"a": "\x00"}, {"a": "x" * 70_000}])
def test_s8_a_result_must_be_storable(world: World, saga: Saga, result: Any) -> None:
    with pytest.raises(BadRequest):
        operations.skip_step(saga.pk, actor=OPERATOR, reason=REASON, step="a", result=result)
    assert states(saga)["a"] == "pending"


@pytest.mark.parametrize("step", [None, "nowhere"])
def test_s8_a_step_must_be_one_of_the_saga(world: World, saga: Saga, step: Any) -> None:
    with pytest.raises(BadRequest, match="a, b, p, r"):
        operations.skip_step(saga.pk, actor=OPERATOR, reason=REASON, step=step)
    assert states(saga)["a"] == "pending"


def test_s8_an_unknown_saga_is_not_found(operation: Operation) -> None:
    with pytest.raises(SagaNotFound):
        perform(operation, Saga(pk=new_saga_id()), "a")
    assert Saga.objects.count() == 0


def test_s8_an_action_on_a_stale_revision_is_refused_with_the_facts(
    world: World, saga: Saga, operation: Operation
) -> None:
    HOW[operation](world, saga)
    stored = picture(saga)
    found = read(saga.pk)
    for revision in (found.revision - 1, found.revision + 1):
        with pytest.raises(StaleRevision) as stale:
            perform(operation, saga, "a", revision=revision)
        assert (stale.value.expected, stale.value.found) == (revision, found.revision)
        assert found.state in str(stale.value)
    assert picture(saga) == stored


def test_s8_a_double_click_acts_once(world: World, saga: Saga, operation: Operation) -> None:
    HOW[operation](world, saga)
    revision = read(saga.pk).revision
    first = perform(operation, saga, "a", revision=revision)
    stored = picture(saga)
    second = perform(operation, saga, "a", revision=revision)
    assert (first.is_repeat, second.is_repeat) == (False, True)
    assert second.revision == first.revision
    assert picture(saga) == stored


def test_s8_somebody_elses_click_on_the_same_revision_is_stale(world: World, saga: Saga) -> None:
    waiting(world, saga)
    revision = read(saga.pk).revision
    perform(RETRY, saga, "a", revision=revision)
    with pytest.raises(StaleRevision):
        perform(RETRY, saga, "a", revision=revision, actor=Actor(name="eve", is_trusted=True))
    assert len(told(saga, "operator_acted")) == 1


@pytest.mark.parametrize("operation", [Operation.COMPENSATE, Operation.PAUSE, Operation.CANCEL])
def test_s8_a_plan_is_stale_when_another_step_has_succeeded(world: World, saga: Saga, operation: Operation) -> None:
    world.will("b", RetryLater())
    world.will("p", RetryLater())
    revision = work(saga).revision
    pass_time(until_due=read(saga.pk))
    assert states(work(saga))["b"] == "succeeded"
    with pytest.raises(StaleRevision):
        perform(operation, saga, "a", revision=revision)
    assert told(saga, "operator_acted") == []


@pytest.mark.parametrize("operation", [RETRY, SKIP, SUCCEEDED, REFUSED, ABANDON])
def test_s8_a_live_lease_is_refused_with_until_when(world: World, saga: Saga, operation: Operation) -> None:
    live(world, saga)
    until = f"{step_of(saga, 'a').lease_until:%Y-%m-%d %H:%M:%S} UTC"
    with pytest.raises(OperationRefused, match=until):
        perform(operation, saga, "a")
    assert states(saga)["a"] == "running"


def test_s8_a_live_compensation_is_refused_with_until_when(world: World, saga: Saga) -> None:
    undoing(world, saga)
    until = f"{step_of(saga, 'a').lease_until:%Y-%m-%d %H:%M:%S} UTC"
    for operation in (RETRY, COMPENSATED):
        with pytest.raises(OperationRefused, match=until):
            perform(operation, saga, "a")
    assert states(saga)["a"] == "compensating"


def test_s8_history_tells_before_and_after(world: World, saga: Saga) -> None:
    unknown(world, saga)
    operations.mark_refused(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="a")
    [acted] = told(saga, "operator_acted")
    assert acted.data["before"].startswith("running; a unknown, due ")
    assert acted.data["after"] == "compensated; a refused"
    assert acted.step == "a"
    rows = told(saga)
    assert [row.what for row in rows[-5:]] == [
        "step_unknown",
        "step_refused",
        "saga_turned_back",
        "saga_compensated",
        "operator_acted",
    ]


def test_s8_actors_of_the_command_line_are_recorded_twice() -> None:
    User.objects.create_user("ada")
    assert Actor.of_command_line("ada").name.startswith(f"ada ({getpass.getuser()}@")
    assert not Actor.of_command_line("ada").may("retry_saga")
    assert Actor.of_command_line().may("retry_saga")
    assert Actor.of_command_line().name.startswith(f"{getpass.getuser()}@")
    with pytest.raises(BadRequest):
        Actor.of_command_line("nobody-of-this-name")


def test_s8_an_inactive_account_cannot_act() -> None:
    User.objects.create_user("ada", is_active=False, last_login=timezone.now())
    with pytest.raises(BadRequest):
        Actor.of_command_line("ada")
    admin = User.objects.create_superuser("root")
    admin.is_active = False
    assert not Actor.of_user(admin).may("abandon_saga")
