"""S1.1 to S1.4: delays, the budget of each direction, and what a spent budget means for each kind of step."""

import random
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connections

from sagas import Compensatable, InProgress, OutcomeUnknown, Parallel, Pivot, RetryLater, RetryPolicy, nothing_to_undo
from sagas.conf import SagaSettings
from sagas.core.states import Direction, Hold, Outcome
from sagas.models import Saga
from sagas.testing import drain, outcomes_of, pass_time

from .world import ACTION, COMPENSATION, Broken, CannotUndo, Refused, World, attempts, events, states, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__")
ONE, TWO, THREE = RetryPolicy(attempts=1), RetryPolicy(attempts=2), RetryPolicy(attempts=3)
AT_ONCE = RetryPolicy(attempts=4, base=0, cap=0)


@pytest.fixture
def most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every random delay the longest."""
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)


@pytest.fixture
def least(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every random delay the shortest."""
    monkeypatch.setattr(random, "uniform", lambda low, _high: low)


def delays(saga: Saga, step: str, direction: Direction = ACTION) -> list[float]:
    """Return the seconds between attempts, and until the next one is due."""
    rows = attempts(saga, step, direction)
    starts = [row.started_at for row in rows[1:]] + [step_of(saga, step).due_at]
    return [round((start - row.ended_at).total_seconds(), 1) for row, start in zip(rows, starts, strict=True) if start]


@pytest.mark.usefixtures("most")
def test_s1_delays_grow_up_to_their_cap(world: World) -> None:
    world.will("a", *[RetryLater()] * 8)
    saga = drain(world.begin(a=world.compensatable(retry=RetryPolicy(attempts=9))))
    # Attempts start when the virtual clock reaches the due time, so these are exactly the delays.
    assert delays(saga, "a") == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30], abs=0.15)


@pytest.mark.usefixtures("least")
def test_s1_delays_are_at_least_half_of_the_maximum(world: World) -> None:
    world.will("a", *[RetryLater()] * 8)
    saga = drain(world.begin(a=world.compensatable(retry=RetryPolicy(attempts=9))))
    assert delays(saga, "a") == pytest.approx([0.25, 0.5, 1, 2, 4, 8, 15, 15], abs=0.15)


@pytest.mark.usefixtures("most")
@pytest.mark.parametrize(("after", "expected"), [(0.1, 0.5), (0.5, 0.5), (40, 40), (timedelta(minutes=2), 120)])
def test_s1_an_explicit_delay_only_lengthens_the_delay(world: World, after: Any, expected: float) -> None:
    world.will("a", RetryLater(after=after))
    saga = work(world.begin(a=world.compensatable()))
    step = step_of(saga, "a")
    assert (step.due_at - attempts(saga, "a")[0].ended_at).total_seconds() == expected
    assert saga.due_at == step.due_at


def test_s1_a_restart_neither_resets_nor_advances_the_due_time(world: World) -> None:
    world.will("a", RetryLater(after=40))
    saga = work(world.begin(a=world.compensatable()))
    due_at = saga.due_at
    for _ in range(3):
        saga = work(saga, worker="another")
        assert (saga.due_at, step_of(saga, "a").due_at, world.called("a")) == (due_at, due_at, 1)
    pass_time(until_due=saga)
    assert work(saga).state == "completed"


@pytest.mark.parametrize("direction", Direction)
def test_s1_a_zero_delay_is_retried_by_the_same_task(world: World, direction: Direction) -> None:
    step = world.compensatable(retry=AT_ONCE, compensation_retry=AT_ONCE)
    world.will("a", *[RetryLater()] * 3, direction=direction)
    if direction is COMPENSATION:
        world.will("b", Refused())
    saga = work(world.begin(a=step, b=world.compensatable()))
    assert saga.state == ("completed" if direction is ACTION else "compensated")
    assert outcomes_of(saga.pk, "a", direction) == [Outcome.RETRY] * 3 + [Outcome.SUCCEEDED]


