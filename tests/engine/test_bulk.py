"""One action on many sagas: the set is frozen, confirmed once, and each saga is acted on exactly once or not at all."""

from __future__ import annotations

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

from sagas import RetryLater, bulk, bulk_running, clock, operations, tasks
from sagas.actors import Actor
from sagas.bulk_rules import BULK_OPERATIONS, EVERYTHING, REASONS_AGAINST
from sagas.exceptions import BadRequest, BulkNotFound, OperationRefused, PermissionRefused
from sagas.models import BulkState, Saga, SagaBulk, SagaBulkItem
from sagas.retention import DELETE_ORDER
from sagas.rules import Operation
from sagas.states import Hold
from sagas.testing.drain import look

from .side_by_side import run_side_by_side
from .world import World, begin, define, told

pytestmark = pytest.mark.django_db(databases="__all__")
COMMITS = pytest.mark.django_db(databases="__all__", transaction=True)

BOSS = Actor(name="boss", is_trusted=True)
COLLEAGUE = Actor(name="colleague", is_trusted=True)
REASON = "The provider is back, see ticket 42."
PAUSE = Operation.PAUSE


def make(world: World, count: int = 3) -> list[Saga]:
    """Start sagas that nobody has looked at."""
    trip = define(a=world.compensatable(), b=world.compensatable())
    return [begin(trip) for _ in range(count)]


def draw(sagas: list[Saga], operation: Operation = PAUSE, actor: Actor = BOSS) -> SagaBulk:
    return bulk.draw_selected(operation, [saga.pk for saga in sagas], actor=actor)


def draw_and_start(sagas: list[Saga], operation: Operation = PAUSE, actor: Actor = BOSS) -> SagaBulk:
    drawn = draw(sagas, operation, actor)
    count = drawn.total if drawn.total > 100 else None
    found, is_new = bulk.start_bulk(drawn.pk, actor=actor, reason=REASON, count=count)
    assert is_new
    return found


def run_to_end(bulk_id: UUID) -> SagaBulk:
    """Let workers look, and time pass, until the bulk is over."""
    with clock.restored():
        for _ in range(200):
            bulk_running.advance(bulk_id)
            found = bulk.find_bulk(bulk_id)
            if found.is_over:
                return found
            clock.move(timedelta(seconds=40))  # beyond any lease
    raise AssertionError("The bulk never ended.")


def results_of(bulk_id: UUID) -> list[str | None]:
    items = SagaBulkItem.objects.filter(bulk_id=bulk_id).order_by("position")
    return list(items.values_list("result", flat=True))


def deeds_of(saga: Saga) -> list[tuple[str, str | None, Any]]:
    return [(row.to_state, row.actor, row.data.get("bulk")) for row in told(saga, "operator_acted")]


def holds_of(sagas: list[Saga]) -> list[str | None]:
    found = dict(Saga.objects.values_list("pk", "hold"))
    return [found[saga.pk] for saga in sagas]


def make_user(*codenames: str, name: str = "ada") -> User:
    user = User.objects.create_user(name)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return User.objects.get(pk=user.pk)


# --- Drawing --------------------------------------------------------------------------------------------------------


def test_drawing_freezes_sagas_and_revisions_and_does_nothing(world: World) -> None:
    sagas = make(world)

    drawn = draw(sagas)

    assert (drawn.state, drawn.total, drawn.words, drawn.filter) == ("drawn", 3, "selected by hand", None)
    items = SagaBulkItem.objects.filter(bulk=drawn).order_by("position")
    assert list(items.values_list("position", "saga_id", "revision", "result")) == [
        (number, saga.pk, saga.revision, None) for number, saga in enumerate(sagas, start=1)
    ]
    assert bulk_running.advance(drawn.pk) == 0
    assert (holds_of(sagas), bulk_running.ring_due(), bulk_running.run_due()) == ([None] * 3, 0, 0)


def test_filter_set_holds_open_sagas_only_and_is_never_looked_for_again(world: World) -> None:
    first, second, closed = make(world)
    operations.cancel(closed.pk, actor=BOSS, reason=REASON)
    drawn = bulk.draw_matching(
        PAUSE, Saga.objects.filter(pk__in=[first.pk, second.pk]), actor=BOSS, filter={"q": "T-1"}, words="found by T-1"
    )
    later = make(world, 1)
    bulk.start_bulk(drawn.pk, actor=BOSS, reason=REASON)

    ended = run_to_end(drawn.pk)

    assert (ended.counts["done"], ended.total, ended.filter) == (2, 2, {"q": "T-1"})
    assert holds_of([first, second, closed, *later]) == [Hold.PAUSED, Hold.PAUSED, None, None]


