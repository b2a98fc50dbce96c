"""S5: the pivot decides once, and the steps after it must succeed in the end."""

from datetime import timedelta

import pytest

from sagas import Fenced, OperationRefused, OutcomeUnknown, RetryLater, clock
from sagas.core.states import Hold
from sagas.engine import advance
from sagas.models import Saga, SagaHistory
from sagas.operators import operations
from sagas.testing import drain, pass_time
from sagas.testing.drain import read

from .world import COMPENSATION, EVIDENCE, OPERATOR, REASON, Refused, World, attempts, events, states, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture
def saga(world: World) -> Saga:
    """Start a saga with an external pivot between a compensatable and a retriable step."""
    return world.begin(
        a=world.compensatable(), p=world.pivot(external=True), r=world.retriable(), deadline=timedelta(minutes=10)
    )


@pytest.fixture
def before_pivot(world: World, saga: Saga) -> Saga:
    """Advance the saga until right before the pivot is claimed."""
    advance.advance(saga.pk, should_stop=lambda: world.called("a") > 0)
    found = read(saga.pk)
    assert states(found) == {"a": "succeeded", "p": "pending", "r": "pending"}
    return found


def test_s5_the_pivot_is_claimed_when_nothing_prevents_it(world: World, before_pivot: Saga) -> None:
    saga = work(before_pivot)
    assert (saga.state, world.called("p")) == ("completed", 1)
    assert saga.pivot_passed_at == attempts(saga, "p")[0].ended_at
    assert len(events(saga, "pivot_passed")) == 1


def test_s5_the_pivot_is_not_claimed_on_a_held_saga(world: World, before_pivot: Saga) -> None:
    operations.pause(before_pivot.pk, actor=OPERATOR, reason=REASON)
    saga = drain(before_pivot, patience=timedelta(minutes=5))
    assert (saga.state, world.called("p")) == ("running", 0)


def test_s5_the_pivot_is_not_claimed_after_an_abort_request(world: World, before_pivot: Saga) -> None:
    operations.pause(before_pivot.pk, actor=OPERATOR, reason=REASON)
    operations.cancel(before_pivot.pk, actor=OPERATOR, reason=REASON)
    operations.resume(before_pivot.pk, actor=OPERATOR, reason=REASON)
    saga = drain(before_pivot)
    assert (saga.state, world.called("p"), saga.cause["kind"]) == ("compensated", 0, "cancel")


@pytest.mark.parametrize(("seconds", "called"), [(-60, 1), (0, 0), (60, 0)])
def test_s5_the_pivot_is_claimed_only_before_the_deadline(
    world: World, before_pivot: Saga, seconds: int, called: int
) -> None:
    ahead = before_pivot.deadline_at - clock.read_now("default") + timedelta(seconds=seconds)
    pass_time(ahead)
    saga = work(before_pivot)
    assert (saga.state, world.called("p")) == ("completed" if called else "compensated", called)


def test_s5_a_refused_pivot_compensates(world: World, saga: Saga) -> None:
    world.will("p", Refused("declined"))
    saga = drain(saga)
    assert (saga.state, states(saga)) == ("compensated", {"a": "compensated", "p": "refused", "r": "pending"})
    assert (saga.cause["step"], saga.pivot_passed_at) == ("p", None)


def test_s5_an_unknown_pivot_blocks_both_directions(world: World, saga: Saga) -> None:
    world.will("p", OutcomeUnknown(), OutcomeUnknown())
    for _ in range(2):
        saga = work(saga)
        assert (states(saga), saga.state) == ({"a": "succeeded", "p": "unknown", "r": "pending"}, "running")
        pass_time(until_due=saga)
    saga = drain(saga)
    assert (saga.state, world.count(saga, "p")) == ("completed", 1)


