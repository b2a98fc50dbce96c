"""Schedules found by the protocol model, on the real engine (docs/reference/protocol.md names the rules)."""

from datetime import timedelta
from typing import Any

import pytest

from sagas import OutcomeUnknown, StepContext
from sagas.core.states import Effect
from sagas.exceptions import StaleRevision
from sagas.models import Saga
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.testing import drain, effect_of, pass_time

from .frozen import freeze
from .world import COMPENSATION, After, CannotUndo, World, states, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__")

ADA = Actor(name="ada", is_trusted=True)
LEASE = timedelta(seconds=31)
WORD = "There is nothing at the provider."


def start_saga_of_three(world: World, **options: Any) -> Saga:
    """Start a saga of three steps, the middle one being the one under test."""
    return world.begin(a=world.compensatable(), b=world.compensatable(**options), c=world.compensatable())


def cancel_and_lose_the_lease(saga: Saga) -> None:
    operations.cancel(saga.pk, actor=ADA, reason="Nobody wants it any more.")
    pass_time(LEASE)


def test_same_attempts_mark_older_than_the_last_attempt_is_refused(world: World) -> None:
    saga = start_saga_of_three(world, external=True)
    freeze(saga, "b", before_call=True)
    pass_time(LEASE)
    saga = work(saga)
    assert (states(saga)["b"], world.count(saga, "b")) == ("unknown", 0)
    seen = saga.revision

    world.will("b", After(OutcomeUnknown("?")))
    pass_time(timedelta(seconds=60))
    saga = work(saga)
    assert (states(saga)["b"], world.count(saga, "b")) == ("unknown", 1)

    with pytest.raises(StaleRevision):
        operations.mark_refused(saga.pk, actor=ADA, reason=WORD, evidence=WORD, step="b", revision=seen)
    assert drain(saga).state == "completed"
    assert world.count(saga, "b") == 1


def test_same_attempts_mark_older_than_a_late_answer_is_refused(world: World) -> None:
    world.closes_keys = False
    world.will("b", CannotUndo("not now"), direction=COMPENSATION)
    saga = start_saga_of_three(world, external=True)
    frozen = freeze(saga, "b", before_call=True)
    cancel_and_lose_the_lease(saga)
    saga = work(saga)
    assert (step_of(saga, "b").hold, world.count(saga, "b")) == ("compensation_refused", 0)
    seen = saga.revision

    frozen.thaw()
    assert effect_of(saga.pk, "b") is Effect.YES
    with pytest.raises(StaleRevision):
        operations.mark_compensated(saga.pk, actor=ADA, reason=WORD, evidence=WORD, step="b", revision=seen)
    operations.retry_now(saga.pk, actor=ADA, reason="The participant can undo it now.")
    assert drain(saga).state == "compensated"
    assert world.count(saga, "b", "undone") == 1


def test_one_undo_reopened_local_compensation_runs_once(world: World, inventory_alias: str) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable("inventory"), c=world.compensatable())
    frozen = freeze(saga, "b")
    cancel_and_lose_the_lease(saga)
    assert drain(saga).state == "compensated"

    frozen.thaw()
    saga = drain(saga)
    assert (saga.state, step_of(saga, "b").epoch) == ("compensated", 1)
    counts = [world.count(saga, "b", what, participant="inventory") for what in ("done", "undone")]
    assert counts == [1, 1]


def test_late_epoch_second_verification_is_not_answered_by_the_first(world: World) -> None:
    world.closes_keys = False
    answered: set[str] = set()

    def remember(step: StepContext[Any], proceed: Any) -> dict[str, Any]:
        if step.provider_key not in answered:
            answered.add(step.provider_key)
            proceed()
        return {}

    world.will("b", *[remember] * 6, direction=COMPENSATION)
    saga = start_saga_of_three(world, external=True, verify_after=timedelta(seconds=60))
    frozen = freeze(saga, "b", before_call=True)
    cancel_and_lose_the_lease(saga)
    saga = work(saga)
    assert states(saga)["b"] == "compensating"

    frozen.thaw()
    saga = drain(saga)
    assert (saga.state, step_of(saga, "b").epoch) == ("compensated", 1)
    assert [world.count(saga, "b", what) for what in ("done", "undone")] == [1, 1]
