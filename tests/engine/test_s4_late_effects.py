"""S4: the barrier, tombstones, and answers that come when nobody waits for them any more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sagas import OutcomeUnknown, RetryLater, StepContext, barrier, operations
from sagas.actors import Actor
from sagas.exceptions import Fenced
from sagas.models import BarrierState, Saga, SagaBarrier
from sagas.states import Direction, Effect, Hold, Outcome
from sagas.testing import drain, effect_of, find_violations, outcomes_of, pass_time

from .frozen import freeze
from .world import COMPENSATION, Broken, Refused, World, attempts, begin, define, states, step_of, told, work

pytestmark = pytest.mark.django_db(databases="__all__")

OPERATOR = Actor(name="ada", is_trusted=True)
REASON, EVIDENCE = "because the test wants it", "the provider's page says so"
ACTION = Direction.ACTION
LEASE = timedelta(seconds=31)


def lose_lease(saga: Saga) -> Saga:
    """Let the lease of the frozen worker end, and another worker notice."""
    pass_time(LEASE)
    return work(saga)


@pytest.fixture
def saga(world: World) -> Saga:
    """Start a saga whose second step is external."""
    return begin(define(a=world.compensatable(), b=world.compensatable(external=True), c=world.compensatable()))


def test_s4_late_success_of_an_unknown_step_makes_it_succeeded(world: World, saga: Saga) -> None:
    frozen = freeze(saga, "b")
    lose_lease(saga)
    assert (states(saga)["b"], outcomes_of(saga.pk, "b")) == ("unknown", [Outcome.UNKNOWN])

    frozen.thaw()

    step = step_of(saga, "b")
    assert (step.state, step.result, step.due_at, step.last_error) == ("succeeded", {"by": "b"}, None, "")
    assert outcomes_of(saga.pk, "b") == [Outcome.SUCCEEDED]
    assert [row.step for row in told(saga, "late_answer")] == ["b"]
    assert states(saga)["c"] == "pending"  # a stale worker claims nothing
    saga = drain(saga)
    assert (saga.state, world.count(saga, "b"), world.called("b")) == ("completed", 1, 1)


def test_s4_late_success_of_a_waiting_step_makes_it_succeeded(world: World, saga: Saga) -> None:
    frozen = freeze(saga, "b")
    world.will("b", RetryLater(after=100))
    pass_time(until_due=lose_lease(saga))
    assert states(work(saga))["b"] == "waiting"
    frozen.thaw()
    assert (states(saga)["b"], outcomes_of(saga.pk, "b")) == ("succeeded", [Outcome.SUCCEEDED, Outcome.RETRY])
    assert drain(saga).state == "completed"
    assert world.count(saga, "b") == 1


def test_s4_late_refusal_of_an_unknown_step_turns_the_saga_back(world: World, saga: Saga) -> None:
    world.will("b", Refused("late no"))
    frozen = freeze(saga, "b")
    lose_lease(saga)
    frozen.thaw()
    saga = drain(saga)
    assert states(saga) == {"a": "compensated", "b": "refused", "c": "pending"}
    assert saga.cause["kind"] == "refused"
    assert world.called("b", COMPENSATION) == 0


def test_s4_late_success_beside_a_live_attempt_leaves_that_one_to_decide(world: World, saga: Saga) -> None:
    first = freeze(saga, "b")
    pass_time(until_due=lose_lease(saga))
    second = freeze(saga, "b")
    first.thaw()
    assert states(saga)["b"] == "running"
    assert outcomes_of(saga.pk, "b") == [Outcome.SUCCEEDED, None]
    second.thaw()
    assert states(saga)["b"] == "succeeded"
    assert drain(saga).state == "completed"
    assert world.count(saga, "b") == 1


def test_s4_refusal_after_a_late_success_is_compensated(world: World, saga: Saga) -> None:
    first = freeze(saga, "b")
    pass_time(until_due=lose_lease(saga))
    world.will("b", Refused("already yours"))
    second = freeze(saga, "b")
    first.thaw()
    second.thaw()
    saga = drain(saga)
    assert states(saga) == {"a": "compensated", "b": "compensated", "c": "pending"}
    assert (world.count(saga, "b"), world.count(saga, "b", "undone")) == (1, 1)


def test_s4_late_success_in_a_compensating_saga_changes_nothing_but_its_attempt(world: World, saga: Saga) -> None:
    frozen = freeze(saga, "b")
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    world.will("b", RetryLater(after=60), direction=COMPENSATION)
    saga = lose_lease(saga)
    assert (saga.state, states(saga)["b"]) == ("compensating", "compensating")
    before = len(told(saga))
    frozen.thaw()
    saga.refresh_from_db()
    assert (saga.state, states(saga)["b"], saga.attention) == ("compensating", "compensating", [])
    assert [row.what for row in told(saga)[before:]] == ["late_answer"]
    assert drain(saga).state == "compensated"
    assert world.count(saga, "b", "undone") == 1


def test_s4_late_success_after_compensation_reopens_with_the_next_epoch(world: World, saga: Saga) -> None:
    world.closes_keys = False
    frozen = freeze(saga, "b", before_call=True)
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    saga = drain(lose_lease(saga))
    assert saga.state == "compensated"
    assert (world.count(saga, "b"), states(saga)["b"]) == (0, "compensated")  # an empty compensation

    frozen.thaw()

    saga.refresh_from_db()
    step = step_of(saga, "b")
    assert (saga.state, saga.closed_at, saga.attention) == ("compensating", None, ["late_effect"])
    assert (step.state, step.epoch, world.count(saga, "b")) == ("compensating", 1, 1)
    assert effect_of(saga.pk, "b") is Effect.YES
    saga = drain(saga)
    assert (saga.state, saga.attention) == ("compensated", [])
    assert (world.count(saga, "b"), world.count(saga, "b", "undone")) == (1, 1)
    assert [call.provider_key for call in world.calls if call.direction is COMPENSATION and call.step == "b"] == [
        f"{saga.pk}:b:compensate:0",
        f"{saga.pk}:b:compensate:1",
    ]
    assert [row.data for row in told(saga, "attention_cleared")] == [{"attention": ["late_effect"]}]
    assert world.called("a", COMPENSATION) == 1  # what was undone stays undone


def test_s4_late_success_while_the_rest_compensates_reopens_its_step(world: World, saga: Saga) -> None:
    world.closes_keys = False
    frozen = freeze(saga, "b", before_call=True)
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    world.will("a", RetryLater(after=60), direction=COMPENSATION)
    saga = lose_lease(saga)
    assert states(saga) == {"a": "compensating", "b": "compensated", "c": "pending"}
    frozen.thaw()
    assert states(saga)["b"] == "compensating"
    assert world.called("a", COMPENSATION) == 1
    saga = drain(saga)
    assert saga.state == "compensated"
    assert world.count(saga, "b", "undone") == 1


def test_s4_late_success_of_an_abandoned_saga_is_added_to_what_it_left(world: World, saga: Saga) -> None:
    frozen = freeze(saga, "b")
    pass_time(LEASE)
    operations.abandon(saga.pk, actor=OPERATOR, reason=REASON)
    saga.refresh_from_db()
    assert [(left["step"], left["effect"]) for left in saga.effects_left] == [("a", "yes"), ("b", "maybe")]

    frozen.thaw()

    saga.refresh_from_db()
    assert saga.state == "abandoned"
    assert [(left["step"], left["effect"], left.get("late", False)) for left in saga.effects_left] == [
        ("a", "yes", False),
        ("b", "yes", True),
    ]
    assert saga.effects_left[1]["key"] == f"{saga.pk}:b"
    assert saga.effects_left[1]["result"] == {"by": "b"}
    assert outcomes_of(saga.pk, "b") == [Outcome.SUCCEEDED]


def test_s4_late_success_of_a_completed_saga_settles_its_attempt_only(world: World, saga: Saga) -> None:
    frozen = freeze(saga, "b")
    saga = drain(lose_lease(saga))
    assert saga.state == "completed"
    frozen.thaw()
    saga.refresh_from_db()
    assert (saga.state, saga.attention) == ("completed", [])
    assert outcomes_of(saga.pk, "b") == [Outcome.SUCCEEDED, Outcome.SUCCEEDED]
    assert world.count(saga, "b") == 1


@pytest.mark.parametrize("error", [Broken("x"), OutcomeUnknown("?")])
def test_s4_late_answer_that_knows_nothing_changes_nothing(world: World, saga: Saga, error: Exception) -> None:
    world.will("b", error)
    frozen = freeze(saga, "b")
    lose_lease(saga)
    before = len(told(saga))
    frozen.thaw()
    assert (states(saga)["b"], outcomes_of(saga.pk, "b"), len(told(saga))) == ("unknown", [Outcome.UNKNOWN], before)
    assert drain(saga).state == "completed"


def test_s4_late_fenced_answer_is_kept_for_the_audit_only(world: World, saga: Saga) -> None:
    world.will("b", Fenced("tombstone"))
    frozen = freeze(saga, "b")
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    saga = drain(lose_lease(saga))
    frozen.thaw()
    saga.refresh_from_db()
    assert (saga.state, outcomes_of(saga.pk, "b")) == ("compensated", [Outcome.FENCED])
    assert len(told(saga, "late_answer")) == 1


def test_s4_late_result_that_cannot_be_stored_is_an_effect_all_the_same(world: World, saga: Saga) -> None:
    world.closes_keys = False
    world.will("b", {"x": object()})
    frozen = freeze(saga, "b", before_call=True)
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    saga = drain(lose_lease(saga))
    frozen.thaw()
    saga = drain(saga)
    assert (saga.state, step_of(saga, "b").epoch, world.count(saga, "b", "undone")) == ("compensated", 1, 1)


def test_s4_late_success_of_a_compensation_ends_it(world: World, saga: Saga) -> None:
    world.will("c", Refused())
    frozen = freeze(saga, "b", compensation=True)
    world.will("b", RetryLater(after=60), direction=COMPENSATION)
    pass_time(LEASE)
    pass_time(until_due=work(saga))
    work(saga)
    assert states(saga)["b"] == "compensating"
    frozen.thaw()
    assert states(saga)["b"] == "compensated"
    assert drain(saga).state == "compensated"
    assert world.count(saga, "b", "undone") == 1


def test_s4_late_success_of_an_old_epoch_does_not_end_the_new_one(world: World, saga: Saga) -> None:
    world.closes_keys = False
    world.will("c", lambda step, proceed: None)
    action = freeze(saga, "b", before_call=True)
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    pass_time(LEASE)
    old = freeze(saga, "b", compensation=True, before_call=True)
    pass_time(LEASE)
    saga = drain(saga)
    assert saga.state == "compensated"
    action.thaw()  # reopens with epoch 1
    old.report = None
    old.thaw()
    assert (states(saga)["b"], step_of(saga, "b").epoch) == ("compensating", 1)
    assert drain(saga).state == "compensated"


def mark_refused(saga: Saga, step: str) -> None:
    operations.mark_refused(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step=step)


def test_s4_late_success_after_mark_refused_is_compensated(world: World, saga: Saga) -> None:
    world.closes_keys = False
    frozen = freeze(saga, "b", before_call=True)
    lose_lease(saga)
    mark_refused(saga, "b")
    saga = drain(saga)
    assert (saga.state, states(saga)["b"], world.called("b", COMPENSATION)) == ("compensated", "refused", 0)
    frozen.thaw()
    saga.refresh_from_db()
    assert (saga.state, saga.attention) == ("compensating", ["late_effect"])
    saga = drain(saga)
    assert (saga.state, states(saga)["b"], world.count(saga, "b", "undone")) == ("compensated", "compensated", 1)


def test_s4_late_success_after_mark_succeeded_changes_nothing(world: World, saga: Saga) -> None:
    frozen = freeze(saga, "b")
    lose_lease(saga)
    operations.mark_succeeded(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="b", result={"by": "ada"})
    frozen.thaw()
    assert (states(saga)["b"], step_of(saga, "b").result) == ("succeeded", {"by": "ada"})
    assert drain(saga).state == "completed"


def test_s4_late_success_after_mark_compensated_reopens(world: World, saga: Saga) -> None:
    world.closes_keys = False
    frozen = freeze(saga, "b", before_call=True)
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    world.will("b", *[Broken("x")] * 10, direction=COMPENSATION)
    lose_lease(saga)
    saga = drain(saga, patience=timedelta(minutes=30))
    assert (saga.state, saga.attention) == ("compensating", ["compensation_failing"])
    operations.mark_compensated(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="b")
    saga = drain(saga)
    assert (saga.state, step_of(saga, "b").is_assumed) == ("compensated", True)
    frozen.thaw()
    saga = drain(saga)
    assert (saga.state, step_of(saga, "b").is_assumed, step_of(saga, "b").epoch) == ("compensated", False, 1)
    assert world.count(saga, "b", "undone") == 1


@pytest.fixture
def pivotal(world: World) -> Saga:
    """Start a saga with an external pivot."""
    return begin(define(a=world.compensatable(), p=world.pivot(external=True), r=world.retriable()))


def test_s4_late_success_of_a_held_pivot_goes_on(world: World, pivotal: Saga) -> None:
    world.will("p", *[OutcomeUnknown("?")] * 4)
    frozen = freeze(pivotal, "p", before_call=True)
    pass_time(LEASE)
    saga = drain(pivotal)
    assert step_of(saga, "p").hold == Hold.OUTCOME_UNKNOWN
    frozen.thaw()
    step = step_of(saga, "p")
    assert (step.state, step.hold) == ("succeeded", None)
    saga = drain(saga)
    assert (saga.state, world.count(saga, "p")) == ("completed", 1)
    assert saga.pivot_passed_at is not None


@pytest.mark.parametrize("is_closed", [False, True])
def test_s4_late_success_of_a_pivot_marked_refused_is_held_for_a_person(
    world: World, pivotal: Saga, is_closed: bool
) -> None:
    frozen = freeze(pivotal, "p", before_call=True)
    lose_lease(pivotal)
    if not is_closed:
        world.will("a", RetryLater(after=60), direction=COMPENSATION)
    mark_refused(pivotal, "p")
    saga = drain(pivotal) if is_closed else work(pivotal)
    assert saga.state == ("compensated" if is_closed else "compensating")

    frozen.thaw()

    saga.refresh_from_db()
    assert (saga.state, saga.attention) == ("compensating", ["late_effect"])
    assert (step_of(saga, "p").state, step_of(saga, "p").hold) == ("refused", Hold.CONTRACT_VIOLATION)
    done = world.called("a", COMPENSATION)
    saga = drain(saga)
    assert (saga.state, world.called("a", COMPENSATION)) == ("compensating", done)  # a person must say what now
    assert world.called("p", COMPENSATION) == 0

    with pytest.raises(operations.OperationRefused):
        operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON, step="p")
    with pytest.raises(operations.OperationRefused):
        operations.mark_succeeded(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="p")
    mark_refused(saga, "p")  # "I gave the money back by hand"
    saga = drain(saga)
    assert (saga.state, world.count(saga, "a", "undone")) == ("compensated", 1)


def test_s4_a_compensation_that_was_live_when_the_pivot_succeeded_late_is_watched(world: World) -> None:
    saga = begin(define(a=world.compensatable(external=True), p=world.pivot(external=True)))
    frozen = freeze(saga, "p", before_call=True)
    lose_lease(saga)
    mark_refused(saga, "p")
    freeze(saga, "a", before_call=True, compensation=True)
    frozen.thaw()
    saga.refresh_from_db()
    assert step_of(saga, "p").hold == Hold.CONTRACT_VIOLATION
    assert saga.due_at == step_of(saga, "a").lease_until
    assert find_violations(saga.pk) == []  # what was right when it was claimed is no compensation out of order
    saga = lose_lease(saga)
    assert step_of(saga, "a").lease_until is None
    assert (saga.state, outcomes_of(saga.pk, "a", COMPENSATION)) == ("compensating", [Outcome.UNKNOWN])
    mark_refused(saga, "p")
    saga = drain(saga)
    assert (saga.state, world.count(saga, "a", "undone")) == ("compensated", 1)


def test_s4_late_success_of_a_pivot_marked_refused_can_be_abandoned(world: World, pivotal: Saga) -> None:
    frozen = freeze(pivotal, "p", before_call=True)
    lose_lease(pivotal)
    mark_refused(pivotal, "p")
    saga = drain(pivotal)
    frozen.thaw()
    operations.abandon(saga.pk, actor=OPERATOR, reason=REASON)
    saga.refresh_from_db()
    assert saga.state == "abandoned"
    assert [(left["step"], left["effect"]) for left in saga.effects_left] == [("p", "yes")]
    assert [row.data["attention"] for row in told(saga, "attention_cleared")] == [["late_effect"]]


# --- the barrier of a participant with a database of its own --------------------------------------------------------


@pytest.fixture
def apart(world: World, inventory_apart: str) -> Callable[..., Saga]:
    """Start a saga whose second step stands in a database of its own."""

    def start(*, external: bool = False, **options: Any) -> Saga:
        step = world.compensatable("inventory", external=external, **options)
        return begin(define(a=world.compensatable(), b=step, c=world.compensatable()))

    return start


def rows(saga: Saga) -> list[tuple[str, int, str]]:
    found = SagaBarrier.objects.using("inventory").filter(key=f"{saga.pk}:b").order_by("id")
    return [(row.direction, row.epoch, row.state) for row in found]


def count(world: World, saga: Saga, what: str = "done") -> int:
    return world.count(saga, "b", what, participant="inventory")


def test_s4_the_barrier_row_commits_with_the_effect(world: World, apart: Callable[..., Saga]) -> None:
    saga = drain(apart())
    assert (saga.state, rows(saga), count(world, saga)) == ("completed", [("action", 0, "done")], 1)


def test_s4_a_repeat_returns_the_stored_result(world: World, apart: Callable[..., Saga]) -> None:
    world.will("b", {"seat": "12A"})
    saga = apart()
    freeze(saga, "b")  # dies between the participant's commit and the engine's
    saga = drain(lose_lease(saga))
    assert (saga.state, step_of(saga, "b").result) == ("completed", {"seat": "12A"})
    assert (world.called("b"), count(world, saga)) == (1, 1)
    assert outcomes_of(saga.pk, "b") == [Outcome.UNKNOWN, Outcome.SUCCEEDED]


def test_s4_a_repeated_compensation_returns_its_stored_result(world: World, apart: Callable[..., Saga]) -> None:
    world.will("c", Refused())
    saga = apart()
    freeze(saga, "b", compensation=True)
    saga = drain(lose_lease(saga))
    assert (saga.state, world.called("b", COMPENSATION), count(world, saga, "undone")) == ("compensated", 1, 1)
    assert rows(saga) == [("action", 0, "done"), ("compensation", 0, "done")]


def test_s4_an_empty_compensation_leaves_a_tombstone_that_fences_the_late_action(
    world: World, apart: Callable[..., Saga]
) -> None:
    saga = apart()
    frozen = freeze(saga, "b", before_call=True)
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    saga = drain(lose_lease(saga))
    assert (saga.state, world.called("b", COMPENSATION)) == ("compensated", 0)
    assert rows(saga) == [("action", 0, "tombstone"), ("compensation", 0, "done")]

    frozen.thaw()

    saga.refresh_from_db()
    assert (saga.state, count(world, saga), world.called("b")) == ("compensated", 0, 0)
    assert outcomes_of(saga.pk, "b") == [Outcome.FENCED]


def test_s4_a_late_action_after_a_real_compensation_is_fenced(world: World, apart: Callable[..., Saga]) -> None:
    saga = apart()
    first = freeze(saga, "b", before_call=True)
    world.will("c", Refused())
    saga = drain(lose_lease(saga))
    assert (saga.state, count(world, saga), count(world, saga, "undone")) == ("compensated", 1, 1)
    first.thaw()
    assert (count(world, saga), world.called("b")) == (1, 1)
    saga.refresh_from_db()
    assert saga.state == "compensated"


def test_s4_a_refusal_after_an_unsettled_attempt_leaves_a_tombstone(world: World, apart: Callable[..., Saga]) -> None:
    saga = apart()
    frozen = freeze(saga, "b", before_call=True)
    world.will("b", Refused("no"))
    saga = drain(lose_lease(saga))
    assert (saga.state, states(saga)["b"]) == ("compensated", "compensated")
    assert rows(saga) == [("action", 0, "tombstone"), ("compensation", 0, "done")]
    frozen.thaw()  # a rolled-back refusal had answered for one attempt only
    assert count(world, saga) == 0


@pytest.mark.parametrize("times", [1, 3])
def test_s4_an_external_step_leaves_an_intent_and_then_its_result(
    world: World, apart: Callable[..., Saga], times: int
) -> None:
    seen: list[Any] = []
    saga = apart(external=True)

    def look(_step: StepContext[Any], proceed: Callable[[], None]) -> dict[str, Any]:
        seen.append(rows(saga))
        proceed()
        if len(seen) < times:
            raise Broken("lost")
        return {"n": len(seen)}

    world.will("b", *[look] * times)
    saga = drain(saga)
    assert seen == [[("action", 0, "intent")]] * times
    assert (rows(saga), step_of(saga, "b").result) == ([("action", 0, "done")], {"n": times})
    assert count(world, saga) == 1


def test_s4_an_external_action_behind_a_tombstone_is_never_called(world: World, apart: Callable[..., Saga]) -> None:
    saga = apart(external=True)
    frozen = freeze(saga, "b", before_call=True)
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    saga = drain(lose_lease(saga))
    frozen.thaw()
    assert (world.called("b"), world.called("b", COMPENSATION), outcomes_of(saga.pk, "b")) == (0, 0, [Outcome.FENCED])


def enter(key: str, direction: Direction, epoch: int = 0) -> barrier.Entry:
    return barrier.enter("inventory", key, direction, epoch)


def test_s4_a_tombstone_of_any_epoch_fences(inventory_apart: str) -> None:
    from django.db import transaction

    with transaction.atomic(using="inventory"):
        assert enter("k:b", Direction.COMPENSATION, 3).is_empty
        barrier.finish("inventory", "k:b", Direction.COMPENSATION, 3, None)
        with pytest.raises(Fenced):
            enter("k:b", ACTION)
        assert SagaBarrier.objects.using("inventory").get(key="k:b", direction="action").state == BarrierState.TOMBSTONE
        barrier.finish("inventory", "k:b", ACTION, 0, {"late": True})  # never turns a tombstone into a result
        assert SagaBarrier.objects.using("inventory").get(key="k:b", direction="action").state == BarrierState.TOMBSTONE
        transaction.set_rollback(True, using="inventory")


def test_s4_each_epoch_of_a_compensation_runs_once(inventory_apart: str) -> None:
    from django.db import transaction

    with transaction.atomic(using="inventory"):
        assert not enter("k:b", ACTION).is_done
        barrier.finish("inventory", "k:b", ACTION, 0, {"n": 1})
        assert enter("k:b", ACTION) == barrier.Entry(is_done=True, result={"n": 1})
        for epoch in (0, 1):
            assert enter("k:b", Direction.COMPENSATION, epoch) == barrier.Entry()
            barrier.finish("inventory", "k:b", Direction.COMPENSATION, epoch, {"epoch": epoch})
            assert enter("k:b", Direction.COMPENSATION, epoch) == barrier.Entry(is_done=True, result={"epoch": epoch})
        with pytest.raises(Fenced):
            enter("k:b", ACTION)
        transaction.set_rollback(True, using="inventory")


# --- external compensations that cannot close a key -----------------------------------------------------------------


def test_s4_settle_repeats_the_action_under_its_key_and_undoes_what_it_shows(world: World) -> None:
    world.closes_keys = False
    asked: list[Any] = []

    def undo(step: StepContext[Any], proceed: Callable[[], None]) -> None:
        asked.append((step.settle(), step.provider_key, step.key))
        proceed()

    saga = begin(define(a=world.compensatable(external=True), b=world.compensatable()))
    frozen = freeze(saga, "a", before_call=True)
    world.will("a", undo, direction=COMPENSATION)
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    saga = drain(lose_lease(saga))
    assert asked == [({"by": "a"}, f"{saga.pk}:a:compensate:0", f"{saga.pk}:a")]
    assert [(call.direction, call.provider_key) for call in world.calls] == [
        (COMPENSATION, f"{saga.pk}:a:compensate:0"),
        (ACTION, f"{saga.pk}:a"),
    ]
    assert (saga.state, world.count(saga, "a"), world.count(saga, "a", "undone")) == ("compensated", 1, 1)
    assert frozen.claimed is not None


def test_s4_settle_belongs_into_the_compensation_of_an_external_step(world: World) -> None:
    errors: list[str] = []

    def ask(step: StepContext[Any], _proceed: Callable[[], None]) -> None:
        try:
            step.settle()
        except Exception as error:
            errors.append(type(error).__name__)
            raise

    world.will("a", ask)
    world.will("b", ask)
    saga = begin(define(a=world.compensatable(), b=world.compensatable(external=True)))
    saga = drain(saga)
    assert (saga.state, errors) == ("completed", ["SagaError", "SagaError"])


VERIFY = timedelta(minutes=3)


@pytest.fixture(params=[None, "inventory"])
def verifying(request: pytest.FixtureRequest, world: World, inventory_apart: str) -> Callable[[], Saga]:
    """Start a saga whose provider can neither close a key nor be settled."""
    world.closes_keys = False

    def start() -> Saga:
        step = world.compensatable(request.param, external=True, verify_after=VERIFY)
        return begin(define(a=step, b=world.compensatable()))

    return start


def test_s4_an_unsettled_effect_is_looked_up_again_before_compensated_is_claimed(
    world: World, verifying: Callable[[], Saga]
) -> None:
    world.will("a", Broken("answer lost"), *[RetryLater()] * 4)
    saga = begin_and_fail(verifying())
    step = step_of(saga, "a")
    assert (saga.state, step.state, step.waiting_for) == ("compensating", "compensating", "answer")
    [looked] = attempts(saga, "a", COMPENSATION)
    assert step.due_at - looked.ended_at == VERIFY
    saga = drain(saga)
    assert (saga.state, world.called("a", COMPENSATION)) == ("compensated", 2)


def begin_and_fail(saga: Saga) -> Saga:
    """Advance until the first compensation has run."""
    for _ in range(20):
        saga = work(saga)
        if attempts(saga, "a", COMPENSATION):
            return saga
        pass_time(until_due=saga)
    raise AssertionError("the saga never turned back")


def test_s4_a_known_effect_is_undone_by_one_look(world: World, verifying: Callable[[], Saga]) -> None:
    world.will("b", Refused())
    saga = drain(verifying())
    assert (saga.state, world.called("a", COMPENSATION)) == ("compensated", 1)


def test_s4_an_effect_that_shows_during_the_look_takes_another(world: World, verifying: Callable[[], Saga]) -> None:
    saga = verifying()
    frozen = freeze(saga, "a", before_call=True)
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    pass_time(LEASE)

    def look(_step: StepContext[Any], proceed: Callable[[], None]) -> None:
        proceed()  # finds nothing
        frozen.thaw()  # and only then the frozen call arrives

    # With a database of its own the barrier fences the frozen call, and there is nothing to see.
    world.will("a", look, direction=COMPENSATION)
    saga = drain(saga)
    assert saga.state == "compensated"
    is_apart = SagaBarrier.objects.using("inventory").filter(key=f"{saga.pk}:a").exists()
    participant = "inventory" if is_apart else None
    done, undone = (world.count(saga, "a", what, participant=participant) for what in ("done", "undone"))
    assert done == undone == (0 if is_apart else 1)
