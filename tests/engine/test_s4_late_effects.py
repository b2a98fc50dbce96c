"""S4: late answers, received after the worker lost its lease."""

from datetime import timedelta

import pytest

from sagas import OperationRefused, OutcomeUnknown, RetryLater
from sagas.core.states import Effect, Hold, Outcome
from sagas.exceptions import Fenced
from sagas.models import Saga
from sagas.operators import operations
from sagas.testing import drain, effect_of, find_violations, outcomes_of, pass_time

from .frozen import LEASE, freeze, lose_lease
from .world import COMPENSATION, EVIDENCE, OPERATOR, REASON, Broken, Refused, World, events, states, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture
def saga(world: World) -> Saga:
    """Start a saga whose second step is external."""
    return world.begin(a=world.compensatable(), b=world.compensatable(external=True), c=world.compensatable())


def test_s4_late_success_of_an_unknown_step_makes_it_succeeded(world: World, saga: Saga) -> None:
    frozen = freeze(saga, "b")
    lose_lease(saga)
    assert (states(saga)["b"], outcomes_of(saga.pk, "b")) == ("unknown", [Outcome.UNKNOWN])

    frozen.thaw()

    step = step_of(saga, "b")
    assert (step.state, step.result, step.due_at, step.last_error) == ("succeeded", {"by": "b"}, None, "")
    assert outcomes_of(saga.pk, "b") == [Outcome.SUCCEEDED]
    assert [row.step for row in events(saga, "late_answer")] == ["b"]
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


def test_s4_late_refusal_of_an_unknown_step_compensates_the_saga(world: World, saga: Saga) -> None:
    world.will("b", Refused("late no"))
    frozen = freeze(saga, "b")
    lose_lease(saga)
    frozen.thaw()
    saga = drain(saga)
    assert states(saga) == {"a": "compensated", "b": "refused", "c": "pending"}
    assert saga.cause["kind"] == "refused"
    assert world.called("b", COMPENSATION) == 0


def test_s4_late_success_leaves_the_decision_to_a_live_attempt(world: World, saga: Saga) -> None:
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
    before = len(events(saga))
    frozen.thaw()
    saga.refresh_from_db()
    assert (saga.state, states(saga)["b"], saga.attention) == ("compensating", "compensating", [])
    assert [row.what for row in events(saga)[before:]] == ["late_answer"]
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
    assert [row.data for row in events(saga, "attention_cleared")] == [{"attention": ["late_effect"]}]
    assert world.called("a", COMPENSATION) == 1  # compensated steps stay compensated


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


def test_s4_late_success_of_an_abandoned_saga_is_added_to_its_remaining_effects(world: World, saga: Saga) -> None:
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
def test_s4_late_unknown_answer_changes_nothing(world: World, saga: Saga, error: Exception) -> None:
    world.will("b", error)
    frozen = freeze(saga, "b")
    lose_lease(saga)
    before = len(events(saga))
    frozen.thaw()
    assert (states(saga)["b"], outcomes_of(saga.pk, "b"), len(events(saga))) == ("unknown", [Outcome.UNKNOWN], before)
    assert drain(saga).state == "completed"


def test_s4_late_fenced_answer_is_kept_for_the_audit_only(world: World, saga: Saga) -> None:
    world.will("b", Fenced("tombstone"))
    frozen = freeze(saga, "b")
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    saga = drain(lose_lease(saga))
    frozen.thaw()
    saga.refresh_from_db()
    assert (saga.state, outcomes_of(saga.pk, "b")) == ("compensated", [Outcome.FENCED])
    assert len(events(saga, "late_answer")) == 1


def test_s4_late_unstorable_result_still_counts_as_an_effect(world: World, saga: Saga) -> None:
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
    return world.begin(a=world.compensatable(), p=world.pivot(external=True), r=world.retriable())


def test_s4_late_success_of_a_held_pivot_continues_the_saga(world: World, pivotal: Saga) -> None:
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
def test_s4_late_success_of_a_pivot_marked_refused_is_held(world: World, pivotal: Saga, is_closed: bool) -> None:
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
    assert (saga.state, world.called("a", COMPENSATION)) == ("compensating", done)  # an operator must decide now
    assert world.called("p", COMPENSATION) == 0

    with pytest.raises(OperationRefused):
        operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON, step="p")
    with pytest.raises(OperationRefused):
        operations.mark_succeeded(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="p")
    mark_refused(saga, "p")  # "I gave the money back by hand"
    saga = drain(saga)
    assert (saga.state, world.count(saga, "a", "undone")) == ("compensated", 1)


def test_s4_a_compensation_live_during_a_late_pivot_success_is_watched(world: World) -> None:
    saga = world.begin(a=world.compensatable(external=True), p=world.pivot(external=True))
    frozen = freeze(saga, "p", before_call=True)
    lose_lease(saga)
    mark_refused(saga, "p")
    freeze(saga, "a", before_call=True, compensation=True)
    frozen.thaw()
    saga.refresh_from_db()
    assert step_of(saga, "p").hold == Hold.CONTRACT_VIOLATION
    assert saga.due_at == step_of(saga, "a").lease_until
    assert find_violations(saga.pk) == []  # correct when it was claimed, so not a compensation out of order
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
    assert [row.data["attention"] for row in events(saga, "attention_cleared")] == [["late_effect"]]
