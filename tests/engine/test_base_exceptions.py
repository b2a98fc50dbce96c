"""Errors that derive from BaseException: recorded like any other; only those that end the process propagate."""

import asyncio
from typing import Any

import pytest
from django.db import transaction

from sagas.core.states import Outcome
from sagas.engine import advance
from sagas.testing import drain, outcomes_of

from .world import COMPENSATION, After, World, attempts, events, states, step_of

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


class LibraryError(BaseException):
    """Library error that derives from BaseException."""


def cancelled(step: Any, proceed: Any) -> None:
    """Raise the error of an awaited task that was cancelled."""

    async def pay() -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        task.cancel()
        await task

    asyncio.run(pay())


PLACES = {"local": {}, "local in a database of its own": {"participant": "inventory"}, "external": {"external": True}}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("behaviour", "error_class"),
    [
        (cancelled, "asyncio.exceptions.CancelledError"),
        (asyncio.CancelledError("why"), "asyncio.exceptions.CancelledError"),
        (GeneratorExit(), "GeneratorExit"),
        (After(LibraryError("odd")), f"{__name__}.LibraryError"),
    ],
)
def test_base_exception_is_recorded_with_class_and_traceback(
    world: World, inventory_alias: str, place: str, behaviour: Any, error_class: str
) -> None:
    saga = world.begin(a=world.compensatable(**PLACES[place]), b=world.compensatable())
    world.will("a", behaviour)
    assert advance.advance(saga.pk) == 1
    first = Outcome.UNKNOWN if place == "external" else Outcome.RETRY
    [attempt] = attempts(saga, "a")
    assert (attempt.outcome, attempt.error_class, attempt.ended_at is not None) == (first, error_class, True)
    assert "Traceback" in attempt.traceback
    assert step_of(saga, "a").due_at is not None  # retried, without waiting for a lease
    assert drain(saga).state == "completed"
    participant = PLACES[place].get("participant")
    assert world.count(saga, "a", participant=participant) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_exit_is_recorded_first_and_nothing_more_is_claimed(
    world: World, inventory_alias: str, place: str, error: BaseException
) -> None:
    saga = world.begin(a=world.compensatable(**PLACES[place]), b=world.compensatable())
    world.will("a", After(error))
    with pytest.raises(type(error)):
        advance.advance(saga.pk)
    [attempt] = attempts(saga, "a")
    assert (attempt.error_class, attempt.ended_at is not None) == (type(error).__name__, True)
    assert states(saga)["b"] == "pending"
    assert attempts(saga, "b") == []
    assert drain(saga).state == "completed"


def test_cancelled_compensation_is_retried(world: World) -> None:
    saga = world.begin(a=world.compensatable(external=True), b=world.compensatable(), c=world.compensatable())
    world.will("b", *[asyncio.CancelledError()] * 5)
    world.will("a", asyncio.CancelledError(), direction=COMPENSATION)
    assert drain(saga).state == "compensated"
    assert outcomes_of(saga.pk, "a", COMPENSATION) == [Outcome.UNKNOWN, Outcome.SUCCEEDED]


def test_interrupt_during_a_commit_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable())

    def interrupt_once() -> None:
        raise KeyboardInterrupt

    world.will("a", lambda step, proceed: proceed() or transaction.on_commit(interrupt_once))
    with pytest.raises(KeyboardInterrupt):
        advance.advance(saga.pk)
    assert states(saga) == {"a": "succeeded", "b": "succeeded"}  # claimed by that commit
    assert drain(saga).state == "completed"
    assert world.count(saga, "a") == 1
    assert [row.what for row in events(saga, "step_succeeded")] == ["step_succeeded"] * 2
