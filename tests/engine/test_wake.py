"""Wakes are never lost: a waiting step is retried at once when what it waits for arrives."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import ProgrammingError, connection, connections, transaction

from sagas import InProgress, InputRefused, Misconfigured, Parallel, RetryLater, RetryPolicy, SagaNotFound
from sagas.core.states import Outcome
from sagas.engine import advance
from sagas.engine.notify import wakeup_sending
from sagas.engine.step_wake import wake
from sagas.exceptions import SagaError, StepNotFound
from sagas.models import Saga
from sagas.operators import operations
from sagas.testing import drain, outcomes_of, pass_time
from sagas.testing.drain import read

from .frozen import LEASE, freeze, lose_lease
from .side_by_side import PATIENCE_SECONDS, run_elsewhere, run_side_by_side
from .world import ACTION, COMPENSATION, OPERATOR, REASON, Refused, World, events, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)

HOUR = timedelta(hours=1)
SHORT = timedelta(minutes=10)
SLOW = RetryPolicy(base=3600, cap=3600)
EXTERNAL = {"external": True}
LOCAL: dict[str, Any] = {}
KINDS = pytest.mark.parametrize("options", [LOCAL, EXTERNAL], ids=["local", "external"])


def approve(saga: Saga) -> None:
    """Store what the step waits for."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO engine_test_ledger (key, what) VALUES (%s, 'approved')", [f"{saga.pk}:approval"])


def wait_for_approval(world: World, saga: Saga) -> Callable[..., Any]:
    """Return the step's behaviour: poll again in an hour unless approved."""

    def ask(step: Any, proceed: Callable[[], None]) -> dict[str, Any]:
        if not world.count(saga, "approval", "approved"):
            raise InProgress(poll_after=HOUR)
        proceed()
        return {"approved": True}

    return ask


def start(world: World, **options: Any) -> Saga:
    """Start a saga whose first step waits for an approval."""
    saga = world.begin(a=world.compensatable(**options), b=world.compensatable())
    world.will("a", *[wait_for_approval(world, saga)] * 50)
    return saga


@KINDS
def test_step_in_progress_is_polled_at_once(world: World, options: dict[str, Any]) -> None:
    saga = work(start(world, **options))
    assert saga.due_at is not None
    approve(saga)
    before = step_of(saga, "a")

    result = wake(saga, "a")

    step = step_of(saga, "a")
    assert (result.due, result.marked, result.held, result.hold, result.will_retry) == (("a",), (), (), "", True)
    assert result.message == "Retried at once: a."
    assert before.due_at is not None
    assert step.due_at is not None
    assert step.due_at < before.due_at - HOUR / 2
    assert (step.budget_used, step.budget_started_at) == (before.budget_used, before.budget_started_at)
    assert work(saga).state == "completed"
    assert outcomes_of(saga.pk, "a") == [Outcome.IN_PROGRESS, Outcome.SUCCEEDED]


@KINDS
def test_wake_during_an_attempt_is_kept_until_its_record(world: World, options: dict[str, Any]) -> None:
    saga = start(world, **options)
    ask, results = world.plans["a", ACTION].popleft(), []

    def poll_and_be_woken(step: Any, proceed: Callable[[], None]) -> Any:
        try:
            return ask(step, proceed)
        finally:
            run_elsewhere(lambda: (approve(saga), results.append(wake(saga)), results.append(wake(saga))))

    world.plans["a", ACTION].appendleft(poll_and_be_woken)
    saga = work(saga)

    assert [(result.due, result.marked) for result in results] == [((), ("a",))] * 2
    assert results[0].message == "Retried when its attempt ends: a."
    assert saga.state == "completed"
    assert outcomes_of(saga.pk, "a") == [Outcome.IN_PROGRESS, Outcome.SUCCEEDED]
    assert [(row.step, row.from_state, row.data) for row in events(saga, "step_woken")] == [
        ("a", "running", {"is_live": True})
    ]
    assert step_of(saga, "a").is_woken is False


@KINDS
def test_record_that_waits_for_the_waking_transaction_sees_the_wake(world: World, options: dict[str, Any]) -> None:
    saga = start(world, **options)
    ask, threads = world.plans["a", ACTION].popleft(), []
    has_woken = threading.Event()

    def approve_and_wake() -> None:
        try:
            with transaction.atomic():
                approve(saga)
                wake(saga, "a")
                has_woken.set()
                wait_until_a_session_waits_for_a_lock()
        finally:
            connections.close_all()

    def poll_beside_an_uncommitted_approval(step: Any, proceed: Callable[[], None]) -> Any:
        threads.append(threading.Thread(target=approve_and_wake))
        threads[0].start()
        assert has_woken.wait(PATIENCE_SECONDS)
        return ask(step, proceed)  # the approval is not committed yet

    world.plans["a", ACTION].appendleft(poll_beside_an_uncommitted_approval)
    saga = work(saga)
    threads[0].join(PATIENCE_SECONDS)

    assert saga.state == "completed"
    assert outcomes_of(saga.pk, "a") == [Outcome.IN_PROGRESS, Outcome.SUCCEEDED]