def test_filter_leaves_closed_sagas_out(world: World) -> None:
    opened, closed = make(world, 2)
    operations.force_compensate(closed.pk, actor=BOSS, reason=REASON)
    assert Saga.objects.get(pk=closed.pk).state == "compensated"

    drawn = bulk.draw_matching(PAUSE, Saga.objects.all(), actor=BOSS, filter={}, words=EVERYTHING, everything=True)

    assert list(drawn.items.values_list("saga_id", flat=True)) == [opened.pk]
    assert bulk.count_matching(Saga.objects.all()) == 1


@pytest.mark.parametrize(
    ("filter", "everything", "text"),
    [({}, False, "There is no filter"), ({"q": "T-1"}, True, "two different things")],
)
def test_lost_filter_is_refused(world: World, filter: dict[str, str], everything: bool, text: str) -> None:
    make(world)

    with pytest.raises(BadRequest, match=text):
        bulk.draw_matching(PAUSE, Saga.objects.all(), actor=BOSS, filter=filter, words="x", everything=everything)
    assert SagaBulk.objects.count() == 0


def test_set_beyond_the_limit_is_refused_and_leaves_nothing(world: World) -> None:
    sagas = make(world, 4)

    with override_settings(SAGAS={"BULK_MAX": 3}):
        with pytest.raises(BadRequest, match="More than 3 sagas match"):
            bulk.draw_matching(PAUSE, Saga.objects.all(), actor=BOSS, filter={"q": "x"}, words="x")
        assert (bulk.count_matching(Saga.objects.all()), SagaBulk.objects.count()) == (4, 0)
        assert draw(sagas[:3]).total == 3


def test_empty_and_unknown_selections_are_refused(world: World) -> None:
    [saga] = make(world, 1)
    stranger = uuid4()

    for wanted, text in (([], "No saga is selected"), ([saga.pk, stranger], str(stranger))):
        with pytest.raises(BadRequest, match=text):
            bulk.draw_selected(PAUSE, wanted, actor=BOSS)
    with pytest.raises(BadRequest, match="1001 sagas are selected"):
        bulk.draw_selected(PAUSE, [uuid4() for _ in range(1001)], actor=BOSS)
    with pytest.raises(BadRequest, match="No open saga matches: nobody"):
        bulk.draw_matching(PAUSE, Saga.objects.none(), actor=BOSS, filter={"q": "x"}, words="nobody")
    assert SagaBulk.objects.count() == 0


@pytest.mark.parametrize("operation", REASONS_AGAINST)
def test_what_needs_a_look_at_each_saga_cannot_be_done_in_bulk(world: World, operation: Operation) -> None:
    with pytest.raises(BadRequest, match="is done to one saga at a time"):
        draw(make(world), operation)
    assert set(REASONS_AGAINST) | set(BULK_OPERATIONS) == set(Operation)
    assert SagaBulk.objects.count() == 0


@pytest.mark.parametrize("codenames", [(), ("bulk_saga",), ("pause_saga",)])
def test_drawing_and_starting_need_both_permissions(world: World, codenames: tuple[str, ...]) -> None:
    sagas = make(world)
    actor = Actor.of_user(make_user(*codenames))
    drawn = draw(sagas)
    SagaBulk.objects.filter(pk=drawn.pk).update(account=str(actor.user.pk), actor=actor.name)

    with pytest.raises(PermissionRefused, match="ada lacks the permission sagas"):
        draw(sagas, actor=actor)
    with pytest.raises(PermissionRefused, match="ada lacks the permission sagas"):
        bulk.start_bulk(drawn.pk, actor=actor, reason=REASON)
    assert SagaBulk.objects.get().state == "drawn"


def test_one_person_keeps_ten_unconfirmed_sets(world: World) -> None:
    sagas = make(world, 1)
    started, other = draw_and_start(sagas), draw(sagas, actor=COLLEAGUE)

    drawn = [draw(sagas).pk for _ in range(12)]

    kept = set(SagaBulk.objects.values_list("pk", flat=True))
    assert kept == {*drawn[2:], started.pk, other.pk}


# --- Confirming -----------------------------------------------------------------------------------------------------


