"""S4: external compensations that cannot close an idempotency key."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sagas import RetryLater, StepContext
from sagas.models import Saga, SagaBarrier
from sagas.operators import operations
from sagas.testing import drain, pass_time

from .frozen import LEASE, freeze, lose_lease
from .world import ACTION, COMPENSATION, OPERATOR, REASON, Broken, Refused, World, attempts, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__")


def test_s4_settle_repeats_the_action_under_its_key_and_undoes_what_it_shows(world: World) -> None:
    world.closes_keys = False
    asked: list[Any] = []

    def undo(step: StepContext[Any], proceed: Callable[[], None]) -> None:
        asked.append((step.repeat_action(), step.provider_key, step.key))
        proceed()

    saga = world.begin(a=world.compensatable(external=True), b=world.compensatable())
    frozen = freeze(saga, "a", before_call=True)
    world.will("a", undo, direction=COMPENSATION)
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    saga = drain(lose_lease(saga))
    assert asked == [({"by": "a"}, f"{saga.pk}:a:compensate:0", f"{saga.pk}:a")]
    assert [(call.direction, call.provider_key) for call in world.calls] == [
        (COMPENSATION, f"{saga.pk}:a:compensate:0"),
        (ACTION, f"{saga.pk}:a"),
    ]
    assert (saga.state, world.count(saga, "a"), world.count(saga, "a", "undone")) == ("compensated", 1, 1)
    assert frozen.claimed is not None


def test_s4_settle_is_only_for_compensations_of_external_steps(world: World) -> None:
    errors: list[str] = []

    def ask(step: StepContext[Any], _proceed: Callable[[], None]) -> None:
        try:
            step.repeat_action()
        except Exception as error:
            errors.append(type(error).__name__)
            raise

    world.will("a", ask)
    world.will("b", ask)
    saga = world.begin(a=world.compensatable(), b=world.compensatable(external=True))
    saga = drain(saga)
    assert (saga.state, errors) == ("completed", ["SagaError", "SagaError"])


VERIFY = timedelta(minutes=3)


@pytest.fixture(params=[None, "inventory"])
def verifying(request: pytest.FixtureRequest, world: World, inventory_alias: str) -> Callable[[], Saga]:
    """Start a saga whose provider can neither close a key nor be settled."""
    world.closes_keys = False

    def start() -> Saga:
        step = world.compensatable(request.param, external=True, verify_after=VERIFY)
        return world.begin(a=step, b=world.compensatable())

    return start


def test_s4_an_unsettled_effect_is_looked_up_again_before_compensated_is_claimed(
    world: World, verifying: Callable[[], Saga]
) -> None:
    world.will("a", Broken("answer lost"), *[RetryLater()] * 4)
    saga = begin_and_fail(verifying())
    step = step_of(saga, "a")
    assert (saga.state, step.state, step.waiting_for) == ("compensating", "compensating", "answer")
    [looked] = attempts(saga, "a", COMPENSATION)
    assert step.due_at - looked.ended_at == VERIFY
    saga = drain(saga)
    assert (saga.state, world.called("a", COMPENSATION)) == ("compensated", 2)


def begin_and_fail(saga: Saga) -> Saga:
    """Advance until the first compensation has run."""
    for _ in range(20):
        saga = work(saga)
        if attempts(saga, "a", COMPENSATION):
            return saga
        pass_time(until_due=saga)
    raise AssertionError("the saga never turned back")


def test_s4_a_known_effect_is_undone_by_one_attempt(world: World, verifying: Callable[[], Saga]) -> None:
    world.will("b", Refused())
    saga = drain(verifying())
    assert (saga.state, world.called("a", COMPENSATION)) == ("compensated", 1)


def test_s4_an_effect_found_during_verification_is_verified_again(world: World, verifying: Callable[[], Saga]) -> None:
    saga = verifying()
    frozen = freeze(saga, "a", before_call=True)
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    pass_time(LEASE)

    def look(_step: StepContext[Any], proceed: Callable[[], None]) -> None:
        proceed()  # finds nothing
        frozen.thaw()  # and only then the frozen call arrives

    # With its own database the barrier fences the frozen call, so there is nothing to find.
    world.will("a", look, direction=COMPENSATION)
    saga = drain(saga)
    assert saga.state == "compensated"
    is_apart = SagaBarrier.objects.using("inventory").filter(key=f"{saga.pk}:a").exists()
    participant = "inventory" if is_apart else None
    done, undone = (world.count(saga, "a", what, participant=participant) for what in ("done", "undone"))
    assert done == undone == (0 if is_apart else 1)
