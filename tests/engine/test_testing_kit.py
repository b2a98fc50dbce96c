"""Public test kit: draining, planted faults, comparisons, and an invariant check that finds violations."""

import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction

from sagas import InProgress, RetryLater, clock
from sagas.core.states import Direction
from sagas.exceptions import SagaNotFound
from sagas.models import Saga
from sagas.testing import (
    NotDrained,
    assert_invariants,
    assert_transcript,
    drain,
    effect_of,
    faults,
    find_violations,
    outcomes_of,
    pass_time,
    transcript,
)

from .frozen import freeze
from .world import COMPENSATION, Call, Refused, World, states, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__")


def test_drain_ends_at_a_closed_saga_and_resets_the_clock(world: World) -> None:
    world.will("a", RetryLater(after=600))
    before = clock.shift_seconds()
    saga = drain(world.begin(a=world.compensatable()))
    assert (saga.state, clock.shift_seconds()) == ("completed", before)


@pytest.mark.parametrize(("minutes", "state"), [(9, "running"), (11, "completed")])
def test_drain_waits_as_long_as_its_patience(world: World, minutes: int, state: str) -> None:
    world.will("a", RetryLater(after=600))
    assert drain(world.begin(a=world.compensatable()), patience=timedelta(minutes=minutes)).state == state


def test_drain_gives_up_on_an_endless_saga(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["sagas.testing.drain"], "MAX_ROUNDS", 5)  # the package attribute is the function
    world.will("a", *[InProgress(poll_after=1)] * 50)
    saga = world.begin(a=world.compensatable(external=True))
    with pytest.raises(NotDrained, match=str(saga.pk)):
        drain(saga)
    assert clock.shift_seconds() == 0.0


def test_planted_fault_that_is_never_reached_fails_the_test(world: World) -> None:
    saga = world.begin(a=world.compensatable())
    with pytest.raises(AssertionError, match="z"), faults() as fault:  # noqa: PT012
        fault.refuse("z", Refused())
        drain(saga)
    assert states(saga) == {"a": "succeeded"}


def test_planted_fault_acts_the_given_number_of_times(world: World) -> None:
    saga = world.begin(a=world.compensatable(external=True))
    with faults() as fault:
        fault.lose_answer("a", times=2)
        saga = drain(saga)
    assert [outcome.value for outcome in outcomes_of(saga.pk, "a") if outcome] == ["unknown", "unknown", "succeeded"]
    assert world.count(saga, "a") == 1


def test_faults_may_be_planted_in_compensations(world: World) -> None:
    saga = world.begin(a=world.compensatable(external=True), b=world.compensatable())
    with faults() as fault:
        fault.refuse("b", Refused())
        fault.crash_after("a", direction=COMPENSATION)
        saga = drain(saga)
    assert (saga.state, world.count(saga, "a", "undone")) == ("compensated", 1)


def test_time_may_pass_and_code_run_around_a_function(world: World) -> None:
    seen: list[str] = []
    saga = world.begin(a=world.compensatable(external=True))
    with faults() as fault:
        fault.delay("a", timedelta(minutes=1), meanwhile=lambda: seen.append(states(saga)["a"]))
        work(saga)
    assert seen == ["running"]
    assert clock.shift_seconds() == 60.0


def test_transcripts_are_compared_without_blank_lines_and_indentation(world: World) -> None:
    saga = drain(world.begin(a=world.compensatable()))
    assert_transcript(
        saga,
        """
        saga_started | - > pending
        saga_running | pending > running

        step_claimed | a | pending > running
        step_succeeded | a | running > succeeded
        saga_completed | running > completed
        """,
    )
    with pytest.raises(AssertionError, match=r"\+step_succeeded"):
        assert_transcript(saga, transcript(saga).replace("step_succeeded", "step_refused"))


