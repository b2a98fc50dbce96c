"""S9: one task continues as far as it may; the sweep finds sagas whose wake-up was lost."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction

from sagas import Parallel, RetryLater, clock
from sagas.conf import get_settings
from sagas.core.definition import registry
from sagas.core.states import Hold
from sagas.engine import advance as engine
from sagas.engine.notify import wakeup_sending
from sagas.models import Saga, SagaWorker
from sagas.monitoring.liveness import read_liveness
from sagas.operators import operations
from sagas.testing import drain, faults, pass_time
from sagas.testing.drain import read
from sagas.worker import sweeper

from .side_by_side import run_side_by_side
from .world import OPERATOR, REASON, Refused, World, attempts, begin, define, states, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture
def wakeups(monkeypatch: pytest.MonkeyPatch) -> list[tuple[UUID, str]]:
    """Collect wake-ups."""
    woken: list[tuple[UUID, str]] = []
    monkeypatch.setattr(wakeup_sending, "send", lambda saga_id, queue="": woken.append((saga_id, queue)))
    return woken


# --- one task continues ---------------------------------------------------------------------------------------------


def test_s9_one_task_runs_every_step(world: World, wakeups: list[Any]) -> None:
    saga = world.begin(**{name: world.compensatable() for name in "abcde"})
    wakeups.clear()
    assert engine.advance(saga.pk) == 5
    assert (read(saga.pk).state, wakeups) == ("completed", [])


def test_s9_a_start_wakes_after_the_commit_for_the_queue_of_the_first_step(
    world: World, wakeups: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    trip = define(a=world.compensatable(queue="slow"))
    with django_capture_on_commit_callbacks(execute=False) as callbacks:
        saga = begin(trip)
    assert wakeups == []
    [callback] = callbacks
    callback()
    assert wakeups == [(saga.pk, "slow")]


def test_s9_a_step_of_another_queue_is_left_to_that_queue_and_woken(world: World, wakeups: list[Any]) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable(queue="slow"), c=world.compensatable())
    wakeups.clear()
    assert engine.advance(saga.pk, queues=frozenset({"sagas"})) == 1
    assert (states(saga), wakeups) == ({"a": "succeeded", "b": "pending", "c": "pending"}, [(saga.pk, "slow")])
    assert read(saga.pk).queue == "slow"
    assert step_of(saga, "b").lease_token is None
    wakeups.clear()
    assert engine.advance(saga.pk, queues=frozenset({"slow"})) == 1
    assert wakeups == [(saga.pk, "sagas")]
    assert engine.advance(saga.pk, queues=frozenset({"slow", "sagas"})) == 1
    assert read(saga.pk).state == "completed"


def test_s9_a_worker_of_another_queue_changes_nothing_and_keeps_the_due_time(world: World, wakeups: list[Any]) -> None:
    saga = world.begin(a=world.compensatable(queue="slow"))
    due_at = saga.due_at
    for _ in range(3):
        assert engine.advance(saga.pk, queues=frozenset({"sagas"})) == 0
    assert (read(saga.pk).due_at, read(saga.pk).state, world.calls) == (due_at, "pending", [])
    assert set(wakeups) == {(saga.pk, "slow")}


def test_s9_compensations_run_on_the_queue_of_their_step(world: World, wakeups: list[Any]) -> None:
    saga = world.begin(a=world.compensatable(queue="slow"), b=world.compensatable())
    engine.advance(saga.pk, queues=frozenset({"slow"}))
    world.will("b", Refused())
    wakeups.clear()
    engine.advance(saga.pk, queues=frozenset({"sagas"}))
    assert (read(saga.pk).state, read(saga.pk).queue, wakeups) == ("compensating", "slow", [(saga.pk, "slow")])
    engine.advance(saga.pk, queues=frozenset({"slow"}))
    assert read(saga.pk).state == "compensated"


def test_s9_a_spent_time_slice_ends_the_task_with_a_wakeup(
    world: World, wakeups: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = [0.0]
    real = time.monotonic
    monkeypatch.setattr("sagas.engine.advance.time.monotonic", lambda: real() + ahead[0])
    slice_seconds = get_settings().time_slice.total_seconds()

    def take_long(_step: Any, proceed: Callable[[], None]) -> None:
        ahead[0] += slice_seconds
        proceed()

    saga = world.begin(a=world.compensatable(), b=world.compensatable(), c=world.compensatable())
    world.will("b", take_long)
    wakeups.clear()
    assert engine.advance(saga.pk) == 2
    assert states(saga) == {"a": "succeeded", "b": "succeeded", "c": "pending"}
    assert (step_of(saga, "c").lease_token, wakeups) == (None, [(saga.pk, "sagas")])
    assert read(saga.pk).due_at <= clock.read_now("default")


def test_s9_a_worker_shutdown_ends_the_task_with_a_wakeup(world: World, wakeups: list[Any]) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable())
    wakeups.clear()
    assert engine.advance(saga.pk, should_stop=lambda: world.called("a") == 1) == 1
    assert (states(saga), wakeups) == ({"a": "succeeded", "b": "pending"}, [(saga.pk, "sagas")])
    assert engine.advance(saga.pk, should_stop=lambda: True) == 0
    assert len(attempts(saga, "b")) == 0
    assert engine.advance(saga.pk) == 1


def test_s9_a_wakeup_of_an_unknown_saga_is_ignored(world: World) -> None:
    assert engine.advance(uuid4()) == 0
    assert Saga.objects.count() == 0


def test_s9_a_repeated_wakeup_changes_nothing(world: World) -> None:
    saga = drain(world.begin(a=world.compensatable()))
    before = (saga.updated_at, saga.revision, saga.history_count)
    assert [engine.advance(saga.pk) for _ in range(3)] == [0, 0, 0]
    saga = read(saga.pk)
    assert ((saga.updated_at, saga.revision, saga.history_count), world.called("a")) == (before, 1)


def test_s9_an_early_wakeup_changes_nothing(world: World) -> None:
    world.will("a", RetryLater(after=60))
    saga = work(world.begin(a=world.compensatable()))
    before = (saga.updated_at, saga.due_at, saga.revision)
    saga = work(saga)
    assert ((saga.updated_at, saga.due_at, saga.revision), world.called("a")) == (before, 1)


def test_s9_an_operation_wakes_what_it_makes_due(
    world: World, wakeups: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    world.will("a", RetryLater(after=60))
    saga = work(world.begin(a=world.compensatable(queue="slow")))
    wakeups.clear()
    with django_capture_on_commit_callbacks(execute=True):
        operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    assert wakeups == [(saga.pk, "slow")]


# --- the sweep ------------------------------------------------------------------------------------------------------


def due_ids(**options: Any) -> list[UUID]:
    return [due.id for due in sweeper.claim_due(**options)]


@pytest.fixture
def trip(world: World) -> Any:
    """Declare a saga of one step."""
    return define(a=world.compensatable())


def test_s9_the_sweep_finds_what_is_due_and_nothing_else(world: World, trip: Any) -> None:
    fresh = begin(trip)
    waiting, live, paused, closed = begin(trip), begin(trip), begin(trip), begin(trip)
    world.will("a", RetryLater(after=100))
    work(waiting)
    with faults() as fault:
        fault.crash_before("a")
        work(live)
    operations.pause(paused.pk, actor=OPERATOR, reason=REASON)
    drain(closed)
    assert due_ids() == [fresh.pk]
    pass_time(timedelta(seconds=31))
    assert due_ids() == [fresh.pk, live.pk]  # the lease has expired
    pass_time(timedelta(seconds=70))
    assert due_ids() == [fresh.pk, live.pk, waiting.pk]


def test_s9_the_sweep_finds_a_passed_deadline_of_a_held_saga(world: World) -> None:
    saga = world.begin(a=world.compensatable(), deadline=timedelta(minutes=1))
    operations.pause(saga.pk, actor=OPERATOR, reason=REASON)
    pass_time(timedelta(seconds=59))
    assert due_ids() == []
    pass_time(timedelta(seconds=2))
    assert due_ids() == [saga.pk]


def test_s9_a_due_saga_is_woken_at_most_once_per_interval(trip: Any) -> None:
    saga = begin(trip)
    assert due_ids() == [saga.pk]
    assert due_ids() == []
    pass_time(timedelta(seconds=3))
    assert due_ids() == []
    pass_time(timedelta(seconds=3))
    assert due_ids() == [saga.pk]


def test_s9_the_sweep_goes_oldest_first_a_page_at_a_time(trip: Any) -> None:
    sagas = [begin(trip) for _ in range(5)]
    Saga.objects.filter(pk=sagas[3].pk).update(due_at=sagas[0].due_at - timedelta(minutes=1))
    expected = [sagas[number].pk for number in (3, 0, 1, 2, 4)]
    assert due_ids(limit=2) == expected[:2]
    assert due_ids(limit=2) == expected[2:4]
    assert due_ids(limit=2) == expected[4:]
    assert due_ids(limit=2) == []


def test_s9_the_page_size_of_the_setting_is_the_default(trip: Any, settings: Any) -> None:
    settings.SAGAS = {**settings.SAGAS, "SWEEP_PAGE": 3}
    for _ in range(5):
        begin(trip)
    assert len(due_ids()) == 3


def test_s9_the_sweep_wakes_the_queue_of_what_is_due(world: World, wakeups: list[Any]) -> None:
    saga = world.begin(a=world.compensatable(queue="slow"))
    wakeups.clear()
    assert sweeper.wake_due() == 1
    assert wakeups == [(saga.pk, "slow")]


def test_s9_the_sweep_wakes_the_common_queue_for_an_unknown_queue(world: World, wakeups: list[Any]) -> None:
    saga = world.begin(a=world.compensatable(queue="slow"))
    registry.forget("trip", 1)
    wakeups.clear()
    assert sweeper.wake_due() == 1
    assert wakeups == [(saga.pk, "sagas")]
    saga = work(saga)
    assert (saga.hold, attempts(saga, "a")) == (Hold.DEFINITION_MISSING, [])
    pass_time(until_due=saga)
    wakeups.clear()
    assert sweeper.wake_due(queues=["slow"]) == 1
    assert wakeups == [(saga.pk, "slow")]  # a worker that names the queue serves it


def test_s9_the_sweep_may_be_limited_to_queues(world: World, trip: Any) -> None:
    slow = world.begin("slow", a=world.compensatable(queue="slow"))
    fast = begin(trip)
    assert due_ids(queues=["slow"]) == [slow.pk]
    assert due_ids(queues=["sagas", "slow"]) == [fast.pk]
    assert due_ids(queues=["nobody"]) == []


def group_of_two_queues(world: World) -> Any:
    """Declare a saga that begins with a group whose steps are on different queues."""
    return define(g=Parallel(x=world.compensatable(queue="stopped"), y=world.compensatable(queue="slow")))


def test_s9_the_sweep_wakes_every_queue_of_a_group_even_if_the_first_is_unserved(
    world: World, wakeups: list[Any]
) -> None:
    saga = begin(group_of_two_queues(world))
    wakeups.clear()
    assert sweeper.wake_due() == 1
    assert wakeups == [(saga.pk, "stopped"), (saga.pk, "slow")]
    engine.advance(saga.pk, queues=frozenset({"slow"}))
    assert states(saga) == {"x": "pending", "y": "succeeded"}
    wakeups.clear()
    assert sweeper.wake_due() == 1
    assert wakeups == [(saga.pk, "stopped")]


def test_s9_the_sweep_wakes_the_queue_of_a_retry_behind_an_unserved_step(world: World, wakeups: list[Any]) -> None:
    world.will("y", RetryLater(after=60))
    saga = begin(group_of_two_queues(world))
    engine.advance(saga.pk, queues=frozenset({"slow"}))
    pass_time(timedelta(seconds=61))
    wakeups.clear()
    assert sweeper.wake_due() == 1
    assert set(wakeups) == {(saga.pk, "stopped"), (saga.pk, "slow")}


def test_s9_a_saga_is_found_by_each_queue_it_needs(world: World) -> None:
    saga = begin(group_of_two_queues(world))
    for options in ({"queues": ["slow"]}, {"exclude": ["stopped"]}, {"queues": ["slow", "stopped"]}):
        assert due_ids(**options) == [saga.pk]
        pass_time(timedelta(seconds=6))
    assert due_ids(exclude=["stopped", "slow"]) == []
    assert due_ids(queues=["nobody"]) == []
    [found] = sweeper.claim_due(exclude=["stopped"])
    assert found.queues == ("slow",)


def test_s9_executing_one_queue_runs_its_steps_of_a_group(world: World) -> None:
    saga = begin(group_of_two_queues(world))
    assert sweeper.run_due(queues=["slow"]) == 1
    assert states(saga) == {"x": "pending", "y": "succeeded"}
    assert sweeper.run_due(queues=["stopped"]) == 1
    assert (read(saga.pk).state, read(saga.pk).queue, read(saga.pk).other_queues) == ("completed", "", [])


def test_s9_the_sweep_can_execute_due_sagas_without_a_broker(world: World, trip: Any) -> None:
    sagas = [begin(trip) for _ in range(3)]
    assert sweeper.run_due() == 3
    assert {read(saga.pk).state for saga in sagas} == {"completed"}
    assert attempts(sagas[0], "a")[0].worker == sweeper.worker_name()


def test_s9_a_poisoned_row_never_stops_the_rest(world: World, trip: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned, *others = [begin(trip) for _ in range(3)]
    real = engine.advance

    def advance(saga_id: UUID, **options: Any) -> int:
        if saga_id == poisoned.pk:
            raise ZeroDivisionError("poison")
        return real(saga_id, **options)

    monkeypatch.setattr(sweeper.advance, "advance", advance)
    assert sweeper.run_due() == 3
    assert [read(saga.pk).state for saga in others] == ["completed", "completed"]
    assert sweeper.run_due() == 0  # woken a moment ago
    pass_time(timedelta(seconds=6))
    later = begin(trip)
    pass_time(timedelta(seconds=1))
    assert due_ids(limit=1) == [later.pk]  # rows that changed come first, so rows without progress never fill a page
    assert due_ids(limit=1) == [poisoned.pk]


def test_s9_a_sweep_stops_on_request(world: World, trip: Any) -> None:
    for _ in range(4):
        begin(trip)
    assert sweeper.run_due(should_stop=lambda: world.called("a") >= 2) == 2
    assert world.called("a") == 2


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_s9_a_locked_row_is_skipped(world: World, trip: Any) -> None:
    held, free = begin(trip), begin(trip)

    def sweep() -> list[UUID]:
        return due_ids()

    with transaction.atomic():
        Saga.objects.select_for_update().get(pk=held.pk)
        [found] = run_side_by_side([sweep])
    assert found == [free.pk]
    assert due_ids() == [held.pk]


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_s9_three_sweepers_at_once_wake_each_saga_once(world: World, trip: Any) -> None:
    sagas = {begin(trip).pk for _ in range(30)}
    for _ in range(3):
        found = run_side_by_side([lambda: due_ids(limit=20)] * 3)
        woken = [saga_id for page in found for saga_id in page]
        assert len(woken) == len(set(woken))
        rest = due_ids(limit=100)
        assert {*woken, *rest} == sagas
        pass_time(timedelta(seconds=6))


def test_s9_the_clock_is_the_databases(world: World, trip: Any) -> None:
    saga = begin(trip)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        [now] = cursor.fetchone()
    assert abs((now - saga.created_at).total_seconds()) < 60
    assert abs((clock.read_now("default") - now).total_seconds()) < 60


# --- heartbeats -----------------------------------------------------------------------------------------------------


def test_s9_a_sweeper_writes_heartbeats(trip: Any) -> None:
    assert read_liveness().last_sweep_age is None
    sweeper.beat(queues={"slow", "sagas"}, found=2)
    [worker] = SagaWorker.objects.all()
    assert (worker.name, worker.queues, worker.last_found) == (sweeper.worker_name(), ["sagas", "slow"], 2)
    assert f"{worker.host}:{worker.pid}" == worker.name
    started_at = worker.started_at
    pass_time(timedelta(seconds=40))
    assert timedelta(seconds=40) <= read_liveness().last_sweep_age < timedelta(seconds=100)
    sweeper.beat(queues=[], found=0)
    [worker] = SagaWorker.objects.all()
    assert (worker.started_at, worker.last_found, worker.queues) == (started_at, 0, [])
    assert read_liveness().last_sweep_age < timedelta(seconds=60)
    sweeper.leave()
    assert SagaWorker.objects.count() == 0


def test_s9_the_heartbeat_of_a_long_dead_sweeper_is_deleted() -> None:
    sweeper.beat(queues=[], found=0)
    SagaWorker.objects.update(name="old:1")
    pass_time(timedelta(hours=23))
    sweeper.beat(queues=[], found=0)
    assert SagaWorker.objects.count() == 2
    pass_time(timedelta(hours=2))
    sweeper.beat(queues=[], found=0)
    assert [worker.name for worker in SagaWorker.objects.all()] == [sweeper.worker_name()]


def test_s9_the_age_of_the_oldest_due_saga_is_known(trip: Any) -> None:
    assert read_liveness().oldest_due_at is None
    saga = begin(trip)
    begin(trip)
    pass_time(timedelta(seconds=100))
    assert timedelta(seconds=100) <= read_liveness().oldest_due_age < timedelta(seconds=160)
    drain(saga)
    drain(Saga.objects.exclude(pk=saga.pk).get())
    assert read_liveness().oldest_due_at is None