def test_confirmed_set_is_acted_on_once_and_every_history_names_it(world: World) -> None:
    sagas = make(world)
    started = draw_and_start(sagas)

    ended = run_to_end(started.pk)

    assert (ended.state, results_of(ended.pk)) == ("finished", ["done"] * 3)
    assert ended.counts == {
        "done": 3, "already": 0, "stale": 0, "refused": 0, "gone": 0, "failed": 0, "not_begun": 0,
    }  # fmt: skip
    assert [deeds_of(saga) for saga in sagas] == [[("pause", "boss", str(ended.pk))]] * 3
    assert told(sagas[0], "operator_acted")[0].reason == REASON
    assert (ended.reason, ended.due_at, ended.lease_token) == (REASON, None, None)
    assert bulk_running.advance(ended.pk) == 0


@pytest.mark.parametrize("operation", BULK_OPERATIONS)
def test_every_bulk_action_does_what_it_does_to_one(world: World, operation: Operation) -> None:
    trip = define(a=world.compensatable(), b=world.compensatable())
    sagas = [begin(trip) for _ in range(2)]
    for saga in sagas:
        if operation is Operation.RESUME:
            operations.pause(saga.pk, actor=COLLEAGUE, reason=REASON)
        if operation is Operation.RETRY:
            world.will("a", RetryLater("Later.", after=3000))
            look(saga.pk)
    expected = {
        Operation.RETRY: ("running", None), Operation.PAUSE: ("pending", "paused"), Operation.RESUME:
        ("pending", None), Operation.CANCEL: ("compensated", None), Operation.COMPENSATE: ("compensated", None),
    }  # fmt: skip

    ended = run_to_end(draw_and_start(sagas, operation).pk)

    assert results_of(ended.pk) == ["done", "done"]
    found = [(saga.state, saga.hold) for saga in Saga.objects.filter(pk__in=[saga.pk for saga in sagas])]
    assert found == [expected[operation]] * 2


def test_second_click_starts_nothing(world: World) -> None:
    started = draw_and_start(make(world))
    due_at = started.due_at

    found, is_new = bulk.start_bulk(started.pk, actor=BOSS, reason=REASON)

    assert (found.state, is_new, bulk.find_bulk(started.pk).due_at) == ("running", False, due_at)
    run_to_end(started.pk)
    assert bulk.start_bulk(started.pk, actor=BOSS, reason=REASON)[1] is False
    assert bulk.find_bulk(started.pk).state == "finished"


@COMMITS
def test_clicks_side_by_side_start_it_once(world: World) -> None:
    sagas = make(world)
    drawn = draw(sagas)

    found = run_side_by_side([lambda: bulk.start_bulk(drawn.pk, actor=BOSS, reason=REASON)] * 4)

    assert sorted(is_new for _, is_new in found) == [False, False, False, True]
    run_to_end(drawn.pk)
    assert [len(deeds_of(saga)) for saga in sagas] == [1, 1, 1]


@pytest.mark.parametrize("reason", ["", "short", " " * 20, "x" * 501, "a\x00" * 10, None])
def test_reason_is_required(world: World, reason: Any) -> None:
    drawn = draw(make(world))

    with pytest.raises(BadRequest, match="The reason"):
        bulk.start_bulk(drawn.pk, actor=BOSS, reason=reason)
    assert bulk.find_bulk(drawn.pk).state == "drawn"


def test_large_set_is_confirmed_by_its_count(world: World) -> None:
    drawn = draw(make(world, 101))

    for count in (None, 100, 102, 0):
        with pytest.raises(BadRequest, match=r"101|type how many"):
            bulk.start_bulk(drawn.pk, actor=BOSS, reason=REASON, count=count)
    assert bulk.find_bulk(drawn.pk).state == "drawn"
    assert bulk.start_bulk(drawn.pk, actor=BOSS, reason=REASON, count=101)[1] is True


def test_wrong_count_is_refused_for_small_sets_too(world: World) -> None:
    drawn = draw(make(world))

    with pytest.raises(BadRequest, match="You typed 4, but this set has 3 sagas"):
        bulk.start_bulk(drawn.pk, actor=BOSS, reason=REASON, count=4)
    assert bulk.find_bulk(drawn.pk).state == "drawn"


