"""S0: constraints of the tables, legal transitions, and what every write leaves behind."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django_fsm import TransitionNotAllowed

from sagas import Compensatable, InputRefused, Parallel, RetryLater
from sagas.core.history_events import HistoryEvent
from sagas.core.outcomes import succeeded
from sagas.core.states import SagaState, StepState
from sagas.engine.store.unit_of_work import SagaUnitOfWork
from sagas.exceptions import SagaNotFound, StaleWrite
from sagas.models import Saga, SagaAttempt, SagaHistory, SagaStep
from sagas.models.saga import new_saga_id
from sagas.operators import operations
from sagas.testing import drain, pass_time

from .world import OPERATOR, REASON, Refused, World, attempts, begin, define, events, states, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture
def saga(world: World) -> Saga:
    """Start a saga with a step of every kind, the first done with the start."""
    return world.begin(a=world.compensatable(), p=world.pivot(), r=world.retriable())


def execute(sql: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


SAGA_LIES = {
    "saga_(state_known|closed_at_tells_closed)": "state = 'lost'",
    "saga_hold_known": "hold = 'bored'",
    "saga_abort_known": "abort_request = 'whim'",
    "saga_closed_at_tells_closed (open)": "closed_at = now()",
    "saga_closed_at_tells_closed (closed)": "state = 'completed'",
    "saga_closed_is_never_due (due)": "state = 'completed', closed_at = now()",
    "saga_closed_is_never_due (held)": "state = 'completed', closed_at = now(), due_at = NULL, hold = 'paused'",
    "saga_never_compensated_after_pivot": "state = 'compensating', cause = '{}', pivot_passed_at = now()",
    "saga_compensates_for_a_cause": "state = 'compensating'",
}


@pytest.mark.parametrize("lie", SAGA_LIES)
def test_s0_the_saga_table_refuses(saga: Saga, lie: str) -> None:
    with pytest.raises(IntegrityError, match=lie.split(maxsplit=1)[0]), transaction.atomic():
        execute(f"UPDATE sagas_saga SET {SAGA_LIES[lie]} WHERE id = %s", saga.pk)  # noqa: S608
    saga.refresh_from_db()
    assert (saga.state, saga.closed_at) == ("pending", None)


STEP_LIES = {
    "saga_step_position_once": ("a", "position = 1"),
    "saga_step_name_once": ("a", "name = 'p'"),
    "saga_step_one_pivot": ("a", "kind = 'pivot'"),
    "saga_step_kind_known": ("a", "kind = 'optional'"),
    "saga_step_state_known": ("a", "state = 'lost'"),
    "saga_step_hold_known": ("a", "hold = 'bored'"),
    "saga_step_attention_known": ("a", "attention = 'ping'"),
    "saga_step_waiting_for_known": ("a", "state = 'waiting', waiting_for = 'godot'"),
    "saga_step_lease_is_whole (token)": ("a", "lease_token = gen_random_uuid()"),
    "saga_step_lease_is_whole (time)": ("a", "lease_until = now()"),
    "saga_step_lease_is_whole (at rest)": ("a", "lease_token = gen_random_uuid(), lease_until = now()"),
    "saga_step_running_is_leased": ("a", "state = 'running'"),
    "saga_step_due_only_when_asked_again (pending)": ("a", "due_at = now()"),
    "saga_step_due_only_when_asked_again (held)": ("a", "state = 'waiting', due_at = now(), hold = 'misconfigured'"),
    "saga_step_due_only_when_asked_again (live)": (
        "a",
        "state = 'compensating', lease_token = gen_random_uuid(), lease_until = now(), due_at = now()",
    ),
    "saga_step_pivot_never_undone (skipped)": ("p", "state = 'skipped'"),
    "saga_step_pivot_never_undone (compensating)": ("p", "state = 'compensating'"),
    "saga_step_pivot_never_undone (compensated)": ("p", "state = 'compensated'"),
    "saga_step_retriable_never_undone (compensating)": ("r", "state = 'compensating'"),
    "saga_step_retriable_never_undone (compensated)": ("r", "state = 'compensated'"),
}


@pytest.mark.parametrize("lie", STEP_LIES)
def test_s0_the_step_table_refuses(saga: Saga, lie: str) -> None:
    name, change = STEP_LIES[lie]
    with pytest.raises(IntegrityError, match=lie.split(maxsplit=1)[0]), transaction.atomic():
        execute(f"UPDATE sagas_sagastep SET {change} WHERE saga_id = %s AND name = %s", saga.pk, name)  # noqa: S608
    assert states(saga) == {"a": "pending", "p": "pending", "r": "pending"}


@pytest.mark.parametrize(
    "change",
    [
        "due_at = now(), state = 'waiting'",
        "due_at = now(), state = 'unknown'",
        "due_at = now(), state = 'compensating'",
        "state = 'running', lease_token = gen_random_uuid(), lease_until = now()",
        "state = 'compensating', lease_token = gen_random_uuid(), lease_until = now()",
        "hold = 'misconfigured'",
    ],
)
def test_s0_the_step_table_accepts_values_within_each_limit(saga: Saga, change: str) -> None:
    with transaction.atomic():
        execute(f"UPDATE sagas_sagastep SET {change} WHERE saga_id = %s AND name = 'a'", saga.pk)  # noqa: S608
        assert step_of(saga, "a").name == "a"
        transaction.set_rollback(True)


ATTEMPT_LIES = {
    "saga_attempt_number_once": "INSERT INTO sagas_sagaattempt (saga_id, step_id, direction, number, epoch,"
    " lease_token, worker, started_at, deadline_at, ended_at, outcome, effect, settles, is_assumed, error_class,"
    " message, traceback) SELECT saga_id, step_id, direction, number, epoch, gen_random_uuid(), '', now(), now(),"
    " now(), 'retry', 'none', false, false, '', '', '' FROM sagas_sagaattempt WHERE saga_id = %s",
    "saga_attempt_one_live": "INSERT INTO sagas_sagaattempt (saga_id, step_id, direction, number, epoch,"
    " lease_token, worker, started_at, deadline_at, effect, settles, is_assumed, error_class, message, traceback)"
    " SELECT saga_id, step_id, 'compensation', 1, epoch, gen_random_uuid(), '', now(), now(), 'maybe', false, false,"
    " '', '', '' FROM sagas_sagaattempt WHERE saga_id = %s",
    "saga_attempt_direction_known": "UPDATE sagas_sagaattempt SET direction = 'sideways' WHERE saga_id = %s",
    "saga_attempt_outcome_known": "UPDATE sagas_sagaattempt SET outcome = 'meh', ended_at = now() WHERE saga_id = %s",
    "saga_attempt_effect_known": "UPDATE sagas_sagaattempt SET effect = 'removed' WHERE saga_id = %s",
    "saga_attempt_ends_with_outcome": "UPDATE sagas_sagaattempt SET ended_at = now() WHERE saga_id = %s",
}


@pytest.mark.parametrize("lie", ATTEMPT_LIES)
def test_s0_the_attempt_table_refuses(world: World, saga: Saga, lie: str) -> None:
    def check(_step: Any, _proceed: Any) -> None:
        with pytest.raises(IntegrityError, match=lie), transaction.atomic():
            execute(ATTEMPT_LIES[lie], saga.pk)

    world.will("a", check)
    work(saga)
    assert world.called("a") == 1
    assert len(attempts(saga, "a")) == 1


def test_s0_a_saga_key_is_unique(saga: Saga) -> None:
    with pytest.raises(IntegrityError, match="saga_key_once"), transaction.atomic():
        execute("INSERT INTO sagas_sagakey (saga_id, name, value) VALUES (%s, 'trip', 'T-2')", saga.pk)
    assert [key.value for key in saga.keys.all()] == ["T-1"]


@pytest.mark.parametrize("change", ["UPDATE sagas_sagahistory SET reason = 'x'", "DELETE FROM sagas_sagahistory"])
def test_s0_history_is_append_only(saga: Saga, change: str) -> None:
    before = SagaHistory.objects.filter(saga_id=saga.pk).values().get()
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        execute(f"{change} WHERE saga_id = %s", saga.pk)
    assert SagaHistory.objects.filter(saga_id=saga.pk).values().get() == before


def test_s0_retention_may_delete_history_but_not_change_it(saga: Saga) -> None:
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():  # noqa: PT012
        execute("SET LOCAL sagas.retention = 'on'")
        execute("UPDATE sagas_sagahistory SET reason = 'x' WHERE saga_id = %s", saga.pk)
    with transaction.atomic():
        execute("SET LOCAL sagas.retention = 'on'")
        execute("DELETE FROM sagas_sagahistory WHERE saga_id = %s", saga.pk)
        assert events(saga) == []
        transaction.set_rollback(True)


SAGA_MOVES = {
    "begin": {"pending": "running"},
    "complete": {"pending": "completed", "running": "completed"},
    "turn_back": {"pending": "compensating", "running": "compensating"},
    "finish_compensating": {"compensating": "compensated"},
    "reopen": {"compensated": "compensating"},
    "abandon": {"pending": "abandoned", "running": "abandoned", "compensating": "abandoned"},
}
STEP_MOVES = {
    "await_event": {"pending": "waiting"},
    "run": {"pending": "running", "waiting": "running", "unknown": "running"},
    "succeed": {"running": "succeeded", "waiting": "succeeded", "unknown": "succeeded"},
    "refuse": {"running": "refused", "waiting": "refused", "unknown": "refused"},
    "wait": {"running": "waiting"},
    "lose_sight": {"running": "unknown", "waiting": "unknown"},
    "skip": {"pending": "skipped", "waiting": "skipped", "refused": "skipped"},
    "compensate": dict.fromkeys(("succeeded", "refused", "waiting", "unknown"), "compensating"),
    "finish_compensating": {"compensating": "compensated"},
    "reopen": {"compensated": "compensating"},
    "reconsider": {"refused": "waiting"},
}


@pytest.mark.parametrize(
    ("model", "moves", "known"), [(Saga, SAGA_MOVES, SagaState), (SagaStep, STEP_MOVES, StepState)]
)
def test_s0_only_declared_transitions_are_legal(model: Any, moves: dict[str, dict[str, str]], known: Any) -> None:
    declared = {transition.name for transition in model(state="x").get_all_state_transitions()}
    assert declared == set(moves)
    for name, targets in moves.items():
        for state in known:
            row = model(state=state.value)
            if state.value in targets:
                getattr(row, name)()
                assert row.state == targets[state.value]
            else:
                with pytest.raises(TransitionNotAllowed):
                    getattr(row, name)()
                assert row.state == state.value


def test_s0_a_state_cannot_be_assigned() -> None:
    saga, step = Saga(), SagaStep()
    with pytest.raises(AttributeError):
        saga.state = "completed"
    with pytest.raises(AttributeError):
        step.state = "succeeded"


MOVED_BY_OTHERS: dict[str, str] = {
    "revision": "UPDATE sagas_saga SET revision = revision + 1 WHERE id = %s",
    "state": "UPDATE sagas_saga SET state = 'running' WHERE id = %s",
    "history": "UPDATE sagas_saga SET history_count = history_count + 1 WHERE id = %s",
    "state of a step": "UPDATE sagas_sagastep SET state = 'waiting' WHERE saga_id = %s AND name = 'a'",
    "token of a step": "UPDATE sagas_sagastep SET state = 'running', lease_token = gen_random_uuid(),"
    " lease_until = now() WHERE saga_id = %s AND name = 'a'",
}


@pytest.mark.parametrize("what", MOVED_BY_OTHERS)
def test_s0_a_write_on_a_changed_row_is_refused_as_a_whole(saga: Saga, what: str) -> None:
    with pytest.raises(StaleWrite), transaction.atomic():  # noqa: PT012
        unit = SagaUnitOfWork.lock(saga.pk)
        execute(MOVED_BY_OTHERS[what], saga.pk)
        unit.step("a").skip()
        unit.add_history(HistoryEvent.STEP_SKIPPED, step=unit.step("a"))
        unit.write()
    assert states(saga)["a"] == "pending"
    assert [row.what for row in events(saga)] == ["saga_started"]


@pytest.mark.parametrize("outcome", ["succeeded", "refused", "retry", "in_progress", "misconfigured", "fenced"])
def test_s0_a_definite_outcome_is_written_once(world: World, saga: Saga, outcome: str) -> None:
    world.will("a", RetryLater())
    work(saga)
    [attempt] = attempts(saga, "a")
    execute("UPDATE sagas_sagaattempt SET outcome = %s WHERE id = %s", outcome, attempt.pk)
    with pytest.raises(StaleWrite), transaction.atomic():  # noqa: PT012
        unit = SagaUnitOfWork.lock(saga.pk)
        unit.close_attempt(unit.step("a"), attempt.lease_token, succeeded(None))
        unit.write()
    attempt.refresh_from_db()
    assert attempt.outcome == outcome


def test_s0_an_unknown_saga_cannot_be_locked() -> None:
    with pytest.raises(SagaNotFound), transaction.atomic():
        SagaUnitOfWork.lock(uuid4())
    assert Saga.objects.count() == 0


def test_s0_a_step_done_with_the_start_has_one_succeeded_attempt(world: World) -> None:
    saga = world.begin(a=Compensatable(compensation=world.compensation()), b=world.compensatable())
    [attempt] = attempts(saga, "a")
    assert (attempt.outcome, attempt.effect, attempt.number) == ("succeeded", "yes", 1)
    assert states(saga) == {"a": "succeeded", "b": "pending"}
    assert step_of(saga, "a").action_attempts == 1
    saga = drain(saga)
    assert (saga.state, world.called("a")) == ("completed", 0)


def test_s0_history_is_numbered_without_gaps_and_complete(world: World, saga: Saga) -> None:
    world.will("p", RetryLater(), Refused())
    saga = drain(saga)
    rows = events(saga)
    assert [row.number for row in rows] == list(range(1, saga.history_count + 1))
    assert [(row.what, row.step, row.from_state, row.to_state) for row in rows] == [
        ("saga_started", "", "", "pending"),
        ("saga_running", "", "pending", "running"),
        ("step_claimed", "a", "pending", "running"),
        ("step_succeeded", "a", "running", "succeeded"),
        ("step_claimed", "p", "pending", "running"),
        ("step_waiting", "p", "running", "waiting"),
        ("step_claimed", "p", "waiting", "running"),
        ("step_refused", "p", "running", "refused"),
        ("saga_turned_back", "", "running", "compensating"),
        ("compensation_claimed", "a", "succeeded", "compensating"),
        ("compensation_succeeded", "a", "compensating", "compensated"),
        ("saga_compensated", "", "compensating", "compensated"),
    ]
    assert {row.actor for row in rows} == {None}


def test_s0_the_revision_grows_with_decisions_and_not_with_retries(world: World, saga: Saga) -> None:
    world.will("a", RetryLater(), RetryLater(), RetryLater())
    assert saga.revision == 1
    saga = work(saga)
    assert saga.revision == 2  # it began to run
    after_first = saga.revision
    for _ in range(2):
        pass_time(until_due=saga)
        saga = work(saga)
    assert (saga.revision, len(attempts(saga, "a"))) == (after_first, 3)
    operations.pause(saga.pk, actor=OPERATOR, reason=REASON)
    saga.refresh_from_db()
    assert saga.revision == after_first + 1


def test_s0_the_revision_grows_when_a_step_ends(world: World, saga: Saga) -> None:
    world.will("p", RetryLater())
    before = saga.revision
    saga = work(saga)
    assert states(saga)["a"] == "succeeded"
    assert saga.revision > before + 1  # it began to run, and a succeeded
    drawn_on = saga.revision
    world.will("p", Refused())
    pass_time(until_due=saga)
    saga = drain(saga)
    assert (states(saga)["a"], saga.revision > drawn_on + 1) == ("compensated", True)


def test_s0_ids_are_ordered_by_time() -> None:
    first, second = new_saga_id(), new_saga_id()
    assert first.version == second.version == 7
    assert first.int >> 80 <= second.int >> 80
    assert first != second


@pytest.mark.parametrize("count", [1, 2, 5])
def test_s0_every_execution_is_one_attempt_row_written_before_it_runs(world: World, saga: Saga, count: int) -> None:
    seen: list[int] = []

    def look(_step: Any, _proceed: Any) -> None:
        seen.append(SagaAttempt.objects.filter(saga_id=saga.pk, step__name="a", outcome=None).count())
        raise RetryLater(after=0)

    world.will("a", *[look] * (count - 1))
    saga = drain(saga)
    assert seen == [1] * (count - 1)
    assert [attempt.number for attempt in attempts(saga, "a")] == list(range(1, count + 1))


def test_s0_a_start_that_is_rolled_back_leaves_nothing(world: World) -> None:
    trip = define(a=world.compensatable())
    with pytest.raises(RuntimeError), transaction.atomic():  # noqa: PT012
        begin(trip)
        raise RuntimeError
    assert Saga.objects.count() == SagaAttempt.objects.count() == SagaHistory.objects.count() == 0


STARTS: dict[str, Callable[[World], Any]] = {
    "unknown key name": lambda w: begin(define(a=w.compensatable()), Order="1"),
    "empty key": lambda w: begin(define(a=w.compensatable()), order=""),
    "long key": lambda w: begin(define(a=w.compensatable()), order="x" * 121),
    "key with NUL": lambda w: begin(define(a=w.compensatable()), order="a\x00"),
    "key with half a character": lambda w: begin(define(a=w.compensatable()), order="\ud800"),
    "key that is no text": lambda w: begin(define(a=w.compensatable()), order=5),
    "input where none is taken": lambda w: begin(define(a=w.compensatable()), {"a": 1}),
}


@pytest.mark.parametrize("case", STARTS)
def test_invalid_start_is_refused_and_leaves_nothing(world: World, case: str) -> None:
    with pytest.raises(InputRefused):
        STARTS[case](world)
    assert Saga.objects.count() == 0


def test_group_is_stored_with_its_ranks(world: World) -> None:
    saga = world.begin(a=world.compensatable(), g=Parallel(x=world.compensatable(), y=world.compensatable()))
    rows = SagaStep.objects.filter(saga_id=saga.pk).order_by("position")
    assert [(row.name, row.rank, row.position) for row in rows] == [("a", 0, 0), ("x", 1, 1), ("y", 1, 2)]


def test_deadline_counts_from_the_start(world: World) -> None:
    saga = world.begin(a=world.compensatable(), deadline=timedelta(minutes=15))
    assert saga.deadline_at - saga.created_at == timedelta(minutes=15)
    assert saga.due_at == saga.created_at
