"""S11: dead workers, broken connections and lost answers at every boundary; the saga still ends correctly.

Enumerated, never sampled: the number of boundaries is what one undisturbed run crosses.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction

from sagas import Compensatable, StepContext, transactions
from sagas.core.states import Direction
from sagas.engine import advance
from sagas.models import Saga, SagaAttempt, SagaStep
from sagas.testing import drain, faults, outcomes_of
from sagas.testing.drain import read

from .boundaries import AFTER_COMMIT, BEFORE_COMMIT, count_boundaries, cut_at, kill_at
from .world import COMPENSATION, Refused, World, begin, define

pytestmark = [pytest.mark.django_db(databases="__all__", transaction=True), pytest.mark.usefixtures("inventory_alias")]
PLACES = {"done": None, "local": None, "apart": "inventory", "external": None, "apart_external": "inventory"}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advance, "RECORD_PAUSE_SECONDS", 0)


def start_forward(world: World) -> Saga:
    """Start a saga with a step of every kind and place."""
    return world.begin(
        local=world.compensatable(),
        apart=world.compensatable("inventory"),
        apart_external=world.compensatable("inventory", external=True),
        pivot=world.pivot(external=True),
        after=world.retriable(),
    )


def start_backward(world: World) -> Saga:
    """Start a saga whose last step is refused, so that it compensates."""
    world.plans.clear()
    world.will("last", *[Refused("no")] * 20)
    trip = define(
        done=Compensatable(compensation=world.compensation()),
        apart=world.compensatable("inventory"),
        apart_external=world.compensatable("inventory", external=True),
        last=world.compensatable(),
    )
    with transaction.atomic():
        saga = begin(trip)
        world.put(f"{saga.pk}:done")  # done by the caller together with the start
    return saga


def start_everywhere(world: World) -> Saga:
    """Start a saga with a step in every place, whose last step is refused."""
    world.will("last", Refused("no"))
    return world.begin(
        local=world.compensatable(),
        apart=world.compensatable("inventory"),
        external=world.compensatable(external=True),
        apart_external=world.compensatable("inventory", external=True),
        last=world.compensatable(),
    )


STARTS = {"forward": start_forward, "back": start_backward}
FORWARD_OR_BACK = pytest.mark.parametrize("way", ["forward", pytest.param("back", marks=pytest.mark.full)])


def assert_ended_right(world: World, saga: Saga, way: str, where: str) -> None:
    """Check that every effect happened once and, if compensating, was undone."""
    names = set(SagaStep.objects.filter(saga_id=saga.pk).values_list("name", flat=True))
    found = {}
    for step, participant in PLACES.items():
        if step not in names:
            continue
        counts = (world.count(saga, step, what, participant=participant) for what in ("done", "undone"))
        found[step] = tuple(counts)
    if way == "forward":
        found["pivot"] = (world.count(saga, "pivot"), 0)
        found["after"] = (world.count(saga, "after"), 0)
    expected = (1, 0) if way == "forward" else (1, 1)
    assert saga.state == ("completed" if way == "forward" else "compensated"), where
    assert found == dict.fromkeys(found, expected), where


def drain_through(saga: Saga) -> Saga:
    """Drain in a separate process."""
    connections.close_all()
    return drain(saga)


@FORWARD_OR_BACK
def test_s11_a_worker_killed_at_any_boundary_leaves_a_correct_saga(world: World, way: str) -> None:
    saga = STARTS[way](world)
    boundaries = count_boundaries(lambda: advance.advance(saga.pk))
    print(f"{way}: {len(boundaries)} boundaries")  # noqa: T201
    for number, kind in enumerate(boundaries):
        saga = STARTS[way](world)
        where = f"killed at {number}, {kind}"
        assert kill_at(number, lambda saga=saga: advance.advance(saga.pk)), where
        assert_ended_right(world, drain(saga), way, where)


@FORWARD_OR_BACK
def test_s11_a_connection_cut_at_any_boundary_leaves_a_correct_saga(world: World, way: str) -> None:
    saga = STARTS[way](world)
    boundaries = count_boundaries(lambda: advance.advance(saga.pk))
    print(f"{way}: {len(boundaries)} boundaries")  # noqa: T201
    for number, kind in enumerate(boundaries):
        saga = STARTS[way](world)
        is_reached = cut_at(number, lambda saga=saga: advance.advance(saga.pk))
        where = f"cut at {number}, {kind}"
        assert is_reached, where
        assert_ended_right(world, drain_through(saga), way, where)


@pytest.mark.parametrize("kind", [BEFORE_COMMIT, AFTER_COMMIT])
def test_s11_an_unanswered_commit_is_looked_up_and_not_blindly_repeated(world: World, kind: str) -> None:
    trip = define(a=world.compensatable(), b=world.compensatable(), c=world.compensatable())
    saga = begin(trip)
    kinds = count_boundaries(lambda: advance.advance(saga.pk))
    commits = [number for number, found in enumerate(kinds) if found == kind]
    assert len(commits) == 4  # the claim, and three records that also claim the next step or close the saga
    for number in commits[1:]:
        saga = begin(trip)
        assert cut_at(number, lambda saga=saga: advance.advance(saga.pk))
        # The same worker continued to the end without waiting for a lease.
        assert read(saga.pk).state == ("completed" if kind == AFTER_COMMIT else "running"), number
        saga = drain_through(saga)
        assert (saga.state, [world.count(saga, step) for step in "abc"]) == ("completed", [1, 1, 1])
        lost = [outcomes_of(saga.pk, step) for step in "abc"]
        retried = sum(len(outcomes) - 1 for outcomes in lost)
        assert retried == (0 if kind == AFTER_COMMIT else 1), lost


@pytest.mark.parametrize("kind", [BEFORE_COMMIT, AFTER_COMMIT])
@pytest.mark.parametrize("is_local", [True, False])
def test_s11_nothing_is_called_before_its_claim_is_committed(world: World, kind: str, is_local: bool) -> None:
    unclaimed: list[str] = []

    def check(step: StepContext[Any], proceed: Callable[[], None]) -> None:
        live = SagaAttempt.objects.filter(saga_id=step.saga_id, step__name=step.step, ended_at=None)
        if not live.exists():
            unclaimed.append(step.step)
        proceed()

    trip = define(a=world.compensatable(external=not is_local), b=world.compensatable(external=True))

    def begin_watched() -> Saga:
        world.plans.clear()
        world.will("a", check, check)
        world.will("b", check, check)
        return begin(trip)

    # Watched here too: the check sends a statement, which would shift every later boundary.
    saga = begin_watched()
    kinds = count_boundaries(lambda: advance.advance(saga.pk))
    for number in [number for number, found in enumerate(kinds) if found == kind]:
        saga = begin_watched()
        assert cut_at(number, lambda saga=saga: advance.advance(saga.pk))
        saga = drain_through(saga)
        assert (saga.state, world.count(saga, "b"), unclaimed) == ("completed", 1, [])


def test_s11_a_start_that_never_commits_leaves_nothing(world: World) -> None:
    trip = define(a=world.compensatable())
    kinds = count_boundaries(lambda: begin(trip))
    before = Saga.objects.count()
    last = len(kinds) - 1
    assert kinds[last] == AFTER_COMMIT
    for number in range(last):
        assert kill_at(number, lambda: begin(trip))
        assert (Saga.objects.count(), SagaStep.objects.exclude(saga__in=Saga.objects.all()).count()) == (before, 0)


def test_s11_a_start_killed_after_its_commit_is_due_for_the_sweep(world: World) -> None:
    trip = define(a=world.compensatable())
    last = len(count_boundaries(lambda: begin(trip))) - 1
    known = set(Saga.objects.values_list("pk", flat=True))
    assert kill_at(last, lambda: begin(trip))
    [saga] = Saga.objects.exclude(pk__in=known)
    assert (saga.state, saga.due_at is not None) == ("pending", True)
    assert drain(saga).state == "completed"


CRASHES: dict[str, tuple[str, Direction, str]] = {
    f"{when} the {direction.value} of {step}": (step, direction, when)
    for step in ("local", "apart", "external", "apart_external")
    for direction in Direction
    for when in ("before", "after")
}


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("case", CRASHES)
def test_s11_a_crash_around_a_step_is_survived(world: World, case: str, times: int) -> None:
    step, direction, when = CRASHES[case]
    saga = start_everywhere(world)
    with faults() as fault:
        plant: Callable[..., None] = fault.crash_before if when == "before" else fault.crash_after
        plant(step, direction=direction, times=times)
        saga = drain(saga)
    assert_ended_right(world, saga, "back", case)
    found = outcomes_of(saga.pk, step, direction)
    assert len(found) == times + 1
    is_joined = step == "local"
    assert {str(outcome) for outcome in found[:-1]} == {"retry" if is_joined else "unknown"}


def test_s11_a_step_that_kills_every_worker_is_given_up(world: World) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable(external=True))
    other = world.begin("other", a=world.compensatable())
    with faults() as fault:
        fault.crash_before("b", times=5)
        saga = drain(saga)
    assert (saga.state, world.called("b"), len(outcomes_of(saga.pk, "b"))) == ("compensated", 0, 5)
    assert world.called("b", COMPENSATION) == 1
    assert drain(other).state == "completed"


def test_s11_nothing_is_recorded_when_the_database_stays_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    saga = world.begin(a=world.compensatable(external=True), b=world.compensatable())
    real = transactions.own_transaction

    def away(*arguments: object, **options: object) -> object:
        if world.called("a"):
            raise OperationalError("no route to the server")
        return real(*arguments, **options)

    monkeypatch.setattr(transactions, "own_transaction", away)
    with pytest.raises(OperationalError, match="no route"):
        advance.advance(saga.pk)
    monkeypatch.undo()
    assert read(saga.pk).due_at - saga.created_at >= timedelta(seconds=25)  # the wait is for the lease
    saga = drain(saga)
    assert (saga.state, world.count(saga, "a")) == ("completed", 1)