def test_s5_a_pivot_refused_after_unknown_is_held(world: World, saga: Saga) -> None:
    world.will("p", OutcomeUnknown(), Refused())
    saga = drain(saga)
    step = step_of(saga, "p")
    assert (step.state, step.hold) == ("unknown", Hold.OUTCOME_UNKNOWN)
    assert world.called("a", COMPENSATION) == 0


def test_s5_a_pivot_refused_for_its_whole_key_compensates(world: World) -> None:
    world.will("p", OutcomeUnknown(), Refused())
    saga = drain(world.begin(a=world.compensatable(), p=world.pivot(external=True, refusal_settles=True)))
    assert (saga.state, states(saga)["p"]) == ("compensated", "refused")


def test_s5_a_fenced_pivot_is_held(world: World, saga: Saga) -> None:
    world.will("p", Fenced("tombstone"))
    saga = drain(saga, patience=timedelta(minutes=5))
    assert (saga.state, step_of(saga, "p").hold) == ("running", Hold.CONTRACT_VIOLATION)


def test_s5_nothing_is_compensated_after_the_pivot(world: World, saga: Saga) -> None:
    world.will("r", *[RetryLater(after=60)] * 30)
    saga = drain(saga)
    assert (saga.state, world.called("r"), world.order()) == ("completed", 31, [])


def test_s5_a_retriable_step_that_refuses_is_held_as_a_contract_violation(world: World) -> None:
    world.will("r", Refused("never"))
    saga = drain(world.begin(p=world.pivot(), r=world.retriable(refuses_on=[Refused]), s=world.retriable()))
    step = step_of(saga, "r")
    assert (saga.state, step.state, step.hold, saga.due_at) == ("running", "refused", Hold.CONTRACT_VIOLATION, None)
    assert world.called("s") == 0


def test_s5_a_retriable_step_that_refuses_undeclared_is_retried(world: World) -> None:
    world.will("r", Refused("for now"))
    saga = drain(world.begin(p=world.pivot(), r=world.retriable()))
    assert (saga.state, world.called("r")) == ("completed", 2)


def violated(world: World) -> Saga:
    world.will("r", Refused("never"))
    return drain(world.begin(p=world.pivot(), r=world.retriable(refuses_on=[Refused]), s=world.retriable()))


def transitions_of(saga: Saga, step: str) -> list[str]:
    """Return the transitions of a step in its history; each begins where the one before ended."""
    rows = SagaHistory.objects.filter(saga_id=saga.pk, step=step).exclude(what__in=("held", "hold_cleared"))
    rows = rows.exclude(what="operator_acted").order_by("number")
    return [f"{row.from_state} > {row.to_state}" for row in rows]


def test_s5_a_contract_violation_can_be_skipped_with_a_result(world: World) -> None:
    saga = violated(world)
    operations.skip_step(saga.pk, actor=OPERATOR, reason=REASON, step="r", result={"by": "hand"})
    saga = drain(saga)
    assert (saga.state, states(saga)) == ("completed", {"p": "succeeded", "r": "skipped", "s": "succeeded"})
    [call] = [call for call in world.calls if call.step == "s"]
    assert call.results["r"] == {"by": "hand"}


def test_s5_a_contract_violation_can_be_retried_once_fixed(world: World) -> None:
    saga = violated(world)
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON, step="r")
    saga = drain(saga)
    assert (saga.state, world.count(saga, "r")) == ("completed", 1)
    assert transitions_of(saga, "r") == [
        "pending > running", "running > refused", "refused > waiting", "waiting > running", "running > succeeded",
    ]  # fmt: skip


def test_s5_a_contract_violation_can_be_marked_succeeded_but_not_refused_again(world: World) -> None:
    saga = violated(world)
    with pytest.raises(OperationRefused):
        operations.mark_refused(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="r")
    operations.mark_succeeded(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="r")
    saga = drain(saga)
    assert (saga.state, world.called("r")) == ("completed", 1)
    assert transitions_of(saga, "r") == [
        "pending > running", "running > refused", "refused > waiting", "waiting > succeeded",
    ]  # fmt: skip
