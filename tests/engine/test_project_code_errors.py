"""Errors of project code between lock and claim: a hold with the reason, so no saga is stuck unnoticed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import router, transaction

from sagas.conf import SagaSettings
from sagas.core.retry import RetryPolicy
from sagas.core.states import Hold
from sagas.engine import advance
from sagas.models import Saga
from sagas.operators import operations
from sagas.testing import drain
from sagas.testing.drain import pass_time, read

from .world import OPERATOR, REASON, Broken, World, attempts, begin, define, events, states, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__")

RULE = {"max": 100, "error": ValueError("too many")}


@dataclass(frozen=True)
class Order:
    quantity: int

    def __post_init__(self) -> None:
        if self.quantity > RULE["max"]:  # type: ignore[operator]
            raise RULE["error"]  # type: ignore[misc]


class Unreadable(Exception):
    """Error whose text cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.fixture
def strict() -> Iterator[Any]:
    """Deploy code that is stricter than the version that started the sagas."""

    def make(error: Exception | None = None, limit: int = 10) -> None:
        RULE.update(max=limit, error=error or ValueError("too many"))

    yield make
    RULE.update(max=100, error=ValueError("too many"))


@pytest.fixture
def saga(world: World) -> Saga:
    trip = define(
        a=world.compensatable(), b=world.compensatable(), c=world.compensatable(), input=Order,
        deadline=timedelta(minutes=1),
    )  # fmt: skip
    world.will("b", lambda step, proceed: RULE.update(max=10) or proceed())
    return begin(trip, Order(50))


@contextmanager
def failing_router(monkeypatch: pytest.MonkeyPatch, answer: Any) -> Iterator[None]:
    def route(model: Any, **hints: Any) -> str:
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    with monkeypatch.context() as patched:
        patched.setattr(router, "db_for_write", route)
        yield


@pytest.mark.parametrize("error", [ValueError("too many"), KeyError("qty"), RecursionError(), Unreadable()])
def test_stricter_input_class_holds_the_step_with_the_reason(
    world: World, strict: Any, saga: Saga, error: Exception
) -> None:
    strict(error, limit=100)
    saga = drain(saga)
    step = step_of(saga, "c")
    assert (saga.state, step.state, step.hold) == ("running", "pending", Hold.MISCONFIGURED)
    assert attempts(saga, "c") == []
    [held] = events(saga, "held")
    assert type(error).__name__ in held.reason
    assert held.reason.startswith("The stored input does not fit the code: Order: ")


def test_held_saga_continues_once_the_code_is_fixed(world: World, strict: Any, saga: Saga) -> None:
    work(saga)
    assert step_of(saga, "c").hold == Hold.MISCONFIGURED
    strict(limit=100)
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON, step="c")
    assert drain(saga).state == "completed"


def test_deadline_of_a_held_saga_is_remembered(world: World, strict: Any, saga: Saga) -> None:
    found = drain(saga)
    assert (found.attention, found.abort_request) == (["overdue"], "deadline")


def test_compensation_that_needs_the_input_is_held_too(world: World, strict: Any) -> None:
    trip = define(a=world.compensatable(), b=world.compensatable(), input=Order)
    saga = begin(trip, Order(50))
    strict(limit=100)
    world.will("b", lambda step, proceed: RULE.update(max=10) or proceed())
    advance.advance(saga.pk, should_stop=_after_one())
    strict(limit=10)
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    saga = drain(saga)
    assert (saga.state, step_of(saga, "a").hold) == ("compensating", Hold.MISCONFIGURED)
    strict(limit=100)
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON, step="a")
    saga = drain(saga)
    assert (saga.state, world.count(saga, "a", "undone")) == ("compensated", 1)


def _after_one() -> Any:
    left = iter([False])
    return lambda: next(left, True)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            ValueError("no tenant"),
            "A database router failed for the participant 'orders' of step a: ValueError: no tenant",
        ),
        ("nowhere", "A database router names 'nowhere' for the participant 'orders' of step a"),
        (None, "A database router names 'None' for the participant 'orders' of step a"),
    ],
)
def test_failing_router_holds_the_step_with_the_reason(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: Any, reason: str
) -> None:
    trip = define(a=world.compensatable(), b=world.compensatable())
    saga = begin(trip)
    object.__setattr__(trip.steps[0], "participant", "orders")
    with failing_router(monkeypatch, answer):
        saga = drain(saga)
        step = step_of(saga, "a")
        assert (step.hold, attempts(saga, "a")) == (Hold.MISCONFIGURED, [])
        [held] = events(saga, "held")
        assert held.reason.startswith(reason)
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON, step="a")
    assert drain(saga).state == "completed"


