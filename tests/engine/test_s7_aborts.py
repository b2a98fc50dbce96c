"""S7: deadlines and cancels before, at and after the pivot, on held sagas and while compensating."""

from datetime import timedelta
from typing import Any

import pytest

from sagas import InProgress, Misconfigured, OperationRefused, OutcomeUnknown, RetryLater, RetryPolicy
from sagas.core.definition import registry
from sagas.core.states import Hold
from sagas.models import Saga
from sagas.operators import operations
from sagas.testing import drain, find_violations, pass_time
from sagas.testing.drain import read

from .frozen import freeze
from .world import COMPENSATION, EVIDENCE, OPERATOR, REASON, Refused, World, attempts, events, states, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__")
DEADLINE = timedelta(minutes=10)
BEYOND = DEADLINE + timedelta(seconds=1)


@pytest.fixture
def saga(world: World) -> Saga:
    """Start a saga with a deadline and an external pivot in the middle."""
    return world.begin(
        a=world.compensatable(external=True), p=world.pivot(external=True), r=world.retriable(), deadline=DEADLINE
    )


def cancel(saga: Saga) -> None:
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)


def let_deadline_pass(_saga: Saga) -> None:
    pass_time(BEYOND)


ABORTS = {"cancel": cancel, "deadline": let_deadline_pass}


@pytest.fixture(params=ABORTS)
def abort(request: pytest.FixtureRequest) -> Any:
    """Cancel the saga, or let its deadline pass."""
    return ABORTS[request.param]


def test_s7_before_the_first_claim_the_saga_compensates(world: World, saga: Saga, abort: Any) -> None:
    abort(saga)
    saga = work(saga)
    assert (saga.state, world.calls) == ("compensated", [])
    assert saga.cause["kind"] in ABORTS
    assert saga.abort_request is None


def test_s7_an_abort_ends_the_wait_for_a_retry(world: World, saga: Saga) -> None:
    world.will("a", RetryLater(after=500))
    work(saga)
    cancel(saga)
    assert read(saga.pk).state == "compensated"  # nothing had happened, so there is nothing to undo


def test_s7_a_retry_never_extends_the_deadline(world: World, saga: Saga) -> None:
    world.will("a", RetryLater(after=5000))
    saga = work(saga)
    assert saga.due_at == saga.deadline_at
    pass_time(until_due=saga)
    saga = work(saga)
    assert (saga.state, saga.cause["kind"], world.called("a")) == ("compensated", "deadline", 1)


def test_s7_a_live_step_finishes_first_and_is_undone(world: World, saga: Saga, abort: Any) -> None:
    frozen = freeze(saga, "a")
    if abort is cancel:
        cancel(saga)
    else:
        pass_time(BEYOND)
    frozen.thaw()
    saga = drain(saga)
    assert (saga.state, world.count(saga, "a", "undone"), world.called("p")) == ("compensated", 1, 0)


def test_s7_a_request_during_a_live_pivot_is_dropped_when_it_succeeds(world: World, saga: Saga, abort: Any) -> None:
    frozen = freeze(saga, "p")
    if abort is cancel:
        cancel(saga)
        saga.refresh_from_db()
        assert (saga.state, saga.abort_request) == ("running", "cancel")
    else:
        pass_time(BEYOND)
    frozen.thaw()
    saga.refresh_from_db()
    assert (saga.state, saga.abort_request, step_of(saga, "p").state) == ("running", None, "succeeded")
    if abort is cancel:
        [dropped] = events(saga, "abort_dropped")
        assert (dropped.from_state, dropped.reason) == ("cancel", "Too late: the pivot has succeeded.")
        assert saga.attention == []
    else:
        assert saga.attention == ["overdue"]
    saga = drain(saga)
    assert (saga.state, saga.attention, world.order()) == ("completed", [], [])


def test_s7_a_deadline_during_a_live_pivot_is_dropped_as_overdue(world: World, saga: Saga) -> None:
    saga.refresh_from_db()
    frozen = freeze(saga, "p")
    Saga.objects.filter(pk=saga.pk).update(deadline_at=saga.created_at)  # within the lease of the pivot
    saga = work(saga)
    assert (saga.state, saga.abort_request) == ("running", "deadline")
    frozen.thaw()
    saga.refresh_from_db()
    assert (saga.abort_request, saga.attention) == (None, ["overdue"])
    assert [row.from_state for row in events(saga, "abort_dropped")] == ["deadline"]


def test_s7_a_request_during_a_live_pivot_is_granted_when_it_is_refused(world: World, saga: Saga) -> None:
    world.will("p", Refused("declined"))
    frozen = freeze(saga, "p")
    cancel(saga)
    frozen.thaw()
    saga = drain(saga)
    assert (saga.state, saga.cause["kind"], saga.abort_request) == ("compensated", "refused", None)