def test_set_without_a_filter_is_confirmed_in_words(world: World) -> None:
    make(world)
    drawn = bulk.draw_matching(PAUSE, Saga.objects.all(), actor=BOSS, filter={}, words=EVERYTHING, everything=True)

    for words in ("", "every saga", "Every open saga", "yes"):
        with pytest.raises(BadRequest, match="No filter narrows this set"):
            bulk.start_bulk(drawn.pk, actor=BOSS, reason=REASON, words=words)
    assert bulk.find_bulk(drawn.pk).state == "drawn"
    assert bulk.start_bulk(drawn.pk, actor=BOSS, reason=REASON, words=f" {EVERYTHING} ")[1] is True


def test_old_set_and_a_set_of_somebody_else_are_not_confirmed(world: World) -> None:
    drawn = draw(make(world))

    with pytest.raises(PermissionRefused, match="boss drew this set"):
        bulk.start_bulk(drawn.pk, actor=COLLEAGUE, reason=REASON)
    clock.move(timedelta(hours=1, seconds=1))
    with pytest.raises(OperationRefused, match="frozen too long ago"):
        bulk.start_bulk(drawn.pk, actor=BOSS, reason=REASON)
    with pytest.raises(BulkNotFound):
        bulk.start_bulk(uuid4(), actor=BOSS, reason=REASON)
    assert bulk.find_bulk(drawn.pk).state == "drawn"


# --- Each saga for itself -------------------------------------------------------------------------------------------


def test_saga_that_a_colleague_moved_is_stale_and_stays_as_he_left_it(world: World) -> None:
    sagas = make(world, 4)
    operations.pause(sagas[3].pk, actor=BOSS, reason=REASON)
    started = draw_and_start(sagas, Operation.COMPENSATE)
    operations.pause(sagas[0].pk, actor=COLLEAGUE, reason=REASON)
    operations.force_compensate(sagas[1].pk, actor=COLLEAGUE, reason=REASON)

    ended = run_to_end(started.pk)

    assert results_of(ended.pk) == ["stale", "stale", "done", "done"]
    assert deeds_of(sagas[0]) == [("pause", "colleague", None)]
    assert deeds_of(sagas[1]) == [("compensate", "colleague", None)]
    message = ended.items.get(position=1).message
    assert "at revision 2, but the decision was made on 1" in message
    assert "held: paused" in message


def test_each_saga_gets_its_own_answer(world: World) -> None:
    done, paused, closed, gone = make(world, 4)
    operations.pause(paused.pk, actor=COLLEAGUE, reason=REASON)
    operations.force_compensate(closed.pk, actor=COLLEAGUE, reason=REASON)
    started = draw_and_start([done, paused, closed, gone])
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT set_config('sagas.retention', 'on', false)")
        for statement in DELETE_ORDER:
            cursor.execute(statement, [[gone.pk]])
        cursor.execute("SELECT set_config('sagas.retention', '', false)")

    ended = run_to_end(started.pk)

    found = list(ended.items.order_by("position").values_list("result", "message"))
    assert found == [
        ("done", "The saga is paused."),
        ("already", "The saga is paused already."),
        ("refused", "The saga is compensated; nothing can be done to it any more."),
        ("gone", "The saga is deleted."),
    ]
    assert (ended.counts["not_begun"], len(deeds_of(paused)), len(deeds_of(closed))) == (0, 1, 1)


def test_poisoned_saga_does_not_stop_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sagas = make(world)
    started = draw_and_start(sagas)
    real, poisoned = bulk_running.perform_operation, sagas[0].pk

    def perform(operation: Operation, saga_id: UUID, **arguments: Any) -> Any:
        found = real(operation, saga_id, **arguments)
        if saga_id == poisoned:
            with connections["default"].cursor() as cursor:
                cursor.execute("SELECT 1 / 0")
        return found

    monkeypatch.setattr(bulk_running, "perform_operation", perform)
    ended = run_to_end(started.pk)

    assert results_of(ended.pk) == ["failed", "done", "done"]
    assert ended.items.get(position=1).message == "Given up after 3 failures: DataError. The log tells more."
    assert (holds_of(sagas), deeds_of(sagas[0])) == ([None, "paused", "paused"], [])


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
def test_who_may_not_any_more_has_the_rest_refused(world: World, lapse: Callable[[User], None], text: str) -> None:
    sagas, user = make(world), make_user("pause_saga", "bulk_saga")
    started = draw_and_start(sagas, actor=Actor.of_user(user))
    assert bulk_running.advance(started.pk) == 1
    lapse(user)

    ended = run_to_end(started.pk)

    assert (ended.state, results_of(ended.pk)) == ("finished", ["done", "refused", "refused"])
    assert set(ended.items.filter(result="refused").values_list("message", flat=True)) == {text}
    assert holds_of(sagas) == ["paused", None, None]


