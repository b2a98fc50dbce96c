"""S2: a time-out is never a failure; leases, tokens, and time limits of a local step's transaction."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections, transaction

from sagas import RetryPolicy, StepContext
from sagas.core.states import Direction, Effect, Outcome
from sagas.engine import advance
from sagas.testing import drain, effect_of, outcomes_of, pass_time
from sagas.testing.drain import read

from .frozen import freeze
from .side_by_side import run_elsewhere, run_side_by_side
from .situations import Trip
from .world import COMPENSATION, Broken, World, attempts, begin, define, events, states, step_of, work

SHORT = timedelta(milliseconds=150)
pytestmark = [pytest.mark.django_db(databases="__all__", transaction=True), pytest.mark.usefixtures("inventory_alias")]


def sleep_in(alias: str, seconds: float) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


@pytest.mark.parametrize("participant", [None, "inventory"])
def test_s2_a_local_step_with_a_slow_statement_is_rolled_back_and_retried(
    world: World, participant: str | None
) -> None:
    using = participant or "default"
    world.will("a", lambda _step, proceed: (proceed(), sleep_in(using, 5)))
    saga = world.begin(a=world.compensatable(participant, timeout=SHORT), b=world.compensatable())
    saga = work(saga)
    [attempt] = attempts(saga, "a")
    assert (attempt.outcome, attempt.effect) == ("retry", "none")
    assert " timeout" in attempt.message
    assert world.count(saga, "a", participant=participant) == 0
    saga = drain(saga)
    assert (saga.state, world.count(saga, "a", participant=participant)) == ("completed", 1)


@pytest.mark.parametrize("participant", [None, "inventory"])
def test_s2_a_local_step_that_idles_too_long_is_rolled_back_and_retried(world: World, participant: str | None) -> None:
    # It waits on another connection while its own transaction idles (transaction_timeout).
    def idle(_step: StepContext[Any], proceed: Callable[[], None]) -> None:
        proceed()
        run_elsewhere(lambda: sleep_in("default", 0.4))

    world.will("a", idle)
    saga = world.begin(a=world.compensatable(participant, timeout=SHORT), b=world.compensatable())
    saga = work(saga)
    [attempt] = attempts(saga, "a")
    assert attempt.outcome in ("retry", "unknown" if participant else "retry")
    assert world.count(saga, "a", participant=participant) == 0
    saga = drain(saga)
    assert (saga.state, world.count(saga, "a", participant=participant)) == ("completed", 1)


def test_s2_a_local_step_that_waits_too_long_for_a_lock_is_retried(world: World) -> None:
    held, done = threading.Event(), threading.Event()

    def hold_lock() -> None:
        with transaction.atomic(), connections["default"].cursor() as cursor:
            cursor.execute("LOCK TABLE engine_test_ledger IN ACCESS EXCLUSIVE MODE")
            held.set()
            assert done.wait(60)

    def run() -> None:
        assert held.wait(60)
        work(saga)
        done.set()

    saga = world.begin(a=world.compensatable(timeout=SHORT))
    assert run_side_by_side([hold_lock, run]) == [None, None]
    [attempt] = attempts(saga, "a")
    assert (attempt.outcome, attempt.effect) == ("retry", "none")
    assert drain(saga).state == "completed"
    assert world.count(saga, "a") == 1


def test_s2_the_limits_end_with_the_steps_transaction(world: World) -> None:
    def show() -> list[str]:
        with connections["default"].cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),"
                " current_setting('transaction_timeout')"
            )
            return list(cursor.fetchone())

    before, inside = show(), []
    world.will("a", lambda _step, proceed: inside.append(show()) or proceed())
    saga = drain(world.begin(a=world.compensatable(timeout=timedelta(seconds=7))))
    assert (saga.state, inside, show()) == ("completed", [["7s", "7s", "7s"]], before)


def test_s2_an_external_step_knows_its_remaining_time(world: World) -> None:
    left: list[tuple[str, float]] = []

    def note(step: StepContext[Any], proceed: Callable[[], None]) -> None:
        left.append((step.direction.value, step.remaining))
        proceed()

    world.will("a", note)
    world.will("a", note, direction=COMPENSATION)
    world.will("b", *[Broken()] * 5)
    step = world.compensatable(external=True, timeout=timedelta(seconds=40), compensation_timeout=timedelta(seconds=80))
    drain(world.begin(a=step, b=world.compensatable()))
    assert [direction for direction, _ in left] == ["action", "compensation"]
    assert 39 < left[0][1] <= 40
    assert 79 < left[1][1] <= 80


def test_s2_remaining_is_never_negative() -> None:
    step: StepContext[None] = StepContext(
        saga_id=uuid4(), step="a", direction=Direction.ACTION, input=None, results={}, attempt=1, expires_at=0.0
    )
    assert step.remaining == 0.0


def test_s2_a_lease_lasts_for_the_time_out_and_a_margin(world: World) -> None:
    saga = world.begin(a=world.compensatable(external=True, timeout=timedelta(seconds=40)))
    freeze(saga, "a", before_call=True)
    [attempt] = attempts(saga, "a")
    step = step_of(saga, "a")
    assert attempt.deadline_at - attempt.started_at == timedelta(seconds=40)
    assert step.lease_until - attempt.started_at == timedelta(seconds=60)
    saga.refresh_from_db()
    assert saga.due_at == step.lease_until


def test_s2_a_lease_is_respected_to_its_end_and_not_beyond(world: World) -> None:
    saga = world.begin(a=world.compensatable(external=True))
    freeze(saga, "a", before_call=True)
    pass_time(timedelta(seconds=29))
    saga = work(saga, worker="second")
    assert (states(saga)["a"], len(attempts(saga, "a"))) == ("running", 1)
    pass_time(timedelta(seconds=2))
    saga = work(saga, worker="second")
    assert (states(saga)["a"], outcomes_of(saga.pk, "a")) == ("unknown", [Outcome.UNKNOWN])
    assert attempts(saga, "a")[0].error_class == "sagas.LostWorker"
    assert effect_of(saga.pk, "a") is Effect.MAYBE


@pytest.mark.parametrize("participant", [None, "inventory"])
def test_s2_the_token_and_not_the_clock_decides_at_the_record(world: World, participant: str | None) -> None:
    world.will("a", lambda _step, proceed: pass_time(timedelta(minutes=10)) or proceed())
    saga = work(world.begin(a=world.compensatable(participant, external=participant is None)))
    assert (saga.state, outcomes_of(saga.pk, "a")) == ("completed", [Outcome.SUCCEEDED])


def test_s2_unknown_is_retried_with_the_same_key_and_input(world: World) -> None:
    world.will("a", Broken("1"), Broken("2"))
    trip = define(a=world.compensatable(external=True), input=Trip)
    saga = drain(begin(trip, Trip(number="T-7")))
    assert saga.state == "completed"
    assert [(call.provider_key, call.input, call.attempt) for call in world.calls] == [
        (f"{saga.pk}:a", Trip(number="T-7"), number) for number in (1, 2, 3)
    ]
    assert world.count(saga, "a") == 1


def test_s2_unknown_until_the_budget_is_spent_is_compensated(world: World) -> None:
    world.will("a", *[Broken()] * 2)
    saga = drain(world.begin(a=world.compensatable(external=True, retry=RetryPolicy(attempts=2))))
    assert (saga.state, outcomes_of(saga.pk, "a")) == ("compensated", [Outcome.UNKNOWN] * 2)
    assert world.called("a", COMPENSATION) == 1


def test_s2_a_frozen_local_worker_rolls_back_when_its_token_is_stale(world: World) -> None:
    def overtake(_step: StepContext[Any], proceed: Callable[[], None]) -> None:
        proceed()
        pass_time(timedelta(seconds=31))
        run_elsewhere(lambda: work(saga, worker="second"))

    saga = world.begin(a=world.compensatable(), b=world.compensatable())
    world.will("a", overtake)
    work(saga, worker="first")
    assert outcomes_of(saga.pk, "a")[0] is Outcome.RETRY
    assert world.count(saga, "a") == 0  # the first worker's effect was rolled back with its transaction
    assert states(saga)["b"] == "pending"
    saga = drain(saga)
    assert (saga.state, world.count(saga, "a")) == ("completed", 1)


def test_s2_a_live_step_is_not_run_by_a_second_worker(world: World) -> None:
    looked: list[int] = []

    def look(_step: StepContext[Any], proceed: Callable[[], None]) -> None:
        looked.append(run_elsewhere(lambda: advance.advance(saga.pk, worker="second")))
        proceed()

    saga = world.begin(a=world.compensatable(external=True))
    world.will("a", look)
    work(saga)
    assert (looked, world.called("a"), read(saga.pk).state) == ([0], 1, "completed")


def test_s2_the_worker_is_stored_with_the_attempt(world: World) -> None:
    saga = work(world.begin(a=world.compensatable()), worker="host:42")
    assert attempts(saga, "a")[0].worker == "host:42"
    assert events(saga, "step_claimed")[0].data == {"attempt": 1, "worker": "host:42"}