def wait_until_a_session_waits_for_a_lock() -> None:
    ends_at = time.monotonic() + PATIENCE_SECONDS
    sql = (
        "SELECT count(*) FROM pg_locks AS lock JOIN pg_stat_activity AS activity USING (pid)"
        " WHERE NOT granted AND activity.datname = current_database()"
    )
    while time.monotonic() < ends_at:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            if cursor.fetchone()[0]:
                return
    raise AssertionError("nobody waited for the saga's row")


@KINDS
def test_no_wake_is_lost_in_a_race_with_an_attempt(world: World, options: dict[str, Any]) -> None:
    def approve_and_wake(saga: Saga) -> None:
        with transaction.atomic():
            approve(saga)
            wake(saga)

    for place in range(12):
        saga = start(world, **options)
        if place % 2:
            work(saga)  # the other half meets the claim of the first attempt
            pass_time(2 * HOUR)
        run_side_by_side([lambda saga=saga: advance.advance(saga.pk), lambda saga=saga: approve_and_wake(saga)])
        assert drain(saga, patience=SHORT).state == "completed"
        world.plans.clear()


def test_wake_of_an_attempt_whose_worker_dies_is_kept_for_the_next_worker(world: World) -> None:
    saga = world.begin(a=world.compensatable(**EXTERNAL, retry=SLOW))
    freeze(saga, "a", before_call=True)
    assert wake(saga).marked == ("a",)

    saga = lose_lease(saga)  # records the lost worker and retries at once

    assert saga.state == "completed"
    assert outcomes_of(saga.pk, "a") == [Outcome.UNKNOWN, Outcome.SUCCEEDED]


def test_wake_after_the_lease_expired_records_the_lost_worker(world: World) -> None:
    saga = world.begin(a=world.compensatable(**EXTERNAL, retry=SLOW))
    freeze(saga, "a", before_call=True)
    pass_time(LEASE)

    assert wake(saga).due == ("a",)
    assert work(saga).state == "completed"


def test_saga_abandoned_after_a_wake_keeps_no_wake(world: World) -> None:
    saga = world.begin(a=world.compensatable(**EXTERNAL))
    freeze(saga, "a")
    wake(saga)
    pass_time(LEASE)
    operations.abandon(saga.pk, actor=OPERATOR, reason=REASON)

    assert (read(saga.pk).state, step_of(saga, "a").is_woken) == ("abandoned", False)


def test_step_that_waits_for_a_retry_is_retried_at_once_within_its_budget(world: World) -> None:
    saga = world.begin(a=world.compensatable(**EXTERNAL, retry=RetryPolicy(attempts=2)))
    world.will("a", RetryLater(after=3600), RetryLater(after=3600))
    work(saga)
    assert step_of(saga, "a").budget_used == 1

    assert wake(saga).due == ("a",)
    assert step_of(saga, "a").budget_used == 1
    assert work(saga).state == "compensated"
    assert outcomes_of(saga.pk, "a") == [Outcome.RETRY, Outcome.RETRY]


def test_only_the_named_step_is_woken(world: World) -> None:
    saga = world.begin(g=Parallel(a=world.compensatable(), b=world.compensatable()))
    world.will("a", InProgress(poll_after=HOUR))
    world.will("b", InProgress(poll_after=HOUR))
    work(saga)

    assert wake(saga, "b").due == ("b",)
    work(saga)
    assert (outcomes_of(saga.pk, "a"), outcomes_of(saga.pk, "b")) == (
        [Outcome.IN_PROGRESS],
        [Outcome.IN_PROGRESS, Outcome.SUCCEEDED],
    )
    assert wake(saga).due == ("a",)


def test_compensation_in_progress_is_woken(world: World) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable())
    world.will("b", Refused())
    world.will("a", InProgress(poll_after=HOUR), direction=COMPENSATION)
    assert work(saga).state == "compensating"

    assert wake(saga).due == ("a",)
    assert work(saga).state == "compensated"


@pytest.mark.parametrize("is_live", [False, True], ids=["waiting", "live"])
def test_verification_of_a_compensation_is_not_brought_forward(world: World, is_live: bool) -> None:
    saga = world.begin(a=world.compensatable(**EXTERNAL, verify_after=HOUR), b=world.compensatable())
    world.will("a", InProgress(), lambda _step, _proceed: None)
    world.will("b", Refused())

    def undo(_step: Any, proceed: Callable[[], None]) -> None:
        if is_live:
            run_elsewhere(lambda: wake(saga))
        proceed()

    world.will("a", undo, direction=COMPENSATION)
    operations.cancel(work(saga).pk, actor=OPERATOR, reason=REASON)
    saga = work(saga)
    result = wake(saga)

    assert (saga.state, result.due, result.will_retry) == ("compensating", (), False)
    due_at = read(saga.pk).due_at
    assert due_at is not None
    assert due_at - saga.updated_at > HOUR / 2
    assert drain(saga).state == "compensated"