# Forged rows, and the violation that the check must report.
LIES: dict[str, tuple[str, str]] = {
    "a lease without an attempt": (
        """
        UPDATE sagas_sagastep SET state = 'running', due_at = NULL, lease_token = gen_random_uuid(),
        lease_until = now() + interval '1 hour' WHERE saga_id = %s AND name = 'b'
        """,
        "I8",
    ),
    "an attempt that was not counted": (
        "UPDATE sagas_sagastep SET action_attempts = 0 WHERE saga_id = %s AND name = 'a'",
        "I1",
    ),
    "completed too early": (
        "UPDATE sagas_saga SET state = 'completed', closed_at = now(), due_at = NULL WHERE id = %s",
        "I4",
    ),
    "compensated with an effect left": (
        "UPDATE sagas_saga SET state = 'compensated', cause = '{}', closed_at = now(), due_at = NULL WHERE id = %s",
        "I4",
    ),
    "undone while it runs": ("UPDATE sagas_sagastep SET state = 'compensated' WHERE saga_id = %s AND name = 'a'", "I3"),
    "neither due nor held": ("UPDATE sagas_saga SET due_at = NULL WHERE id = %s", "I9"),
    "a gap in its history": ("UPDATE sagas_saga SET history_count = history_count + 1 WHERE id = %s", "I8"),
}


@pytest.mark.parametrize("lie", LIES)
def test_invariant_check_finds(world: World, lie: str) -> None:
    sql, invariant = LIES[lie]
    world.will("b", RetryLater(after=60))
    saga = work(world.begin(a=world.compensatable(), b=world.compensatable()))
    assert find_violations(saga.pk) == []
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(sql, [saga.pk])
        found = find_violations(saga.pk)
        with pytest.raises(AssertionError, match=invariant):
            assert_invariants(saga.pk)
        transaction.set_rollback(True)
    assert any(violation.startswith(invariant) for violation in found), found


def test_invariant_check_finds_a_step_undone_out_of_order(world: World) -> None:
    world.will("b", RetryLater(after=60), direction=COMPENSATION)
    world.will("c", Refused())
    saga = work(world.begin(a=world.compensatable(), b=world.compensatable(), c=world.compensatable()))
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE sagas_sagastep SET state = 'compensated' WHERE saga_id = %s AND name = 'a'", [saga.pk]
            )
        found = find_violations(saga.pk)
        transaction.set_rollback(True)
    assert [violation[:2] for violation in found] == ["I5"]
    assert drain(saga).state == "compensated"


def test_invariant_check_rejects_an_unknown_saga() -> None:
    with pytest.raises(SagaNotFound):
        find_violations(uuid4())
    assert Saga.objects.count() == 0


def test_effect_of_a_live_step_is_maybe(world: World) -> None:
    saga = world.begin(a=world.compensatable(external=True))
    freeze(saga, "a", before_call=True)
    assert effect_of(saga.pk, "a").value == "maybe"
    assert outcomes_of(saga.pk, "a") == [None]
    assert step_of(saga, "a").is_live


def test_time_never_moves_back(world: World) -> None:
    saga: Any = world.begin(a=world.compensatable())
    pass_time(timedelta(minutes=5))
    pass_time(until_due=saga)
    assert clock.shift_seconds() == 300.0


def test_calls_with_another_key_or_input_are_found() -> None:
    world, key = World(), "saga:pay"
    good = Call(
        step="pay",
        direction=Direction.ACTION,
        key=key,
        epoch=0,
        provider_key=key,
        attempt=1,
        input={"n": 1},
        results={},
    )
    undo = replace(good, direction=Direction.COMPENSATION, provider_key=f"{key}:compensate:0")

    world.calls = [good, replace(good, attempt=2), undo, replace(undo, epoch=1, provider_key=f"{key}:compensate:1")]
    assert world.find_changed_calls() == []
    world.calls += [replace(good, attempt=3, input={"n": 2}), replace(good, attempt=4, provider_key=f"{key}:4")]
    assert world.find_changed_calls() == [
        "I7: pay, attempt 3, has another input than attempt 1",
        "I7: pay, attempt 4, has the key saga:pay:4, not saga:pay",
    ]
