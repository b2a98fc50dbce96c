"""S3: compensation runs in reverse order, undoes what may have happened, and claims no unrecorded effect."""

from datetime import timedelta
from typing import Any

import pytest

from sagas import Compensatable, Misconfigured, OutcomeUnknown, Parallel, RetryLater, nothing_to_undo
from sagas.core.states import Direction, Effect, Hold
from sagas.operators import operations
from sagas.testing import drain, effect_of, faults, pass_time

from .frozen import freeze
from .world import COMPENSATION, OPERATOR, REASON, Broken, CannotUndo, Refused, World, attempts, states, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__")


def test_s3_steps_are_undone_in_reverse_order(world: World) -> None:
    world.will("e", Refused("sold out"))
    saga = world.begin(
        a=Compensatable(compensation=world.compensation()),
        b=world.compensatable(),
        c=world.compensatable(external=True),
        d=world.compensatable("inventory"),
        e=world.compensatable(),
        f=world.compensatable(),
    )
    saga = drain(saga)
    assert saga.state == "compensated"
    assert world.order() == ["d", "c", "b", "a"]
    assert states(saga) == {**dict.fromkeys("abcd", "compensated"), "e": "refused", "f": "pending"}
    assert saga.cause["step"] == "e"
    assert saga.cause["message"] == "sold out"


def test_s3_steps_of_a_group_are_undone_before_what_came_before_them(world: World) -> None:
    world.will("d", Refused())
    group = Parallel(b=world.compensatable(), c=world.compensatable())
    saga = drain(world.begin(a=world.compensatable(), g=group, d=world.compensatable()))
    assert sorted(world.order()[:2]) == ["b", "c"]
    assert world.order()[2:] == ["a"]
    assert saga.state == "compensated"


def test_s3_steps_of_a_group_are_undone_in_parallel(world: World) -> None:
    world.will("d", Refused())
    group = Parallel(b=world.compensatable(external=True), c=world.compensatable(external=True))
    saga = world.begin(a=world.compensatable(), g=group, d=world.compensatable())
    first = freeze(saga, "b", compensation=True, before_call=True)
    second = freeze(saga, "c", compensation=True, before_call=True)
    assert states(saga) == {"a": "succeeded", "b": "compensating", "c": "compensating", "d": "refused"}
    work(saga)
    assert world.called("a", COMPENSATION) == 0
    first.thaw()
    work(saga)
    assert world.called("a", COMPENSATION) == 0
    second.thaw()
    saga = drain(saga)
    assert (saga.state, world.order()) == ("compensated", ["b", "c", "a"])


@pytest.mark.parametrize("is_lost", [True, False])
def test_s3_the_first_compensation_waits_for_the_last_live_attempt(world: World, is_lost: bool) -> None:
    group = Parallel(b=world.compensatable(external=True), c=world.compensatable(external=True))
    saga = world.begin(a=world.compensatable(), g=group)
    frozen = freeze(saga, "b")
    world.will("c", Refused())
    saga = work(saga)
    assert (saga.state, states(saga)["b"], world.order()) == ("compensating", "running", [])
    assert saga.due_at == step_of(saga, "b").lease_until
    if is_lost:
        pass_time(until_due=saga)
        work(saga)
    else:
        frozen.thaw()
        work(saga)
    assert world.order() == ["b", "a"]


def test_s3_an_unknown_step_is_undone_too(world: World) -> None:
    world.will("b", *[Broken()] * 5)
    saga = drain(world.begin(a=world.compensatable(), b=world.compensatable(external=True)))
    assert (saga.state, world.order()) == ("compensated", ["b", "a"])
    assert effect_of(saga.pk, "b") is Effect.REMOVED


def test_s3_a_step_without_effect_is_not_compensated(world: World) -> None:
    world.will("b", *[RetryLater()] * 5)
    saga = drain(world.begin(a=world.compensatable(), b=world.compensatable(external=True)))
    assert (saga.state, world.order()) == ("compensated", ["a"])
    assert effect_of(saga.pk, "b") is Effect.NONE


@pytest.mark.parametrize(("settles", "undone"), [(False, 1), (True, 0)])
def test_s3_a_refusal_after_an_unsettled_attempt_settles_only_the_whole_key(
    world: World, settles: bool, undone: int
) -> None:
    world.will("b", OutcomeUnknown(), Refused())
    step = world.compensatable(external=True, refusal_settles=settles)
    saga = drain(world.begin(a=world.compensatable(), b=step))
    assert (saga.state, world.called("b", COMPENSATION)) == ("compensated", undone)
    assert states(saga)["b"] == ("compensated" if undone else "refused")


@pytest.mark.parametrize("participant", [None, "inventory"])
def test_s3_a_first_refusal_needs_no_compensation(world: World, inventory_alias: str, participant: str | None) -> None:
    world.will("b", Refused())
    saga = drain(world.begin(a=world.compensatable(), b=world.compensatable(participant)))
    assert (saga.state, world.called("b", COMPENSATION), states(saga)["b"]) == ("compensated", 0, "refused")


def test_s3_a_compensation_works_without_the_result_of_the_action(world: World) -> None:
    world.will("b", *[Broken()] * 5)
    drain(world.begin(a=world.compensatable(), b=world.compensatable(external=True)))
    [call] = [call for call in world.calls if call.step == "b" and call.direction is COMPENSATION]
    assert "b" not in call.results
    assert call.provider_key.endswith(":b:compensate:0")


