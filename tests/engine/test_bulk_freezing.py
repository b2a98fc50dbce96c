"""Frozen sets of bulks, each confirmed once by an authorized user."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import override_settings

from sagas import RetryLater, clock
from sagas.core.states import Hold
from sagas.exceptions import BadRequest, BulkNotFound, OperationRefused, PermissionRefused
from sagas.models import Saga, SagaBulk, SagaBulkItem
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.operators.bulk import freezing, runner
from sagas.operators.bulk.preconditions import BULK_OPERATIONS, EVERYTHING, REASONS_AGAINST
from sagas.operators.preconditions import Operation
from sagas.testing.drain import look

from .acting import BOSS, COLLEAGUE, PAUSE, make_user
from .bulks import COMMITS, REASON, freeze, freeze_and_start, holds_of, make, operations_of, results_of, run_to_end
from .side_by_side import run_side_by_side
from .world import World, events

pytestmark = pytest.mark.django_db(databases="__all__")


def test_freezing_stores_sagas_and_revisions_and_changes_nothing(world: World) -> None:
    sagas = make(world)

    frozen = freeze(sagas)

    assert (frozen.state, frozen.total, frozen.words, frozen.filter) == ("frozen", 3, "selected by hand", None)
    items = SagaBulkItem.objects.filter(bulk=frozen).order_by("position")
    assert list(items.values_list("position", "saga_id", "revision", "result")) == [
        (number, saga.pk, saga.revision, None) for number, saga in enumerate(sagas, start=1)
    ]
    assert runner.advance(frozen.pk) == 0
    assert (holds_of(sagas), runner.wake_due(), runner.run_due()) == ([None] * 3, 0, 0)


def test_filtered_set_holds_open_sagas_and_is_not_recomputed(world: World) -> None:
    first, second, closed = make(world)
    operations.cancel(closed.pk, actor=BOSS, reason=REASON)
    frozen = freezing.freeze_matching(
        PAUSE, Saga.objects.filter(pk__in=[first.pk, second.pk]), actor=BOSS, filter={"search": "T-1"}, words="by T-1"
    )
    later = make(world, 1)
    freezing.start_bulk(frozen.pk, actor=BOSS, reason=REASON)

    ended = run_to_end(frozen.pk)

    assert (ended.counts["done"], ended.total, ended.filter) == (2, 2, {"search": "T-1"})
    assert holds_of([first, second, closed, *later]) == [Hold.PAUSED, Hold.PAUSED, None, None]


def test_filter_excludes_closed_sagas(world: World) -> None:
    opened, closed = make(world, 2)
    operations.force_compensate(closed.pk, actor=BOSS, reason=REASON)
    assert Saga.objects.get(pk=closed.pk).state == "compensated"

    frozen = freezing.freeze_matching(
        PAUSE, Saga.objects.all(), actor=BOSS, filter={}, words=EVERYTHING, everything=True
    )

    assert list(frozen.items.values_list("saga_id", flat=True)) == [opened.pk]
    assert freezing.count_matching(Saga.objects.all()) == 1


@pytest.mark.parametrize(
    ("filter", "everything", "text"),
    [({}, False, "No filter is given"), ({"search": "T-1"}, True, "cannot be combined")],
)
def test_lost_filter_is_refused(world: World, filter: dict[str, str], everything: bool, text: str) -> None:
    make(world)

    with pytest.raises(BadRequest, match=text):
        freezing.freeze_matching(PAUSE, Saga.objects.all(), actor=BOSS, filter=filter, words="x", everything=everything)
    assert SagaBulk.objects.count() == 0


def test_set_beyond_the_limit_is_refused_and_not_stored(world: World) -> None:
    sagas = make(world, 4)

    with override_settings(SAGAS={"BULK_MAX": 3}):
        with pytest.raises(BadRequest, match="More than 3 sagas match"):
            freezing.freeze_matching(PAUSE, Saga.objects.all(), actor=BOSS, filter={"definition": "x"}, words="x")
        assert (freezing.count_matching(Saga.objects.all()), SagaBulk.objects.count()) == (4, 0)
        assert freeze(sagas[:3]).total == 3


def test_empty_and_unknown_selections_are_refused(world: World) -> None:
    [saga] = make(world, 1)
    stranger = uuid4()

    for wanted, text in (([], "No saga is selected"), ([saga.pk, stranger], str(stranger))):
        with pytest.raises(BadRequest, match=text):
            freezing.freeze_selected(PAUSE, wanted, actor=BOSS)
    with pytest.raises(BadRequest, match="1001 sagas are selected"):
        freezing.freeze_selected(PAUSE, [uuid4() for _ in range(1001)], actor=BOSS)
    with pytest.raises(BadRequest, match="No open saga matches: nobody"):
        freezing.freeze_matching(PAUSE, Saga.objects.none(), actor=BOSS, filter={"search": "x"}, words="nobody")
    assert SagaBulk.objects.count() == 0


@pytest.mark.parametrize("operation", REASONS_AGAINST)
def test_operation_that_needs_individual_review_is_refused_in_bulk(world: World, operation: Operation) -> None:
    with pytest.raises(BadRequest, match="is not available in bulk"):
        freeze(make(world), operation)
    assert set(REASONS_AGAINST) | set(BULK_OPERATIONS) == set(Operation)
    assert SagaBulk.objects.count() == 0


@pytest.mark.parametrize("codenames", [(), ("bulk_saga",), ("pause_saga",)])
def test_freezing_and_starting_need_both_permissions(world: World, codenames: tuple[str, ...]) -> None:
    sagas = make(world)
    actor = Actor.of_user(make_user(*codenames))
    frozen = freeze(sagas)
    SagaBulk.objects.filter(pk=frozen.pk).update(account=str(actor.user.pk), actor=actor.name)

    with pytest.raises(PermissionRefused, match="ada lacks the permission sagas"):
        freeze(sagas, actor=actor)
    with pytest.raises(PermissionRefused, match="ada lacks the permission sagas"):
        freezing.start_bulk(frozen.pk, actor=actor, reason=REASON)
    assert SagaBulk.objects.get().state == "frozen"


def test_each_user_keeps_ten_unconfirmed_sets(world: World) -> None:
    sagas = make(world, 1)
    started, other = freeze_and_start(sagas), freeze(sagas, actor=COLLEAGUE)

    frozen = [freeze(sagas).pk for _ in range(12)]

    kept = set(SagaBulk.objects.values_list("pk", flat=True))
    assert kept == {*frozen[2:], started.pk, other.pk}


def test_confirmed_bulk_runs_once_and_is_named_in_every_history(world: World) -> None:
    sagas = make(world)
    started = freeze_and_start(sagas)

    ended = run_to_end(started.pk)

    assert (ended.state, results_of(ended.pk)) == ("finished", ["done"] * 3)
    assert ended.counts == {
        "done": 3, "already": 0, "stale": 0, "refused": 0, "gone": 0, "failed": 0, "not_begun": 0,
    }  # fmt: skip
    assert [operations_of(saga) for saga in sagas] == [[("pause", "boss", str(ended.pk))]] * 3
    assert events(sagas[0], "operator_acted")[0].reason == REASON
    assert (ended.reason, ended.due_at, ended.lease_token) == (REASON, None, None)
    assert runner.advance(ended.pk) == 0


@pytest.mark.parametrize("operation", BULK_OPERATIONS)
def test_bulk_operation_has_the_effect_of_the_single_operation(world: World, operation: Operation) -> None:
    sagas = make(world, 2)
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

    ended = run_to_end(freeze_and_start(sagas, operation).pk)

    assert results_of(ended.pk) == ["done", "done"]
    found = [(saga.state, saga.hold) for saga in Saga.objects.filter(pk__in=[saga.pk for saga in sagas])]
    assert found == [expected[operation]] * 2


def test_second_click_starts_nothing(world: World) -> None:
    started = freeze_and_start(make(world))
    due_at = started.due_at

    found, is_new = freezing.start_bulk(started.pk, actor=BOSS, reason=REASON)

    assert (found.state, is_new, freezing.find_bulk(started.pk).due_at) == ("running", False, due_at)
    run_to_end(started.pk)
    assert freezing.start_bulk(started.pk, actor=BOSS, reason=REASON)[1] is False
    assert freezing.find_bulk(started.pk).state == "finished"


@COMMITS
def test_concurrent_clicks_start_it_once(world: World) -> None:
    sagas = make(world)
    frozen = freeze(sagas)

    found = run_side_by_side([lambda: freezing.start_bulk(frozen.pk, actor=BOSS, reason=REASON)] * 4)

    assert sorted(is_new for _, is_new in found) == [False, False, False, True]
    run_to_end(frozen.pk)
    assert [len(operations_of(saga)) for saga in sagas] == [1, 1, 1]


@pytest.mark.parametrize("reason", ["", "short", " " * 20, "x" * 501, "a\x00" * 10, None])
def test_reason_is_required(world: World, reason: Any) -> None:
    frozen = freeze(make(world))

    with pytest.raises(BadRequest, match="The reason"):
        freezing.start_bulk(frozen.pk, actor=BOSS, reason=reason)
    assert freezing.find_bulk(frozen.pk).state == "frozen"


def test_large_set_is_confirmed_by_its_count(world: World) -> None:
    frozen = freeze(make(world, 101))

    for count in (None, 100, 102, 0):
        with pytest.raises(BadRequest, match=r"101|type their number"):
            freezing.start_bulk(frozen.pk, actor=BOSS, reason=REASON, count=count)
    assert freezing.find_bulk(frozen.pk).state == "frozen"
    assert freezing.start_bulk(frozen.pk, actor=BOSS, reason=REASON, count=101)[1] is True


def test_wrong_count_is_refused_for_small_sets_too(world: World) -> None:
    frozen = freeze(make(world))

    with pytest.raises(BadRequest, match="You typed 4, but this selection has 3 sagas"):
        freezing.start_bulk(frozen.pk, actor=BOSS, reason=REASON, count=4)
    assert freezing.find_bulk(frozen.pk).state == "frozen"


def test_set_without_a_filter_needs_a_typed_confirmation(world: World) -> None:
    make(world)
    frozen = freezing.freeze_matching(
        PAUSE, Saga.objects.all(), actor=BOSS, filter={}, words=EVERYTHING, everything=True
    )

    for words in ("", "every saga", "Every open saga", "yes"):
        with pytest.raises(BadRequest, match="This selection has no filter"):
            freezing.start_bulk(frozen.pk, actor=BOSS, reason=REASON, words=words)
    assert freezing.find_bulk(frozen.pk).state == "frozen"
    assert freezing.start_bulk(frozen.pk, actor=BOSS, reason=REASON, words=f" {EVERYTHING} ")[1] is True


def test_expired_set_and_set_of_another_user_are_not_confirmed(world: World) -> None:
    frozen = freeze(make(world))

    with pytest.raises(PermissionRefused, match="boss froze this selection"):
        freezing.start_bulk(frozen.pk, actor=COLLEAGUE, reason=REASON)
    clock.move(timedelta(hours=1, seconds=1))
    with pytest.raises(OperationRefused, match="too old to be confirmed"):
        freezing.start_bulk(frozen.pk, actor=BOSS, reason=REASON)
    with pytest.raises(BulkNotFound):
        freezing.start_bulk(uuid4(), actor=BOSS, reason=REASON)
    assert freezing.find_bulk(frozen.pk).state == "frozen"
