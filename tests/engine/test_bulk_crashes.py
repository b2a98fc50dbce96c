"""Bulk workers that die or lose their connection at any boundary: each saga is acted on exactly once.

Enumerated, never sampled: the number of boundaries is what one undisturbed run crosses.
"""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connections

from sagas import clock
from sagas.models import Saga, SagaBulk, SagaBulkItem
from sagas.operators import operations
from sagas.operators.bulk import freezing, runner

from .acting import BOSS, COLLEAGUE, PAUSE
from .boundaries import AFTER_COMMIT, count_boundaries, cut_at, kill_at
from .bulks import REASON, freeze, freeze_and_start, holds_of, make, operations_of, results_of, run_to_end
from .world import World

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)

Break = Callable[[int, Callable[[], object]], bool]
BREAKS: dict[str, Break] = {"killed": kill_at, "cut": cut_at}


def start_bulk_of_three(world: World) -> tuple[list[Saga], SagaBulk]:
    """Start a bulk of three, the second changed by a colleague, at a rate that lets all run at once."""
    sagas = make(world)
    started = freeze_and_start(sagas)
    operations.cancel(sagas[1].pk, actor=COLLEAGUE, reason=REASON)
    SagaBulk.objects.filter(pk=started.pk).update(due_at=started.due_at - timedelta(seconds=5))
    return sagas, started


@pytest.mark.parametrize("way", BREAKS)
def test_bulk_ends_correctly_after_a_crash_at_any_boundary(world: World, way: str) -> None:
    _, started = start_bulk_of_three(world)
    boundaries = count_boundaries(lambda: runner.advance(started.pk))
    assert results_of(started.pk) == ["done", "stale", "done"]
    assert boundaries.count(AFTER_COMMIT) == 5  # the claim, three sagas, the end
    for number, kind in enumerate(boundaries):
        sagas, started = start_bulk_of_three(world)
        where = f"{way} at {number}, {kind}"
        assert BREAKS[way](number, lambda started=started: runner.advance(started.pk)), where
        connections.close_all()

        ended = run_to_end(started.pk)

        assert (ended.state, results_of(ended.pk)) == ("finished", ["done", "stale", "done"]), where
        assert [operation for saga in sagas for operation in operations_of(saga)] == [
            ("pause", "boss", str(ended.pk)), ("cancel", "colleague", None), ("pause", "boss", str(ended.pk)),
        ], where  # fmt: skip
        assert holds_of(sagas) == ["paused", None, "paused"], where


@pytest.mark.parametrize("way", BREAKS)
def test_crash_while_freezing_leaves_a_whole_set_or_none(world: World, way: str) -> None:
    sagas = make(world)
    boundaries = count_boundaries(lambda: freeze(sagas))
    for number, kind in enumerate(boundaries):
        SagaBulk.objects.all().delete()
        assert BREAKS[way](number, lambda: freeze(sagas)), number
        connections.close_all()

        is_there = kind == AFTER_COMMIT
        assert list(SagaBulk.objects.values_list("total", flat=True)) == [3] * is_there, number
        assert SagaBulkItem.objects.count() == 3 * is_there, number
    assert holds_of(sagas) == [None] * 3


@pytest.mark.parametrize("way", BREAKS)
def test_crashed_start_is_done_or_can_be_repeated(world: World, way: str) -> None:
    sagas = make(world)

    def start(frozen: SagaBulk) -> object:
        return freezing.start_bulk(frozen.pk, actor=BOSS, reason=REASON)

    first = freeze(sagas)
    for number, kind in enumerate(count_boundaries(lambda: start(first))):
        frozen = freeze(sagas)
        assert BREAKS[way](number, lambda frozen=frozen: start(frozen)), number
        connections.close_all()

        is_started = kind == AFTER_COMMIT
        assert freezing.find_bulk(frozen.pk).state == ("running" if is_started else "frozen"), number
        assert freezing.start_bulk(frozen.pk, actor=BOSS, reason=REASON)[1] is not is_started, number
        # Lost wake-ups do not matter: the sweep finds it.
        assert frozen.pk in set(SagaBulk.objects.filter(due_at__isnull=False).values_list("pk", flat=True))


@pytest.mark.parametrize("way", BREAKS)
def test_crashed_stop_is_done_or_can_be_repeated(world: World, way: str) -> None:
    sagas = make(world)
    first = freeze_and_start(sagas)
    for number, kind in enumerate(count_boundaries(lambda: freezing.stop_bulk(first.pk, actor=COLLEAGUE))):
        started = freeze_and_start(sagas, PAUSE)
        assert BREAKS[way](number, lambda started=started: freezing.stop_bulk(started.pk, actor=COLLEAGUE)), number
        connections.close_all()

        is_stopped = kind == AFTER_COMMIT
        assert freezing.find_bulk(started.pk).state == ("stopped" if is_stopped else "running"), number
        assert freezing.stop_bulk(started.pk, actor=COLLEAGUE)[1] is not is_stopped, number
        clock.move(timedelta(seconds=40))
        assert runner.advance(started.pk) == 0
    assert holds_of(sagas) == [None] * 3