@pytest.mark.parametrize("error", [RetryLater("busy"), Broken("x"), OutcomeUnknown("?")])
@pytest.mark.parametrize("external", [False, True])
def test_s1_a_compensatable_step_that_spends_its_budget_compensates(
    world: World, external: bool, error: Exception
) -> None:
    world.will("b", *[error] * 3)
    saga = drain(world.begin(a=world.compensatable(), b=world.compensatable(external=external, retry=THREE)))
    assert (saga.state, world.called("b")) == ("compensated", 3)
    assert saga.cause["kind"] == "budget_spent"
    assert saga.cause["step"] == "b"
    may_have_happened = isinstance(error, OutcomeUnknown) or (external and isinstance(error, Broken))
    assert world.called("b", COMPENSATION) == int(may_have_happened)
    assert states(saga)["a"] == "compensated"


def test_s1_the_last_attempt_of_the_budget_may_succeed(world: World) -> None:
    world.will("b", *[RetryLater()] * 2)
    saga = drain(world.begin(a=world.compensatable(), b=world.compensatable(retry=THREE)))
    assert (saga.state, world.called("b")) == ("completed", 3)


def test_s1_a_pivot_without_effect_compensates(world: World) -> None:
    world.will("p", *[RetryLater()] * 3)
    saga = drain(world.begin(a=world.compensatable(), p=world.pivot(external=True, retry=THREE)))
    assert (saga.state, world.called("p"), states(saga)) == ("compensated", 3, {"a": "compensated", "p": "waiting"})


@pytest.mark.parametrize(
    "endings", [[OutcomeUnknown()] * 3, [OutcomeUnknown(), RetryLater(), RetryLater()], [Broken()] * 3]
)
def test_s1_a_pivot_that_may_have_happened_is_held(world: World, endings: list[Exception]) -> None:
    world.will("p", *endings)
    saga = drain(world.begin(a=world.compensatable(), p=world.pivot(external=True, retry=THREE)))
    step = step_of(saga, "p")
    assert (saga.state, step.state, step.hold, saga.due_at) == ("running", "unknown", Hold.OUTCOME_UNKNOWN, None)
    assert (world.called("p"), world.called("a", COMPENSATION)) == (3, 0)


@pytest.mark.usefixtures("most")
def test_s1_a_retriable_step_needs_attention_and_continues_at_the_cap(world: World) -> None:
    world.will("r", *[RetryLater()] * 6)
    policy = RetryPolicy(attempts=3, cap=20)
    saga = world.begin(p=world.pivot(), r=world.retriable(retry=policy))
    for number in range(1, 7):
        saga = work(saga)
        assert saga.attention == (["retries_exhausted"] if number >= 3 else [])
        assert saga.state == "running"
        pass_time(until_due=saga)
    assert delays(saga, "r") == pytest.approx([0.5, 1, 20, 20, 20, 20], abs=0.15)
    assert len(events(saga, "attention_raised")) == 1
    saga = drain(saga)
    assert (saga.state, saga.attention, step_of(saga, "r").attention) == ("completed", [], None)
    assert len(events(saga, "attention_cleared")) == 1


def test_s1_attention_is_cleared_per_step(world: World) -> None:
    group = Parallel(r=world.retriable(retry=ONE), s=world.retriable(retry=ONE))
    world.will("r", RetryLater())
    world.will("s", RetryLater(), RetryLater(after=50))
    saga = work(world.begin(p=world.pivot(), g=group))
    assert saga.attention == ["retries_exhausted"]
    pass_time(until_due=saga)
    saga = work(saga)
    assert states(saga) == {"p": "succeeded", "r": "succeeded", "s": "waiting"}
    assert (saga.attention, step_of(saga, "r").attention) == (["retries_exhausted"], None)
    saga = drain(saga)
    assert (saga.state, saga.attention) == ("completed", [])


