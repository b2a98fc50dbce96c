"""Step functions that return a coroutine or a generator: held at once and not called again."""

import gc
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from sagas.core.states import Effect, Outcome
from sagas.testing import drain, effect_of, outcomes_of

from .world import COMPENSATION, Refused, World, step_of

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


async def act_later() -> None:
    """Run as a coroutine."""


async def yield_later() -> AsyncIterator[None]:
    """Yield as an async generator."""
    yield


def yield_one() -> Iterator[None]:
    """Yield as a generator."""
    yield


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    """Fail on every coroutine that was never awaited, even if collected later."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()


@pytest.mark.parametrize("make", [act_later, yield_later, yield_one])
@pytest.mark.parametrize(
    ("options", "effect"), [({}, Effect.NONE), ({"external": True}, Effect.MAYBE)], ids=["local", "external"]
)
def test_unfinished_result_of_an_action_holds_the_saga(
    world: World, make: Callable[[], Any], options: dict[str, Any], effect: Effect
) -> None:
    world.will("a", lambda _step, _proceed: make())
    saga = drain(world.begin(a=world.compensatable(**options), b=world.compensatable()))

    step = step_of(saga, "a")
    assert (saga.state, step.hold, saga.due_at) == ("running", "misconfigured", None)
    assert step.last_error.startswith("sagas.exceptions.Misconfigured: Step a returned a ")
    assert outcomes_of(saga.pk, "a") == [Outcome.MISCONFIGURED]
    assert effect_of(saga.pk, "a") is effect
    assert (world.called("a"), world.called("b")) == (1, 0)


@pytest.mark.parametrize("options", [{}, {"external": True}], ids=["local", "external"])
def test_unfinished_result_of_a_compensation_holds_the_saga(world: World, options: dict[str, Any]) -> None:
    world.will("b", Refused())
    world.will("a", lambda _step, _proceed: act_later(), direction=COMPENSATION)
    saga = drain(world.begin(a=world.compensatable(**options), b=world.compensatable()))

    assert (saga.state, step_of(saga, "a").hold) == ("compensating", "misconfigured")
    assert outcomes_of(saga.pk, "a", COMPENSATION) == [Outcome.MISCONFIGURED]
    assert world.count(saga, "a") == 1


def test_unfinished_result_in_a_participants_own_database_holds_the_saga(inventory_alias: str, world: World) -> None:
    world.will("a", lambda _step, _proceed: act_later())
    saga = drain(world.begin(a=world.compensatable("inventory"), b=world.compensatable()))

    assert (saga.state, step_of(saga, "a").hold, world.called("a")) == ("running", "misconfigured", 1)
    assert effect_of(saga.pk, "a") is Effect.NONE
