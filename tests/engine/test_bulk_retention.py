"""Retention of bulks: deleted by age once over, never while running or still confirmable."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from sagas import clock
from sagas.models import SagaBulk, SagaBulkItem
from sagas.operators.bulk import freezing
from sagas.retention import bulks, purge
from sagas.retention.purge import Scope

from .acting import BOSS
from .bulks import freeze, freeze_and_start, make, run_to_end
from .side_by_side import run_elsewhere
from .world import World

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture(autouse=True)
def _short_memory(settings: Any) -> None:
    """Disable the minimum age, so that the given age decides."""
    settings.SAGAS = {**settings.SAGAS, "ACCESS_RETENTION": timedelta(microseconds=1)}


def now() -> Any:
    return clock.read_now("default")


def test_only_ended_and_abandoned_bulks_are_deleted(world: World) -> None:
    sagas = make(world)
    finished, stopped = run_to_end(freeze_and_start(sagas).pk), freeze_and_start(sagas)
    freezing.stop_bulk(stopped.pk, actor=BOSS)
    running, forgotten = freeze_and_start(sagas), freeze(sagas)
    clock.move(timedelta(hours=2))
    fresh = freeze(sagas)
    scope = Scope(closed_before=now() - timedelta(hours=1))

    assert purge.count_expired(scope).bulks == 3
    report = purge.clean_up(scope)

    assert (report.bulks, report.is_whole) == (3, True)
    assert set(SagaBulk.objects.values_list("pk", flat=True)) == {running.pk, fresh.pk}
    assert SagaBulkItem.objects.count() == 6
    assert {finished.pk, stopped.pk, forgotten.pk}.isdisjoint(SagaBulkItem.objects.values_list("bulk_id", flat=True))


def test_recently_ended_bulk_is_kept(world: World) -> None:
    ended = run_to_end(freeze_and_start(make(world)).pk)
    clock.move(timedelta(hours=1))

    assert bulks.delete_expired_bulks(ended.ended_at) == 0
    assert bulks.delete_expired_bulks(ended.ended_at + timedelta(microseconds=1)) == 1


def test_bulks_are_kept_as_long_as_access_records(world: World, settings: Any) -> None:
    settings.SAGAS = {**settings.SAGAS, "ACCESS_RETENTION": timedelta(days=2)}
    ended = freeze_and_start(make(world))
    freezing.stop_bulk(ended.pk, actor=BOSS)
    clock.move(timedelta(days=1))

    assert purge.clean_up(Scope(closed_before=now())).bulks == 0
    assert SagaBulk.objects.get(pk=ended.pk).stopped_by == BOSS.name
    clock.move(timedelta(days=1, seconds=1))
    assert bulks.delete_expired_bulks(now() - timedelta(days=3)) == 0
    assert purge.clean_up(Scope(closed_before=now())).bulks == 1
    assert (SagaBulk.objects.count(), SagaBulkItem.objects.count()) == (0, 0)


def test_large_bulk_is_deleted_in_batches_and_can_be_interrupted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulks, "BATCH_ROWS", 2)
    ended = run_to_end(freeze_and_start(make(world, 5)).pk)
    later = ended.ended_at + timedelta(seconds=1)
    clock.move(timedelta(hours=1))
    answers = iter([False, False, True, True])

    assert bulks.delete_expired_bulks(later, should_stop=lambda: next(answers)) == 0
    assert SagaBulkItem.objects.count() == 3
    assert bulks.delete_expired_bulks(later) == 1
    assert (SagaBulk.objects.count(), SagaBulkItem.objects.count()) == (0, 0)


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_set_being_confirmed_is_skipped(world: World) -> None:
    frozen = freeze(make(world))
    with transaction.atomic():
        SagaBulk.objects.select_for_update(no_key=True).get(pk=frozen.pk)
        clock.move(timedelta(hours=2))

        assert run_elsewhere(lambda: bulks.delete_expired_bulks(now())) == 0
    assert SagaBulk.objects.count() == 1