@pytest.mark.usefixtures("most")
@pytest.mark.parametrize(
    ("policy", "slow"),
    [(None, 3600), (RetryPolicy(attempts=10), 3600), (RetryPolicy(attempts=10, after_budget=600), 600)],
)
def test_s3_a_failing_compensation_is_retried_every_hour(world: World, policy: RetryPolicy | None, slow: int) -> None:
    world.will("a", *[RetryLater()] * 13, direction=COMPENSATION)
    world.will("b", Refused())
    saga = world.begin(a=world.compensatable(compensation_retry=policy), b=world.compensatable())
    for number in range(1, 14):
        saga = work(saga)
        assert saga.attention == (["compensation_failing"] if number >= 10 else []), number
        pass_time(until_due=saga)
    assert delays(saga, "a", COMPENSATION)[-5:] == pytest.approx([30, slow, slow, slow, slow], abs=0.15)
    saga = drain(saga)
    assert (saga.state, saga.attention) == ("compensated", [])


def test_s3_a_compensation_with_its_own_budget_keeps_the_project_pace() -> None:
    step = Compensatable(print, nothing_to_undo, compensation_retry=RetryPolicy(attempts=2))
    faster = SagaSettings(compensation_retry=RetryPolicy(attempts=3, after_budget=15))
    unsaid = SagaSettings(compensation_retry=RetryPolicy(attempts=3))
    assert SagaSettings().policy(step, COMPENSATION) == RetryPolicy(attempts=2, after_budget=3600)
    assert faster.policy(step, COMPENSATION) == RetryPolicy(attempts=2, after_budget=15)
    assert unsaid.policy(step, COMPENSATION).after_budget == 3600
    assert unsaid.policy(step, ACTION) == RetryPolicy()


def test_s1_budgets_never_leak_between_directions(world: World) -> None:
    world.will("a", RetryLater(), RetryLater())
    world.will("a", RetryLater(), RetryLater(), direction=COMPENSATION)
    world.will("b", Refused())
    step = world.compensatable(retry=THREE, compensation_retry=THREE)
    saga = drain(world.begin(a=step, b=world.compensatable()))
    assert (saga.state, saga.attention) == ("compensated", [])
    assert (world.called("a"), world.called("a", COMPENSATION)) == (3, 3)
    assert [row.what for row in events(saga, "attention_raised")] == []
    assert [row.number for row in attempts(saga, "a", COMPENSATION)] == [1, 2, 3]


def test_s1_time_of_a_budget_is_counted_from_its_first_attempt(world: World) -> None:
    policy = RetryPolicy(attempts=100, max_elapsed=60)
    world.will("a", RetryLater(after=59), RetryLater(after=1.5), RetryLater())
    saga = drain(world.begin(a=world.compensatable(retry=policy), b=world.compensatable()))
    assert (saga.state, world.called("a")) == ("compensated", 3)


def test_s1_polls_count_only_against_the_time_of_the_budget(world: World) -> None:
    policy = RetryPolicy(attempts=2, max_elapsed=60)
    world.will("a", *[InProgress(poll_after=7)] * 20)
    saga = drain(world.begin(a=world.compensatable(external=True, retry=policy), b=world.compensatable()))
    assert outcomes_of(saga.pk, "a") == [Outcome.IN_PROGRESS] * 10  # after 0, 7, … 63 seconds
    assert (saga.state, world.called("a", COMPENSATION)) == ("compensated", 1)


def test_s1_polls_without_a_time_limit_continue(world: World) -> None:
    world.will("a", *[InProgress(poll_after=60)] * 40, None)
    saga = drain(world.begin(a=world.compensatable(external=True, retry=ONE)))
    assert (saga.state, world.called("a"), step_of(saga, "a").budget_used) == ("completed", 41, 1)


def test_s1_a_pivot_in_progress_beyond_its_time_is_held(world: World) -> None:
    policy = RetryPolicy(max_elapsed=60)
    world.will("p", *[InProgress(poll_after=30)] * 20)
    saga = drain(world.begin(a=world.compensatable(), p=world.pivot(external=True, retry=policy)))
    assert (step_of(saga, "p").hold, world.called("a", COMPENSATION)) == (Hold.OUTCOME_UNKNOWN, 0)