def test_new_account_of_the_same_name_inherits_no_bulk(world: World) -> None:
    sagas, user = make(world), make_user("pause_saga", "bulk_saga")
    started = draw_and_start(sagas, actor=Actor.of_user(user))
    user.delete()
    make_user("pause_saga", "bulk_saga")

    run_to_end(started.pk)

    assert (results_of(started.pk), holds_of(sagas)) == (["refused"] * 3, [None] * 3)


# --- Pace, stop, leases ---------------------------------------------------------------------------------------------


def test_rate_is_kept_over_all_workers(world: World) -> None:
    with override_settings(SAGAS={"BULK_RATE": 2}):
        started = draw_and_start(make(world, 30))
        done = [bulk_running.advance(started.pk), bulk_running.advance(started.pk)]
        clock.move(timedelta(seconds=2))
        done.append(bulk_running.advance(started.pk))
        clock.move(timedelta(hours=1))
        before = clock.read_now("default")
        done.append(bulk_running.advance(started.pk))  # an idle time counts ten seconds
        after = clock.read_now("default")
        due_at = bulk.find_bulk(started.pk).due_at

    half_a_second = timedelta(seconds=0.5)  # 21 sagas at 2 a second, less the ten seconds
    assert done == [1, 0, 4, 21]
    assert before + half_a_second <= due_at <= after + half_a_second


def test_stopping_leaves_what_has_not_begun(world: World) -> None:
    sagas = make(world)
    started = draw_and_start(sagas)
    assert bulk_running.advance(started.pk) == 1

    stopped, is_new = bulk.stop_bulk(started.pk, actor=COLLEAGUE)

    assert (stopped.state, is_new, stopped.stopped_by) == ("stopped", True, "colleague")
    assert (stopped.counts["done"], stopped.counts["not_begun"]) == (1, 2)
    clock.move(timedelta(minutes=1))
    assert (bulk_running.advance(started.pk), holds_of(sagas)) == (0, ["paused", None, None])
    assert bulk.stop_bulk(started.pk, actor=BOSS)[1] is False
    assert bulk.start_bulk(started.pk, actor=BOSS, reason=REASON)[1] is False
    assert bulk.find_bulk(started.pk).stopped_by == "colleague"


@COMMITS
def test_stop_in_the_middle_of_a_saga_waits_for_it_and_nothing_follows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sagas = make(world)
    started = draw_and_start(sagas)
    clock.move(timedelta(seconds=5))
    real = bulk_running.perform_operation
    stops: list[StopElsewhere] = []

    def perform(operation: Operation, saga_id: UUID, **arguments: Any) -> Any:
        found = real(operation, saga_id, **arguments)
        if not stops:
            stops.append(StopElsewhere(started.pk))
            stops[0].wait_until_it_waits()
        return found

    monkeypatch.setattr(bulk_running, "perform_operation", perform)
    count = bulk_running.advance(started.pk)
    stops[0].thread.join(30)

    # The stop waited for its lock first, so it comes before the next saga.
    assert (count, bulk.find_bulk(started.pk).state) == (1, "stopped")
    assert holds_of(sagas) == ["paused", None, None]


class StopElsewhere:
    """Stop a bulk from a connection of its own."""

    def __init__(self, bulk_id: UUID) -> None:
        self.bulk_id = bulk_id
        self.thread = threading.Thread(target=self._stop)
        self.thread.start()

    def _stop(self) -> None:
        try:
            bulk.stop_bulk(self.bulk_id, actor=COLLEAGUE)
        finally:
            connections.close_all()

    def wait_until_it_waits(self) -> None:
        """Wait until the database says that somebody waits for a lock in it; beside it stand those of other tests."""
        ends_at = time.monotonic() + 30
        while time.monotonic() < ends_at:
            with connections["default"].cursor() as cursor:
                cursor.execute(WAITING)
                if cursor.fetchone()[0]:
                    return
        raise AssertionError("Nobody waited.")


