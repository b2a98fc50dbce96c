"""S4: barrier and tombstones of a participant with its own database."""

from collections.abc import Callable
from typing import Any

import pytest

from sagas import StepContext
from sagas.core.states import Direction, Outcome
from sagas.exceptions import Fenced
from sagas.models import BarrierState, Saga, SagaBarrier
from sagas.operators import operations
from sagas.participants import barrier
from sagas.testing import drain, outcomes_of

from .frozen import freeze, lose_lease
from .world import ACTION, COMPENSATION, OPERATOR, REASON, Broken, Refused, World, states, step_of

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture
def begin(world: World, inventory_alias: str) -> Callable[..., Saga]:
    """Start a saga whose second step runs in another database."""

    def start(*, external: bool = False, **options: Any) -> Saga:
        step = world.compensatable("inventory", external=external, **options)
        return world.begin(a=world.compensatable(), b=step, c=world.compensatable())

    return start


def rows(saga: Saga) -> list[tuple[str, int, str]]:
    found = SagaBarrier.objects.using("inventory").filter(key=f"{saga.pk}:b").order_by("id")
    return [(row.direction, row.epoch, row.state) for row in found]


def count(world: World, saga: Saga, what: str = "done") -> int:
    return world.count(saga, "b", what, participant="inventory")


def test_s4_the_barrier_row_commits_with_the_effect(world: World, begin: Callable[..., Saga]) -> None:
    saga = drain(begin())
    assert (saga.state, rows(saga), count(world, saga)) == ("completed", [("action", 0, "done")], 1)


def test_s4_a_repeated_action_returns_its_stored_result(world: World, begin: Callable[..., Saga]) -> None:
    world.will("b", {"seat": "12A"})
    saga = begin()
    freeze(saga, "b")  # dies between the participant's commit and the engine's
    saga = drain(lose_lease(saga))
    assert (saga.state, step_of(saga, "b").result) == ("completed", {"seat": "12A"})
    assert (world.called("b"), count(world, saga)) == (1, 1)
    assert outcomes_of(saga.pk, "b") == [Outcome.UNKNOWN, Outcome.SUCCEEDED]


def test_s4_a_repeated_compensation_returns_its_stored_result(world: World, begin: Callable[..., Saga]) -> None:
    world.will("c", Refused())
    saga = begin()
    freeze(saga, "b", compensation=True)
    saga = drain(lose_lease(saga))
    assert (saga.state, world.called("b", COMPENSATION), count(world, saga, "undone")) == ("compensated", 1, 1)
    assert rows(saga) == [("action", 0, "done"), ("compensation", 0, "done")]


def test_s4_an_empty_compensation_leaves_a_tombstone_that_fences_the_late_action(
    world: World, begin: Callable[..., Saga]
) -> None:
    saga = begin()
    frozen = freeze(saga, "b", before_call=True)
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    saga = drain(lose_lease(saga))
    assert (saga.state, world.called("b", COMPENSATION)) == ("compensated", 0)
    assert rows(saga) == [("action", 0, "tombstone"), ("compensation", 0, "done")]

    frozen.thaw()

    saga.refresh_from_db()
    assert (saga.state, count(world, saga), world.called("b")) == ("compensated", 0, 0)
    assert outcomes_of(saga.pk, "b") == [Outcome.FENCED]


def test_s4_a_late_action_after_a_real_compensation_is_fenced(world: World, begin: Callable[..., Saga]) -> None:
    saga = begin()
    first = freeze(saga, "b", before_call=True)
    world.will("c", Refused())
    saga = drain(lose_lease(saga))
    assert (saga.state, count(world, saga), count(world, saga, "undone")) == ("compensated", 1, 1)
    first.thaw()
    assert (count(world, saga), world.called("b")) == (1, 1)
    saga.refresh_from_db()
    assert saga.state == "compensated"


def test_s4_a_refusal_after_an_unsettled_attempt_leaves_a_tombstone(world: World, begin: Callable[..., Saga]) -> None:
    saga = begin()
    frozen = freeze(saga, "b", before_call=True)
    world.will("b", Refused("no"))
    saga = drain(lose_lease(saga))
    assert (saga.state, states(saga)["b"]) == ("compensated", "compensated")
    assert rows(saga) == [("action", 0, "tombstone"), ("compensation", 0, "done")]
    frozen.thaw()  # a refusal with rollback had answered for one attempt only
    assert count(world, saga) == 0


@pytest.mark.parametrize("times", [1, 3])
def test_s4_an_external_step_leaves_an_intent_and_then_its_result(
    world: World, begin: Callable[..., Saga], times: int
) -> None:
    seen: list[Any] = []
    saga = begin(external=True)

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


def test_s4_an_external_action_behind_a_tombstone_is_never_called(world: World, begin: Callable[..., Saga]) -> None:
    saga = begin(external=True)
    frozen = freeze(saga, "b", before_call=True)
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    saga = drain(lose_lease(saga))
    frozen.thaw()
    assert (world.called("b"), world.called("b", COMPENSATION), outcomes_of(saga.pk, "b")) == (0, 0, [Outcome.FENCED])


def enter(key: str, direction: Direction, epoch: int = 0) -> barrier.Entry:
    return barrier.enter("inventory", key, direction, epoch)


def test_s4_a_tombstone_of_any_epoch_fences(inventory_alias: str) -> None:
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


def test_s4_each_epoch_of_a_compensation_runs_once(inventory_alias: str) -> None:
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