def test_s7_a_request_during_a_live_pivot_is_granted_when_nothing_happened(world: World, saga: Saga) -> None:
    world.will("p", RetryLater())
    frozen = freeze(saga, "p")
    cancel(saga)
    frozen.thaw()
    saga = drain(saga)
    assert (saga.state, saga.cause["kind"], world.called("p")) == ("compensated", "cancel", 1)


@pytest.mark.parametrize("ending", [OutcomeUnknown(), InProgress(poll_after=1)])
def test_s7_an_unknown_pivot_is_still_retried(world: World, saga: Saga, abort: Any, ending: Exception) -> None:
    world.will("p", ending, ending)
    saga = work(saga)
    abort(saga)
    saga = work(saga)
    assert (saga.state, world.order()) == ("running", [])
    saga = drain(saga)
    assert (saga.state, world.count(saga, "p"), world.called("a", COMPENSATION)) == ("completed", 1, 0)


def test_s7_a_request_on_an_unknown_held_pivot_waits_for_the_operator(world: World, saga: Saga) -> None:
    world.will("p", *[OutcomeUnknown()] * 5)
    saga = drain(saga, patience=timedelta(minutes=5))
    assert step_of(saga, "p").hold == Hold.OUTCOME_UNKNOWN
    cancel(saga)
    saga = drain(saga, patience=timedelta(minutes=5))
    assert (saga.state, saga.abort_request, step_of(saga, "p").hold) == ("running", "cancel", Hold.OUTCOME_UNKNOWN)
    operations.mark_refused(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="p")
    saga = drain(saga)
    assert (saga.state, world.count(saga, "a", "undone")) == ("compensated", 1)


@pytest.mark.parametrize("wait", [OutcomeUnknown(), RetryLater()])
def test_s7_the_deadline_passes_while_the_pivot_waits(world: World, saga: Saga, wait: Exception) -> None:
    world.will("p", wait)
    work(saga)
    pass_time(BEYOND)
    saga = work(saga)
    happened = isinstance(wait, OutcomeUnknown)
    assert (saga.state, world.called("p")) == (("completed", 2) if happened else ("compensated", 1))


def test_s7_after_the_pivot_a_cancel_is_too_late(world: World, saga: Saga) -> None:
    world.will("r", RetryLater(after=60))
    saga = work(saga)
    with pytest.raises(OperationRefused, match="Too late"):
        cancel(saga)
    assert drain(saga).state == "completed"


def test_s7_after_the_pivot_a_passed_deadline_is_overdue_once(world: World, saga: Saga) -> None:
    world.will("r", *[RetryLater(after=100)] * 10)
    work(saga)
    pass_time(BEYOND)
    saga = work(saga)
    assert (saga.state, saga.attention, saga.abort_request) == ("running", ["overdue"], None)
    pass_time(until_due=saga)
    saga = work(saga)
    assert [row.to_state for row in events(saga, "attention_raised") if row.to_state == "overdue"] == ["overdue"]
    saga = drain(saga)
    assert (saga.state, saga.attention) == ("completed", [])
    assert events(saga, "attention_cleared")[-1].data["attention"][-1:] != []


def test_s7_a_deadline_is_noticed_although_nothing_else_is_due(world: World, saga: Saga) -> None:
    world.will("r", RetryLater(after=5000))
    saga = work(saga)
    assert saga.due_at == saga.deadline_at
    pass_time(until_due=saga)
    saga = work(saga)
    assert (saga.attention, saga.due_at) == (["overdue"], step_of(saga, "r").due_at)


@pytest.mark.parametrize("how", ["paused", "misconfigured"])
def test_s7_a_deadline_on_a_held_saga_is_overdue_and_remembered(world: World, saga: Saga, how: str) -> None:
    if how == "paused":
        operations.pause(saga.pk, actor=OPERATOR, reason=REASON)
    else:
        world.will("a", Misconfigured("no key"))
        work(saga)
    found = read(saga.pk)
    assert found.due_at == found.deadline_at
    pass_time(BEYOND)
    found = work(saga)
    assert (found.state, found.attention, found.abort_request, found.due_at) == (
        "pending" if how == "paused" else "running",
        ["overdue"],
        "deadline",
        None,
    )
    if how == "paused":
        operations.resume(saga.pk, actor=OPERATOR, reason=REASON)
    else:
        operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    found = drain(saga)
    assert (found.state, found.cause["kind"], found.attention) == ("compensated", "deadline", [])
    assert world.called("p") == 0


def test_s7_a_deadline_on_a_saga_without_definition_is_overdue_and_remembered(world: World, saga: Saga) -> None:
    definition = registry.get("trip", 1)
    registry.forget("trip", 1)
    pass_time(BEYOND)
    found = work(saga)
    assert (found.hold, found.attention, found.abort_request) == ("definition_missing", ["overdue"], "deadline")
    registry.register(definition)
    found = drain(saga)
    assert (found.state, found.cause["kind"]) == ("compensated", "deadline")


