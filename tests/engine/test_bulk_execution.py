"""Execution of a bulk: each saga exactly once or not at all, at the set rate, until stopped."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections, transaction
from django.test import override_settings

from sagas import clock, tasks
from sagas.exceptions import BadRequest, BulkNotFound, OperationRefused, PermissionRefused
from sagas.models import BulkState, SagaBulk
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.operators.bulk import freezing, runner
from sagas.operators.preconditions import Operation
from sagas.retention.purge import DELETE_ORDER

from .acting import BOSS, COLLEAGUE, make_user
from .bulks import COMMITS, REASON, freeze, freeze_and_start, holds_of, make, operations_of, results_of, run_to_end
from .side_by_side import run_side_by_side
from .world import World

pytestmark = pytest.mark.django_db(databases="__all__")


def test_saga_changed_by_a_colleague_is_stale_and_untouched(world: World) -> None:
    sagas = make(world, 4)
    operations.pause(sagas[3].pk, actor=BOSS, reason=REASON)
    started = freeze_and_start(sagas, Operation.COMPENSATE)
    operations.pause(sagas[0].pk, actor=COLLEAGUE, reason=REASON)
    operations.force_compensate(sagas[1].pk, actor=COLLEAGUE, reason=REASON)

    ended = run_to_end(started.pk)

    assert results_of(ended.pk) == ["stale", "stale", "done", "done"]
    assert operations_of(sagas[0]) == [("pause", "colleague", None)]
    assert operations_of(sagas[1]) == [("compensate", "colleague", None)]
    message = ended.items.get(position=1).message
    assert "at revision 2, but the decision was based on 1" in message
    assert "held: paused" in message


def test_each_saga_gets_its_own_result(world: World) -> None:
    done, paused, closed, gone = make(world, 4)
    operations.pause(paused.pk, actor=COLLEAGUE, reason=REASON)
    operations.force_compensate(closed.pk, actor=COLLEAGUE, reason=REASON)
    started = freeze_and_start([done, paused, closed, gone])
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT set_config('sagas.retention', 'on', false)")
        for statement in DELETE_ORDER:
            cursor.execute(statement, [[gone.pk]])
        cursor.execute("SELECT set_config('sagas.retention', '', false)")

    ended = run_to_end(started.pk)

    found = list(ended.items.order_by("position").values_list("result", "message"))
    assert found == [
        ("done", "The saga is paused."),
        ("already", "The saga is already paused."),
        ("refused", "The saga is compensated; no operation is possible any more."),
        ("gone", "The saga is deleted."),
    ]
    assert (ended.counts["not_begun"], len(operations_of(paused)), len(operations_of(closed))) == (0, 1, 1)


def test_poisoned_saga_does_not_stop_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sagas = make(world)
    started = freeze_and_start(sagas)
    real, poisoned = runner.perform_operation, sagas[0].pk

    def perform(operation: Operation, saga_id: UUID, **arguments: Any) -> Any:
        found = real(operation, saga_id, **arguments)
        if saga_id == poisoned:
            with connections["default"].cursor() as cursor:
                cursor.execute("SELECT 1 / 0")
        return found

    monkeypatch.setattr(runner, "perform_operation", perform)
    ended = run_to_end(started.pk)

    assert results_of(ended.pk) == ["failed", "done", "done"]
    assert ended.items.get(position=1).message == "Gave up after 3 failures: DataError. See the log."
    assert (holds_of(sagas), operations_of(sagas[0])) == ([None, "paused", "paused"], [])


def take_permission(user: User) -> None:
    user.user_permissions.remove(Permission.objects.get(codename="pause_saga"))


def take_bulk_permission(user: User) -> None:
    user.user_permissions.remove(Permission.objects.get(codename="bulk_saga"))


def deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def delete(user: User) -> None:
    user.delete()


@pytest.mark.parametrize(
    ("lapse", "text"),
    [
        (take_permission, "ada lacks the permission sagas.pause_saga."),
        (take_bulk_permission, "ada lacks the permission sagas.bulk_saga."),
        (deactivate, "The account of ada is not active any more."),
        (delete, "The account of ada does not exist any more."),
    ],
)
def test_lost_permission_refuses_the_remaining_sagas(world: World, lapse: Callable[[User], None], text: str) -> None:
    sagas, user = make(world), make_user("pause_saga", "bulk_saga")
    started = freeze_and_start(sagas, actor=Actor.of_user(user))
    assert runner.advance(started.pk) == 1
    lapse(user)

    ended = run_to_end(started.pk)

    assert (ended.state, results_of(ended.pk)) == ("finished", ["done", "refused", "refused"])
    assert set(ended.items.filter(result="refused").values_list("message", flat=True)) == {text}
    assert holds_of(sagas) == ["paused", None, None]


def test_new_account_of_the_same_name_inherits_no_bulk(world: World) -> None:
    sagas, user = make(world), make_user("pause_saga", "bulk_saga")
    started = freeze_and_start(sagas, actor=Actor.of_user(user))
    user.delete()
    make_user("pause_saga", "bulk_saga")

    run_to_end(started.pk)

    assert (results_of(started.pk), holds_of(sagas)) == (["refused"] * 3, [None] * 3)


def test_rate_is_shared_by_all_workers(world: World) -> None:
    with override_settings(SAGAS={"BULK_RATE": 2}):
        started = freeze_and_start(make(world, 30))
        done = [runner.advance(started.pk), runner.advance(started.pk)]
        clock.move(timedelta(seconds=2))
        done.append(runner.advance(started.pk))
        clock.move(timedelta(hours=1))
        before = clock.read_now("default")
        done.append(runner.advance(started.pk))  # an idle period counts as ten seconds at most
        after = clock.read_now("default")
        due_at = freezing.find_bulk(started.pk).due_at

    half_a_second = timedelta(seconds=0.5)  # 21 sagas at 2 a second, minus the ten seconds
    assert done == [1, 0, 4, 21]
    assert before + half_a_second <= due_at <= after + half_a_second


def test_stop_leaves_the_remaining_sagas_untouched(world: World) -> None:
    sagas = make(world)
    started = freeze_and_start(sagas)
    assert runner.advance(started.pk) == 1

    stopped, is_new = freezing.stop_bulk(started.pk, actor=COLLEAGUE)

    assert (stopped.state, is_new, stopped.stopped_by) == ("stopped", True, "colleague")
    assert (stopped.counts["done"], stopped.counts["not_begun"]) == (1, 2)
    clock.move(timedelta(minutes=1))
    assert (runner.advance(started.pk), holds_of(sagas)) == (0, ["paused", None, None])
    assert freezing.stop_bulk(started.pk, actor=BOSS)[1] is False
    assert freezing.start_bulk(started.pk, actor=BOSS, reason=REASON)[1] is False
    assert freezing.find_bulk(started.pk).stopped_by == "colleague"


@COMMITS
def test_stop_waits_for_the_current_saga_and_nothing_follows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sagas = make(world)
    started = freeze_and_start(sagas)
    clock.move(timedelta(seconds=5))
    real = runner.perform_operation
    stops: list[ConcurrentStop] = []

    def perform(operation: Operation, saga_id: UUID, **arguments: Any) -> Any:
        found = real(operation, saga_id, **arguments)
        if not stops:
            stops.append(ConcurrentStop(started.pk))
            stops[0].wait_until_blocked()
        return found

    monkeypatch.setattr(runner, "perform_operation", perform)
    count = runner.advance(started.pk)
    stops[0].thread.join(30)

    # The stop queued for its lock first, so it precedes the next saga.
    assert (count, freezing.find_bulk(started.pk).state) == (1, "stopped")
    assert holds_of(sagas) == ["paused", None, None]


class ConcurrentStop:
    """Stop of a bulk on a separate connection."""

    def __init__(self, bulk_id: UUID) -> None:
        self.bulk_id = bulk_id
        self.thread = threading.Thread(target=self._stop)
        self.thread.start()

    def _stop(self) -> None:
        try:
            freezing.stop_bulk(self.bulk_id, actor=COLLEAGUE)
        finally:
            connections.close_all()

    def wait_until_blocked(self) -> None:
        """Wait until a session waits for a lock in this database; other tests use others."""
        ends_at = time.monotonic() + 30
        while time.monotonic() < ends_at:
            with connections["default"].cursor() as cursor:
                cursor.execute(WAITING)
                if cursor.fetchone()[0]:
                    return
        raise AssertionError("Nobody waited.")


# pg_stat_activity is read once per transaction, so a transaction here would miss the wait.
WAITING = """SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


