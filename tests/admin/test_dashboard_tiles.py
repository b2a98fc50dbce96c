"""Tiles of the dashboard: what they count, and the lists that they lead to."""

from datetime import timedelta
from unittest.mock import ANY

import pytest

from sagas import clock
from sagas.admin.dashboard.tiles import Tile
from sagas.models import Saga
from sagas.monitoring.liveness import read_liveness
from sagas.operators.presentation import DisplayState, filter_by_display, needs_operator
from sagas.worker import sweeper

from . import trips
from .dashboards import build, get, tiles
from .pages import LogIn, listed, page_of

pytestmark = pytest.mark.django_db


def find_tile(label: str) -> Tile:
    return next(tile for tile in build().tiles if tile.label == label)


def test_counts_match_the_lists_they_link_to(log_in: LogIn) -> None:
    for maker in trips.MAKERS.values():
        maker()
    client = log_in("viewer")

    dashboard = get(client)

    assert tiles(dashboard) == {
        "Needs attention": "8", "Open": "15", "Closed today": "3", "Oldest due step": ANY, "Workers": "0",
    }  # fmt: skip
    for tile in dashboard.tiles[:3]:
        assert len(listed(client.get(tile.url))) == int(tile.count), tile.label
    for row in dashboard.states:
        assert len(listed(client.get(row.url))) == int(row.count), row.badge.word
    assert sum(int(row.count) for row in dashboard.states) == Saga.objects.filter(closed_at=None).count()
    assert Saga.objects.filter(needs_operator()).count() == 8
    assert filter_by_display(Saga.objects.all(), DisplayState.HELD).count() == 6


def test_tiles_say_what_their_numbers_consist_of() -> None:
    for _ in range(7):
        trips.make_retries_exhausted()
    trips.make_paused()
    trips.make_waiting_for_retry()
    sweeper.beat(queues=["sagas"], found=0)

    assert find_tile("Needs attention").detail == "7 of them one failure"
    assert find_tile("Open").detail == "7 retries exhausted, 1 held"
    assert find_tile("Closed today").detail == ""
    assert find_tile("Workers").detail == "last sweep now"


def test_oldest_due_step_has_a_tile() -> None:
    assert (find_tile("Oldest due step").count, find_tile("Oldest due step").tone) == ("none", "good")
    saga = trips.make_waiting_for_retry()
    due_at = clock.read_now("default") - timedelta(minutes=2)
    Saga.objects.filter(pk=saga.pk).update(due_at=due_at)
    saga.steps.filter(name="book_hotel").update(due_at=due_at)

    tile = find_tile("Oldest due step")

    assert tile.count.startswith("2 min")
    assert (tile.detail, tile.tone) == ("trip: book_hotel, 1 due now", "urgent")
    assert tile.url == page_of(saga)


def test_pending_hooks_are_shown_only_if_there_are_any() -> None:
    saga = trips.MAKERS["completed"]()
    assert find_tile("Closed today").detail == "100.0 % (1) completed"

    Saga.objects.filter(pk=saga.pk).update(hook_due_at=saga.closed_at)
    assert find_tile("Closed today").detail == "100.0 % (1) completed, on_closed pending for 1"


def test_oldest_due_step_is_named() -> None:
    saga = trips.make_waiting_for_retry()
    now = clock.read_now("default")
    moment = now - timedelta(minutes=2)
    Saga.objects.filter(pk=saga.pk).update(due_at=moment)
    saga.steps.exclude(due_at=None).update(due_at=moment)
    trips.make_completed()

    liveness = read_liveness()

    assert (liveness.oldest_id, liveness.oldest_definition) == (saga.pk, "trip")
    assert liveness.oldest_step == saga.steps.exclude(due_at=None).get().name
    assert liveness.is_late
    assert 1 <= liveness.due <= 2