def test_s1_a_refused_compensation_clears_the_attention_of_a_failing_one(world: World) -> None:
    world.will("a", RetryLater(), RetryLater(), CannotUndo("gone"), direction=COMPENSATION)
    world.will("b", Refused())
    saga = drain(
        world.begin(a=world.compensatable(compensation_retry=ONE), b=world.compensatable()), patience=timedelta(days=1)
    )
    step = step_of(saga, "a")
    assert (step.hold, step.attention, saga.attention) == (Hold.COMPENSATION_REFUSED, None, [])
    assert [row.to_state for row in events(saga, "attention_raised")] == ["compensation_failing"]


# --- an unreachable database of a participant -------------------------------------------------------------------


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch, inventory_alias: str) -> list[int]:
    """Make the participant's database unreachable while the first number is positive."""
    left = [0]
    real = type(connections[inventory_alias]).ensure_connection

    def ensure(self: Any) -> None:
        if self.alias == inventory_alias and left[0] > 0:
            left[0] -= 1
            raise OperationalError("no route to the server")
        real(self)

    monkeypatch.setattr(type(connections[inventory_alias]), "ensure_connection", ensure)
    return left


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("direction", Direction)
def test_s1_an_unreachable_database_spends_no_attempt(
    world: World, away: list[int], external: bool, direction: Direction
) -> None:
    step = world.compensatable("inventory", external=external, retry=TWO, compensation_retry=TWO)
    saga = world.begin(a=step, b=world.compensatable(retry=TWO))
    if direction is COMPENSATION:
        world.will("b", lambda _step, _proceed: away.__setitem__(0, 7) or refuse())
    else:
        away[0] = 7

    def refuse() -> None:
        raise Refused

    saga = drain(saga)
    assert saga.state == ("completed" if direction is ACTION else "compensated")
    found = attempts(saga, "a", direction)
    assert [row.outcome for row in found] == ["retry"] * 7 + ["succeeded"]
    assert (world.called("a", direction), saga.attention) == (1, [])
    assert [row.to_state for row in events(saga, "attention_raised")] == []


@pytest.mark.usefixtures("most")
def test_s1_an_unreachable_database_is_retried_with_growing_delays(world: World, away: list[int]) -> None:
    away[0] = 8
    saga = drain(world.begin(a=world.compensatable("inventory", retry=TWO)))
    assert delays(saga, "a") == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30], abs=0.15)


def test_s1_an_unreachable_database_waits_and_compensates_at_the_deadline(world: World, away: list[int]) -> None:
    away[0] = 10_000
    saga = drain(
        world.begin(a=world.compensatable(), b=world.compensatable("inventory"), deadline=timedelta(minutes=3))
    )
    away[0] = 0
    assert (saga.state, states(saga), saga.cause["kind"]) == (
        "compensated",
        {"a": "compensated", "b": "waiting"},
        "deadline",
    )
    assert saga.closed_at - saga.deadline_at < timedelta(seconds=5)
    assert (world.called("b"), world.called("b", COMPENSATION)) == (0, 0)


def test_s1_a_definition_may_consist_of_its_pivot(world: World) -> None:
    saga = drain(world.begin(p=Pivot(world.action())))
    assert (saga.state, world.count(saga, "p")) == ("completed", 1)


def test_failed_attempts_store_their_group_and_the_saga_its_most_attempts(world: World) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable(), pay=world.pivot())
    world.will("b", RuntimeError("line 7 is busy"), RuntimeError("line 8 is busy"), TimeoutError("line 8 is busy"))

    found = drain(saga)

    groups = list(found.attempts.order_by("id").values_list("step__name", "outcome", "error_group"))
    failed = [group for _, outcome, group in groups if outcome == "retry"]
    assert (found.state, found.most_attempts) == ("completed", 4)
    assert failed[0] == failed[1] != failed[2]
    assert all(group for group in failed)
    assert {group for _, outcome, group in groups if outcome == "succeeded"} == {""}