def test_s3_a_refused_compensation_is_held_at_once_with_both_errors(world: World) -> None:
    world.will("b", CannotUndo("already flown"), direction=COMPENSATION)
    world.will("c", Refused("no seat"))
    saga = drain(world.begin(a=world.compensatable(), b=world.compensatable(), c=world.compensatable()))
    step = step_of(saga, "b")
    assert (saga.state, step.state, step.hold, saga.due_at) == (
        "compensating",
        "compensating",
        Hold.COMPENSATION_REFUSED,
        None,
    )
    assert world.called("a", COMPENSATION) == 0  # I5
    assert saga.cause["message"] == "no seat"
    assert step.last_error.endswith("already flown")
    assert [row.message for row in attempts(saga, "b", COMPENSATION)] == ["already flown"]
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    saga = drain(saga)
    assert (saga.state, saga.cause["message"]) == ("compensated", "no seat")


def test_s3_the_cause_is_the_first_failure_and_never_overwritten(world: World) -> None:
    group = Parallel(b=world.compensatable(external=True), c=world.compensatable())
    saga = world.begin(a=world.compensatable(), g=group)
    world.will("b", Refused("second"))
    frozen = freeze(saga, "b")
    world.will("c", Refused("first"))
    work(saga)
    frozen.thaw()
    saga = drain(saga)
    assert (saga.state, saga.cause["message"], saga.cause["step"]) == ("compensated", "first", "c")
    assert saga.history.filter(what="saga_turned_back").count() == 1


def test_s3_a_misconfigured_compensation_continues_after_an_operator_fixed_it(world: World) -> None:
    world.will("a", Misconfigured("no key"), direction=COMPENSATION)
    world.will("b", Refused())
    saga = drain(world.begin(a=world.compensatable(), b=world.compensatable()))
    assert (saga.state, step_of(saga, "a").hold) == ("compensating", Hold.MISCONFIGURED)
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON, step="a")
    assert drain(saga).state == "compensated"


def test_s3_every_function_may_run_twice(world: World) -> None:
    world.will("c", Refused(), Refused())
    external = {"external": True}
    saga = world.begin(a=world.compensatable(**external), b=world.compensatable(**external), c=world.compensatable())
    with faults() as fault:
        fault.run_twice()
        saga = drain(saga)
    assert (saga.state, world.count(saga, "a"), world.count(saga, "a", "undone")) == ("compensated", 1, 1)
    assert world.called("a") == world.called("a", COMPENSATION) == 2


def test_s3_nothing_to_undo_is_a_valid_compensation(world: World) -> None:
    world.will("b", Refused())
    saga = drain(world.begin(a=Compensatable(world.action(), nothing_to_undo), b=world.compensatable()))
    assert (saga.state, states(saga)["a"]) == ("compensated", "compensated")


SHAPES: dict[str, Any] = {
    "one step": lambda w: {"a": w.compensatable()},
    "only steps done with the start": lambda w: {
        "a": Compensatable(compensation=w.compensation()),
        "b": Compensatable(compensation=w.compensation()),
    },
    "a group first": lambda w: {"g": Parallel(a=w.compensatable(), b=w.compensatable()), "c": w.compensatable()},
    "a group last": lambda w: {"c": w.compensatable(), "g": Parallel(a=w.compensatable(), b=w.compensatable())},
    "nothing but a group": lambda w: {"g": Parallel(a=w.compensatable(), b=w.compensatable())},
    "two groups": lambda w: {
        "g": Parallel(a=w.compensatable(), b=w.compensatable()),
        "h": Parallel(c=w.compensatable(), d=w.compensatable()),
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_completes(world: World, shape: str) -> None:
    saga = world.begin(**SHAPES[shape](world))
    saga = work(saga)
    assert saga.state == "completed"
    assert set(states(saga).values()) == {"succeeded"}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_can_be_cancelled_before_its_first_claim(world: World, shape: str) -> None:
    saga = world.begin(**SHAPES[shape](world))
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    saga = drain(saga)
    done_with_start = 2 if shape == "only steps done with the start" else 0
    assert (saga.state, len(world.order())) == ("compensated", done_with_start)
    assert world.order(Direction.ACTION) == []


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("failing", ["a", "b", "c", "d"])
def test_every_shape_compensates_wherever_it_fails(world: World, shape: str, failing: str) -> None:
    saga = world.begin(**SHAPES[shape](world))
    world.will(failing, Refused())
    saga = drain(saga)
    names = set(states(saga))
    is_reached = failing in names and shape != "only steps done with the start"
    assert saga.state == ("compensated" if is_reached else "completed")
    done = {name for name in names if world.count(saga, name) == 1}
    if is_reached:
        assert {name for name in names if world.count(saga, name, "undone") == 1} == done


def test_s3_compensation_waits_for_a_live_attempt(world: World) -> None:
    saga = world.begin(a=world.compensatable(external=True), b=world.compensatable())
    freeze(saga, "a", before_call=True)
    operations.force_compensate(saga.pk, actor=OPERATOR, reason=REASON)
    saga.refresh_from_db()
    assert (saga.state, saga.cause["kind"], saga.closed_at) == ("compensating", "operator", None)
    pass_time(timedelta(seconds=31))
    saga = work(saga)
    assert (saga.state, world.called("a", COMPENSATION)) == ("compensated", 1)