def test_stop_needs_permission_and_a_started_bulk(world: World) -> None:
    frozen = freeze(make(world))
    started = freeze_and_start(make(world))

    with pytest.raises(PermissionRefused):
        freezing.stop_bulk(started.pk, actor=Actor.of_user(make_user("pause_saga")))
    with pytest.raises(OperationRefused, match="was not started"):
        freezing.stop_bulk(frozen.pk, actor=BOSS)
    with pytest.raises(BadRequest):
        freezing.stop_bulk(started.pk, actor=BOSS, reason="x" * 501)
    with pytest.raises(BulkNotFound):
        freezing.stop_bulk(uuid4(), actor=BOSS)
    assert (freezing.find_bulk(started.pk).state, freezing.find_bulk(frozen.pk).state) == ("running", "frozen")


@COMMITS
def test_concurrent_workers_act_on_each_saga_once(world: World) -> None:
    sagas = make(world, 12)
    started = freeze_and_start(sagas)
    clock.move(timedelta(seconds=10))

    counts = run_side_by_side([lambda: runner.advance(started.pk)] * 4)

    assert sorted(counts) == [0, 0, 0, 12]
    run_to_end(started.pk)
    assert [len(operations_of(saga)) for saga in sagas] == [1] * 12


def test_worker_that_lost_its_lease_does_nothing_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sagas = make(world)
    started = freeze_and_start(sagas)
    clock.move(timedelta(seconds=5))
    real = runner._act_or_note
    taken: list[object] = []

    def act(lease: Any) -> Any:
        if not taken:
            clock.move(timedelta(seconds=31))
            taken.append(runner._claim(started.pk))
        return real(lease)

    monkeypatch.setattr(runner, "_act_or_note", act)

    # The other worker holds the lease and has not acted yet: every saga is still to be done.
    assert runner.advance(started.pk) == 0
    assert (len(taken), [operations_of(saga) for saga in sagas]) == (1, [[]] * 3)
    run_to_end(started.pk)
    assert [len(operations_of(saga)) for saga in sagas] == [1] * 3