def test_unknown_step_is_an_error_that_lists_the_steps(world: World) -> None:
    saga = start(world)
    with pytest.raises(StepNotFound) as refused:
        wake(saga, "aprove")
    assert str(refused.value) == f"Saga {saga.pk} has no step 'aprove'; it has: a, b."
    assert isinstance(refused.value, KeyError)
    assert isinstance(refused.value, SagaError)


@pytest.mark.parametrize("saga", [UUID(int=7), str(UUID(int=7)), "ORD-1", "", 7, None], ids=repr)
def test_unknown_saga_is_not_found(saga: Any) -> None:
    with pytest.raises(SagaNotFound):
        wake(saga)


def test_saga_is_given_by_row_id_or_text(world: World) -> None:
    saga = work(start(world))
    assert [wake(named).due for named in (saga, saga.pk, str(saga.pk))] == [("a",)] * 3
    assert len(events(saga, "step_woken")) == 1  # it was due already


def test_step_not_reached_needs_no_wake(world: World) -> None:
    saga = start(world)
    before = read(saga.pk).history_count

    for result in (wake(saga), wake(saga, "b")):
        assert (result.state, result.due, result.marked, result.will_retry) == ("pending", (), (), False)
        assert result.message == "Nothing waits; a step that is not reached yet reads current data when it runs."
    assert read(saga.pk).history_count == before


@pytest.mark.parametrize("end", ["completed", "compensated", "abandoned"])
def test_wake_of_a_closed_saga_reports_its_state(world: World, end: str) -> None:
    saga = world.begin(a=world.compensatable())
    if end == "abandoned":
        operations.abandon(saga.pk, actor=OPERATOR, reason=REASON)
    else:
        world.will("a", *[Refused()] * (end == "compensated"))
        drain(saga)

    result = wake(saga, "a")
    assert (result.state, result.will_retry) == (end, False)
    assert result.message == f"The saga is {end}; nothing waits any more."


def test_held_step_stays_held(world: World) -> None:
    world.will("a", Misconfigured("no key"))
    saga = work(world.begin(a=world.compensatable()))

    result = wake(saga)
    assert (result.due, result.held, result.will_retry) == ((), ("a",), False)
    assert result.message == "Held for an operator: a."
    assert step_of(saga, "a").hold == "misconfigured"


def test_paused_saga_polls_as_soon_as_it_is_resumed(world: World) -> None:
    saga = work(start(world))
    operations.pause(saga.pk, actor=OPERATOR, reason=REASON)
    approve(saga)

    result = wake(saga)
    assert (result.due, result.hold, result.message) == (
        ("a",), "paused", "Retried at once: a; the saga is held: paused.",
    )  # fmt: skip
    assert work(saga).state == "running"
    operations.resume(saga.pk, actor=OPERATOR, reason=REASON)
    assert work(saga).state == "completed"


def test_wake_commits_with_the_callers_changes(world: World, wakeups: list[Any]) -> None:
    saga = work(start(world))
    due_at = step_of(saga, "a").due_at
    wakeups.clear()
    with transaction.atomic():
        approve(saga)
        wake(saga)
        transaction.set_rollback(True)
    assert (step_of(saga, "a").due_at, wakeups, events(saga, "step_woken")) == (due_at, [], [])

    with transaction.atomic():
        approve(saga)
        wake(saga, actor="ada", reason="She signed it.")
        assert wakeups == []
    assert [pk for pk, _queue in wakeups] == [saga.pk]
    [row] = events(saga, "step_woken")
    assert (row.actor, row.reason, row.data) == ("ada", "She signed it.", {"is_live": False})


@pytest.fixture
def wakeups(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the wake-ups."""
    found: list[Any] = []
    monkeypatch.setattr(wakeup_sending, "send", lambda saga_id, queue: found.append((saga_id, queue)))
    return found


@pytest.mark.parametrize("named", ["actor", "reason"])
@pytest.mark.parametrize("text", ["a\x00b", "\ud800", None, 5])
def test_unstorable_actor_or_reason_is_refused_and_the_callers_rows_stay(world: World, named: str, text: Any) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable())
    with transaction.atomic():
        approve(saga)
        with pytest.raises(InputRefused, match=f"The {named} "):
            wake(saga, **{named: text})
    assert world.count(saga, "approval", "approved") == 1


def test_manual_transaction_survives_a_wake(world: World) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable())
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        approve(saga)
        with pytest.raises(ProgrammingError):
            wake(saga)
        cursor.execute("COMMIT")
    assert world.count(saga, "approval", "approved") == 1