# pg_stat_activity would be read once in the transaction that asks, before anybody waits.
WAITING = """SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


def test_stopping_needs_the_permission_and_a_start(world: World) -> None:
    drawn = draw(make(world))
    started = draw_and_start(make(world))

    with pytest.raises(PermissionRefused):
        bulk.stop_bulk(started.pk, actor=Actor.of_user(make_user("pause_saga")))
    with pytest.raises(OperationRefused, match="was not started"):
        bulk.stop_bulk(drawn.pk, actor=BOSS)
    with pytest.raises(BadRequest):
        bulk.stop_bulk(started.pk, actor=BOSS, reason="x" * 501)
    with pytest.raises(BulkNotFound):
        bulk.stop_bulk(uuid4(), actor=BOSS)
    assert (bulk.find_bulk(started.pk).state, bulk.find_bulk(drawn.pk).state) == ("running", "drawn")


@COMMITS
def test_workers_side_by_side_do_everything_once(world: World) -> None:
    sagas = make(world, 12)
    started = draw_and_start(sagas)
    clock.move(timedelta(seconds=10))

    counts = run_side_by_side([lambda: bulk_running.advance(started.pk)] * 4)

    assert sorted(counts) == [0, 0, 0, 12]
    run_to_end(started.pk)
    assert [len(deeds_of(saga)) for saga in sagas] == [1] * 12


def test_worker_whose_lease_went_to_another_does_nothing_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sagas = make(world)
    started = draw_and_start(sagas)
    clock.move(timedelta(seconds=5))
    real = bulk_running._act_or_note
    taken: list[object] = []

    def act(lease: Any) -> Any:
        if not taken:
            clock.move(timedelta(seconds=31))
            taken.append(bulk_running._claim(started.pk))
        return real(lease)

    monkeypatch.setattr(bulk_running, "_act_or_note", act)

    # The other one has it, and has not acted yet: every saga is still to be done.
    assert bulk_running.advance(started.pk) == 0
    assert (len(taken), [deeds_of(saga) for saga in sagas]) == (1, [[]] * 3)
    run_to_end(started.pk)
    assert [len(deeds_of(saga)) for saga in sagas] == [1] * 3


def test_sweep_rings_for_a_due_bulk_once_in_a_while(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[UUID] = []
    monkeypatch.setattr(bulk_running.doorbell, "ring", rung.append)
    started = draw_and_start(make(world))
    rung.clear()

    assert [bulk_running.ring_due(), bulk_running.ring_due()] == [1, 0]
    clock.move(timedelta(seconds=6))
    assert bulk_running.ring_due() == 1
    assert rung == [started.pk] * 2
    assert bulk_running._claim(started.pk) is not None
    clock.move(timedelta(seconds=6))
    assert bulk_running.ring_due() == 0  # somebody has it
    clock.move(timedelta(seconds=31))
    assert bulk_running.ring_due() == 1


def test_ring_for_a_bulk_reaches_it_by_the_task_of_the_sagas(world: World) -> None:
    sagas = make(world, 1)
    started = draw_and_start(sagas)

    tasks.advance(str(started.pk))
    tasks.advance(str(bulk.find_bulk(started.pk).pk))

    assert holds_of(sagas) == ["paused"]
    assert (bulk_running.is_bulk_id(started.pk), bulk_running.is_bulk_id(sagas[0].pk)) == (True, False)
    tasks.advance(str(SagaBulk().pk))  # a stranger is harmless


@COMMITS
def test_starting_rings_after_the_commit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[UUID] = []
    drawn = draw(make(world))
    monkeypatch.setattr(bulk.doorbell, "ring", rung.append)

    with transaction.atomic():
        bulk.start_bulk(drawn.pk, actor=BOSS, reason=REASON)
        assert rung == []
    assert rung == [drawn.pk]


def test_run_due_survives_a_bulk_that_raises(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = draw_and_start(make(world, 1)), draw_and_start(make(world, 1))
    real = bulk_running._claim

    def claim(bulk_id: UUID) -> Any:
        if bulk_id == first.pk:
            raise ValueError("odd")
        return real(bulk_id)

    monkeypatch.setattr(bulk_running, "_claim", claim)

    assert bulk_running.run_due() == 1
    assert (results_of(first.pk), results_of(second.pk)) == ([None], ["done"])
    assert bulk_running.run_due(should_stop=lambda: True) == 0


def test_state_constraints_hold(world: World) -> None:
    started = draw_and_start(make(world, 1))

    for values in ({"due_at": None}, {"state": "finished"}, {"state": "odd"}, {"reason": ""}):
        with pytest.raises(Exception, match="saga_bulk"), transaction.atomic():
            SagaBulk.objects.filter(pk=started.pk).update(**values)
    assert bulk.find_bulk(started.pk).state == BulkState.RUNNING