def test_sweep_wakes_a_due_bulk_once_per_interval(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[UUID] = []
    monkeypatch.setattr(runner.wakeup_sending, "send", woken.append)
    started = freeze_and_start(make(world))
    woken.clear()

    assert [runner.wake_due(), runner.wake_due()] == [1, 0]
    clock.move(timedelta(seconds=6))
    assert runner.wake_due() == 1
    assert woken == [started.pk] * 2
    assert runner._claim(started.pk) is not None
    clock.move(timedelta(seconds=6))
    assert runner.wake_due() == 0  # another worker holds it
    clock.move(timedelta(seconds=31))
    assert runner.wake_due() == 1


def test_wakeup_of_a_bulk_arrives_through_the_saga_task(world: World) -> None:
    sagas = make(world, 1)
    started = freeze_and_start(sagas)

    tasks.advance(str(started.pk))
    tasks.advance(str(freezing.find_bulk(started.pk).pk))

    assert holds_of(sagas) == ["paused"]
    assert (runner.is_bulk_id(started.pk), runner.is_bulk_id(sagas[0].pk)) == (True, False)
    tasks.advance(str(SagaBulk().pk))  # an unknown bulk is harmless


@COMMITS
def test_start_wakes_after_the_commit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[UUID] = []
    frozen = freeze(make(world))
    monkeypatch.setattr(freezing.wakeup_sending, "send", lambda bulk_id, queue="": woken.append(bulk_id))

    with transaction.atomic():
        freezing.start_bulk(frozen.pk, actor=BOSS, reason=REASON)
        assert woken == []
    assert woken == [frozen.pk]


def test_run_due_survives_a_bulk_that_raises(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = freeze_and_start(make(world, 1)), freeze_and_start(make(world, 1))
    real = runner._claim

    def claim(bulk_id: UUID) -> Any:
        if bulk_id == first.pk:
            raise ValueError("odd")
        return real(bulk_id)

    monkeypatch.setattr(runner, "_claim", claim)

    assert runner.run_due() == 1
    assert (results_of(first.pk), results_of(second.pk)) == ([None], ["done"])
    assert runner.run_due(should_stop=lambda: True) == 0


def test_state_constraints_hold(world: World) -> None:
    started = freeze_and_start(make(world, 1))

    for values in ({"due_at": None}, {"state": "finished"}, {"state": "odd"}, {"reason": ""}):
        with pytest.raises(Exception, match="saga_bulk"), transaction.atomic():
            SagaBulk.objects.filter(pk=started.pk).update(**values)
    assert freezing.find_bulk(started.pk).state == BulkState.RUNNING
