"""S6: steps of a group run in parallel, and the last of them starts what follows exactly once."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sagas import Misconfigured, OutcomeUnknown, Parallel, RetryLater, StepContext
from sagas.core.states import Outcome
from sagas.engine import advance
from sagas.engine.notify import wakeup_sending
from sagas.models import Saga
from sagas.operators import operations
from sagas.testing import drain, find_violations, outcomes_of, pass_time
from sagas.testing.drain import read

from .frozen import freeze
from .side_by_side import PATIENCE_SECONDS, run_side_by_side
from .world import ACTION, COMPENSATION, OPERATOR, REASON, Refused, World, begin, define, events, states, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)
ROUNDS = 20


def group_of(world: World, *names: str, **options: Any) -> Parallel:
    return Parallel(**{name: world.compensatable(**options) for name in names})


def meet_after_effect(meeting: threading.Barrier) -> Callable[..., None]:
    """Return a behaviour that ends once all participants of the meeting have run their part."""

    def run(_step: StepContext[Any], proceed: Callable[[], None]) -> None:
        proceed()
        meeting.wait(PATIENCE_SECONDS)

    return run


@pytest.mark.parametrize("external", [False, True])
def test_s6_steps_run_in_parallel_when_workers_are_free(world: World, external: bool) -> None:
    meet = threading.Barrier(2)

    def meet_the_other(_step: StepContext[Any], proceed: Callable[[], None]) -> None:
        meet.wait(PATIENCE_SECONDS)  # passes only while both run
        proceed()

    world.will("x", meet_the_other)
    world.will("y", meet_the_other)
    saga = world.begin(g=group_of(world, "x", "y", external=external), z=world.compensatable())
    counts = run_side_by_side([lambda: advance.advance(saga.pk), lambda: advance.advance(saga.pk)])
    saga = read(saga.pk)
    assert (saga.state, sum(counts)) == ("completed", 3)
    assert [world.count(saga, step) for step in "xyz"] == [1, 1, 1]


def test_s6_on_entry_one_step_is_claimed_and_the_others_are_woken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []
    monkeypatch.setattr(wakeup_sending, "send", lambda _saga_id, queue="": woken.append(queue))
    seen: list[tuple[dict[str, str], list[str]]] = []
    group = Parallel(x=world.compensatable(), y=world.compensatable(queue="slow"), z=world.compensatable())
    world.will("x", lambda _step, proceed: (seen.append((states(saga), list(woken))), proceed())[1])
    saga = world.begin(a=world.compensatable(), g=group)
    woken.clear()
    advance.advance(saga.pk)
    assert seen == [({"a": "succeeded", "x": "running", "y": "pending", "z": "pending"}, ["slow", "sagas"])]


def test_s6_the_rest_of_a_group_stays_due_at_once(world: World) -> None:
    saga = world.begin(g=group_of(world, "x", "y", external=True))
    freeze(saga, "x", before_call=True)
    found = read(saga.pk)
    assert found.due_at < step_of(saga, "x").lease_until - timedelta(seconds=20)
    freeze(saga, "y", before_call=True)
    found = read(saga.pk)
    assert found.due_at == min(step_of(saga, "x").lease_until, step_of(saga, "y").lease_until)


@pytest.mark.parametrize("external", [False, True])
def test_s6_the_last_two_finishing_together_start_the_next_exactly_once(world: World, external: bool) -> None:
    trip = define(g=group_of(world, "x", "y", external=external), z=world.compensatable(external=external))
    for _ in range(ROUNDS):
        saga = begin(trip)
        finish_together = meet_after_effect(threading.Barrier(2))
        world.will("x", finish_together)
        world.will("y", finish_together)
        run_side_by_side([lambda saga=saga: advance.advance(saga.pk)] * 2)
        found = read(saga.pk)
        assert (found.state, world.count(saga, "z")) == ("completed", 1)
        assert outcomes_of(saga.pk, "z") == [Outcome.SUCCEEDED]
        assert len(events(saga, "saga_completed")) == 1


def test_s6_the_last_two_compensations_finishing_together_continue_once(world: World) -> None:
    group = group_of(world, "x", "y", external=True)
    trip = define(a=world.compensatable(), g=group, z=world.compensatable())
    for _ in range(ROUNDS):
        saga = begin(trip)
        finish_together = meet_after_effect(threading.Barrier(2))
        world.will("z", Refused())
        advance.advance(saga.pk, should_stop=lambda: not world.plans["z", ACTION])
        assert read(saga.pk).state == "compensating"
        world.will("x", finish_together, direction=COMPENSATION)
        world.will("y", finish_together, direction=COMPENSATION)
        run_side_by_side([lambda saga=saga: advance.advance(saga.pk)] * 2)
        found = drain(saga)
        assert (found.state, world.count(saga, "a", "undone")) == ("compensated", 1)
        assert [world.count(saga, step, "undone") for step in "xy"] == [1, 1]


def test_s6_a_completed_group_may_contain_skipped_steps(world: World) -> None:
    saga = world.begin(g=group_of(world, "x", "y"), z=world.compensatable())
    operations.skip_step(saga.pk, actor=OPERATOR, reason=REASON, step="y")
    saga = work(saga)
    assert (saga.state, states(saga)) == ("completed", {"x": "succeeded", "y": "skipped", "z": "succeeded"})


def test_s6_the_first_definite_failure_compensates_in_the_same_write(world: World) -> None:
    saga = world.begin(a=world.compensatable(), g=group_of(world, "v", "w", "x", "y", "z", external=True))
    world.will("v", RetryLater(after=60))
    world.will("w", OutcomeUnknown())
    live = freeze(saga, "x")
    world.will("y", Refused("no"))
    saga = work(saga)
    assert saga.state == "compensating"
    assert states(saga) == {
        "a": "succeeded", "v": "waiting", "w": "unknown", "x": "running", "y": "refused", "z": "pending",
    }  # fmt: skip
    assert [step_of(saga, step).due_at for step in "vw"] == [None, None]
    refused, turned = (events(saga, what)[0] for what in ("step_refused", "saga_turned_back"))
    assert turned.number == refused.number + 1
    assert turned.at == refused.at
    # The live attempt is recorded first; only then compensation begins.
    assert world.order() == []
    live.thaw()
    saga = drain(saga)
    assert saga.state == "compensated"
    assert states(saga) == {
        "a": "compensated", "v": "waiting", "w": "compensated", "x": "compensated", "y": "refused", "z": "pending",
    }  # fmt: skip
    assert sorted(world.order()[:2]) == ["w", "x"]
    assert world.order()[2:] == ["a"]
    assert world.called("z") == 0


@pytest.mark.parametrize(
    ("ending", "state", "undone"),
    [
        (None, "compensated", 1),
        (Refused(), "refused", 0),
        (RetryLater(), "waiting", 0),
        (OutcomeUnknown(), "compensated", 1),
    ],
)
def test_s6_a_live_sibling_of_a_failure_is_recorded_and_not_retried(
    world: World, ending: Exception | None, state: str, undone: int
) -> None:
    saga = world.begin(g=group_of(world, "x", "y", external=True))
    world.will("x", ending)
    live = freeze(saga, "x")
    world.will("y", Refused())
    work(saga)
    live.thaw()
    saga = drain(saga)
    assert (saga.state, states(saga)["x"], world.called("x"), world.called("x", COMPENSATION)) == (
        "compensated",
        state,
        1,
        undone,
    )


def by_deadline(saga: Saga) -> None:
    pass_time(timedelta(seconds=20))


def by_cancel(saga: Saga) -> None:
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)


def by_force(saga: Saga) -> None:
    operations.force_compensate(saga.pk, actor=OPERATOR, reason=REASON)


@pytest.mark.parametrize(("turn", "kind"), [(by_deadline, "deadline"), (by_cancel, "cancel"), (by_force, "operator")])
def test_s6_an_abort_in_the_middle_of_a_group_claims_nothing_more(
    world: World, turn: Callable[[Saga], None], kind: str
) -> None:
    group = group_of(world, "w", "x", "y", "z", external=True)
    saga = world.begin(a=world.compensatable(), g=group, deadline=timedelta(seconds=15))
    world.will("w", RetryLater(after=600))
    world.will("x", OutcomeUnknown())
    live = freeze(saga, "y", before_call=True)
    turn(saga)
    saga = work(saga)
    assert (saga.state, saga.cause["kind"]) == ("compensating", kind)
    assert states(saga) == {"a": "succeeded", "w": "waiting", "x": "unknown", "y": "running", "z": "pending"}
    live.thaw()
    saga = drain(saga)
    assert saga.state == "compensated"
    assert states(saga) == {"a": "compensated", "w": "waiting", "x": "compensated", "y": "compensated", "z": "pending"}
    assert (world.called("w"), world.called("x"), world.called("z")) == (1, 1, 0)


def test_s6_a_held_sibling_does_not_stop_the_others(world: World) -> None:
    saga = world.begin(g=group_of(world, "x", "y"), z=world.compensatable())
    world.will("x", Misconfigured("no key"))
    saga = drain(saga)
    assert (states(saga), saga.state) == ({"x": "waiting", "y": "succeeded", "z": "pending"}, "running")
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    assert drain(saga).state == "completed"


def test_s6_a_deadline_beside_a_held_sibling_claims_nothing_more(world: World) -> None:
    group = group_of(world, "w", "x", "y", "z", external=True)
    saga = world.begin(g=group, deadline=timedelta(seconds=15))
    world.will("w", Misconfigured("no key"))
    world.will("x", RetryLater(after=600))
    live = freeze(saga, "y", before_call=True)
    by_deadline(saga)
    for seconds in (0, 60, 900):
        pass_time(timedelta(seconds=seconds))
        saga = work(saga)
        assert (saga.state, saga.abort_request, saga.attention) == ("running", "deadline", ["overdue"])
        assert find_violations(saga.pk) == []
    live.thaw()
    assert states(saga) == {"w": "waiting", "x": "waiting", "y": "succeeded", "z": "pending"}
    assert [world.called(name) for name in "wxyz"] == [1, 1, 1, 0]
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    saga = drain(saga)
    assert (saga.state, saga.cause["kind"]) == ("compensated", "deadline")
    assert states(saga) == {"w": "waiting", "x": "waiting", "y": "compensated", "z": "pending"}
    assert [world.called(name) for name in "wxyz"] == [1, 1, 1, 0]


def test_s6_a_group_after_the_pivot_ends_the_saga_once(world: World) -> None:
    group = Parallel(x=world.retriable(external=True), y=world.retriable(external=True))
    trip = define(p=world.pivot(), g=group)
    for _ in range(ROUNDS):
        saga = begin(trip)
        finish_together = meet_after_effect(threading.Barrier(2))
        world.will("x", finish_together)
        world.will("y", finish_together)
        advance.advance(saga.pk, should_stop=lambda saga=saga: world.count(saga, "p") > 0)
        run_side_by_side([lambda saga=saga: advance.advance(saga.pk)] * 2)
        assert read(saga.pk).state == "completed"
        assert len(events(saga, "saga_completed")) == 1


def test_s6_many_workers_run_each_step_once(world: World) -> None:
    group = group_of(world, "u", "v", "w", "x")
    trip = define(a=world.compensatable(), g=group, z=world.compensatable())
    for _ in range(5):
        saga = begin(trip)
        run_side_by_side([lambda saga=saga: advance.advance(saga.pk)] * 6)
        saga = drain(saga)
        assert saga.state == "completed"
        assert {name: world.count(saga, name) for name in states(saga)} == dict.fromkeys("auvwxz", 1)