def test_s7_a_cancel_on_a_paused_saga_is_remembered(world: World, saga: Saga) -> None:
    operations.pause(saga.pk, actor=OPERATOR, reason=REASON)
    cancel(saga)
    found = drain(saga, patience=timedelta(minutes=5))
    assert (found.state, found.abort_request, found.hold) == ("pending", "cancel", Hold.PAUSED)
    operations.resume(saga.pk, actor=OPERATOR, reason=REASON)
    found = drain(saga)
    assert (found.state, found.cause["kind"], found.cause["actor"]) == ("compensated", "cancel", "ada")


def test_s7_an_abort_of_a_paused_saga_is_granted_although_its_last_step_has_ended(world: World, abort: Any) -> None:
    saga = world.begin(a=world.compensatable(external=True), deadline=DEADLINE)
    frozen = freeze(saga, "a")
    operations.pause(saga.pk, actor=OPERATOR, reason=REASON)
    abort(saga)
    work(saga)
    frozen.thaw()
    saga = read(saga.pk)
    assert (saga.state, saga.hold, states(saga)) == ("running", Hold.PAUSED, {"a": "succeeded"})
    assert saga.abort_request in ABORTS
    assert find_violations(saga.pk) == []
    operations.resume(saga.pk, actor=OPERATOR, reason=REASON)
    saga = drain(saga)
    assert (saga.state, saga.cause["kind"] in ABORTS, world.count(saga, "a", "undone")) == ("compensated", True, 1)


def test_s7_a_cancel_clears_the_holds_of_steps(world: World, saga: Saga) -> None:
    world.will("a", Misconfigured("no key"))
    work(saga)
    cancel(saga)
    found = drain(saga)
    assert (found.state, step_of(saga, "a").hold) == ("compensated", None)


def test_s7_a_cancel_on_a_paused_saga_with_a_held_step_takes_effect(world: World, saga: Saga) -> None:
    world.will("a", Misconfigured("no key"))
    work(saga)
    operations.pause(saga.pk, actor=OPERATOR, reason=REASON)
    cancel(saga)
    operations.resume(saga.pk, actor=OPERATOR, reason=REASON)
    assert drain(saga).state == "compensated"


def test_s7_a_cancel_replaces_the_deadline_as_reason_only_until_granted(world: World, saga: Saga) -> None:
    operations.pause(saga.pk, actor=OPERATOR, reason=REASON)
    pass_time(BEYOND)
    work(saga)
    cancel(saga)
    operations.resume(saga.pk, actor=OPERATOR, reason=REASON)
    found = drain(saga)
    assert (found.state, found.cause["kind"]) == ("compensated", "cancel")


def test_s7_a_deadline_never_runs_against_a_compensation(world: World, saga: Saga) -> None:
    world.will("a", RetryLater(after=500), direction=COMPENSATION)
    world.will("p", Refused())
    found = work(saga)
    assert (found.state, found.due_at) == ("compensating", step_of(saga, "a").due_at)
    pass_time(BEYOND)
    found = work(saga)
    assert (found.state, found.attention, found.cause["kind"]) == ("compensated", [], "refused")


def test_s7_a_saga_that_compensates_cannot_be_cancelled(world: World, saga: Saga) -> None:
    world.will("p", Refused())
    world.will("a", RetryLater(after=60), direction=COMPENSATION)
    work(saga)
    with pytest.raises(OperationRefused, match="already compensating"):
        cancel(saga)
    assert drain(saga).state == "compensated"


def test_s7_a_saga_without_pivot_can_be_cancelled_until_its_last_step(world: World) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable())
    world.will("b", RetryLater(after=60))
    work(saga)
    cancel(saga)
    found = drain(saga)
    assert (found.state, world.order()) == ("compensated", ["a"])


def test_s7_the_abort_names_actor_and_reason(world: World, saga: Saga) -> None:
    cancel(saga)
    [asked] = events(saga, "abort_requested")
    assert (asked.actor, asked.reason, asked.to_state) == ("ada", REASON, "cancel")
    found = read(saga.pk)
    assert found.cause == {"kind": "cancel", "actor": "ada", "reason": REASON, "at": found.cause["at"]}


def test_s7_a_budget_spent_by_the_pivot_beside_an_abort_compensates_once(world: World, saga: Saga) -> None:
    other = world.begin(
        "other", a=world.compensatable(), p=world.pivot(external=True, retry=RetryPolicy(attempts=1)), deadline=DEADLINE
    )
    world.will("p", RetryLater())
    frozen = freeze(other, "p")
    cancel(other)
    frozen.thaw()
    found = drain(other)
    assert (found.state, found.cause["kind"], len(events(other, "saga_turned_back"))) == (
        "compensated",
        "budget_spent",
        1,
    )
    assert len(attempts(other, "a", COMPENSATION)) == 1
    assert states(saga)["a"] == "pending"