def test_lost_worker_is_recorded_although_the_router_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from sagas.testing.faults import SimulatedCrash

    trip = define(a=world.compensatable(), b=world.compensatable())
    saga = begin(trip)
    world.will("a", SimulatedCrash())
    work(saga)
    object.__setattr__(trip.steps[0], "participant", "orders")
    pass_time(timedelta(minutes=1))
    with failing_router(monkeypatch, ValueError("no tenant")):
        work(saga)
        pass_time(timedelta(minutes=1))
        work(saga)
        [lost] = attempts(saga, "a")
        assert (lost.outcome, lost.error_class) == ("unknown", "sagas.LostWorker")
        assert step_of(saga, "a").hold == Hold.MISCONFIGURED


class FailingPolicy(RetryPolicy):
    """Retry policy of the project."""

    def delay_seconds(self, **facts: Any) -> float:
        raise LookupError("no delay")


def test_failing_policy_is_replaced_by_the_default(world: World) -> None:
    saga = world.begin(a=world.compensatable(retry=FailingPolicy()), b=world.compensatable())
    world.will("a", Broken("once"))
    saga = drain(saga)
    assert (saga.state, len(attempts(saga, "a"))) == ("completed", 2)


def test_other_errors_before_a_claim_hold_with_the_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_queue(self: Any, step: Any) -> str:
        raise LookupError("no queue")

    saga = world.begin(a=world.compensatable(), b=world.compensatable())
    with monkeypatch.context() as patched:
        patched.setattr(SagaSettings, "queue_of", find_queue)
        work(saga)
    step = step_of(saga, "a")
    assert (step.hold, read(saga.pk).due_at, attempts(saga, "a")) == (Hold.MISCONFIGURED, None, [])
    [held] = events(saga, "held")
    assert held.reason == "The project's code keeps this step from being claimed: LookupError: no queue"
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON, step="a")
    assert drain(saga).state == "completed"


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_hold_that_could_not_be_written_is_not_reported(world: World, caplog: pytest.LogCaptureFixture) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable())
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable atomic block"):
        advance.advance(saga.pk)
    assert [record.message for record in caplog.records if "held" in record.message] == []
    assert step_of(saga, "a").hold is None


def test_saga_held_by_failing_code_keeps_its_deadline(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_queue(self: Any, step: Any) -> str:
        raise LookupError("no queue")

    saga = world.begin(a=world.compensatable(), b=world.compensatable(), deadline=timedelta(minutes=5))
    with monkeypatch.context() as patched:
        patched.setattr(SagaSettings, "queue_of", find_queue)
        work(saga)
    assert read(saga.pk).due_at == saga.deadline_at
    pass_time(timedelta(minutes=6))
    saga = work(saga)
    assert (saga.attention, saga.abort_request) == (["overdue"], "deadline")


def test_failing_code_holds_the_next_compensation(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_queue(self: Any, step: Any) -> str:
        raise LookupError("no queue")

    saga = world.begin(a=world.compensatable(), b=world.compensatable(), c=world.compensatable())
    advance.advance(saga.pk, should_stop=_after_one())
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    with monkeypatch.context() as patched:
        patched.setattr(SagaSettings, "queue_of", find_queue)
        work(saga)
    assert [step.name for step in saga.steps.all() if step.hold] == ["a"]


def test_failing_step_of_a_group_is_held_and_its_siblings_run(world: World, strict: Any) -> None:
    from sagas import Parallel

    saga = world.begin(
        group=Parallel(p=world.compensatable(), q=world.compensatable(participant="orders")), b=world.compensatable()
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(router, "db_for_write", lambda model, **hints: "nowhere")
        saga = drain(saga)
    assert states(saga) == {"p": "succeeded", "q": "pending", "b": "pending"}
    assert step_of(saga, "q").hold == Hold.MISCONFIGURED
    assert world.count(saga, "p", "undone") == 0
