"""Throughput and durations of an hour, a day and a week."""

from datetime import timedelta

import pytest

from sagas import clock
from sagas.admin.dashboard.windows import HEADS, _show_rate, build_row, show_share
from sagas.models import Saga
from sagas.operators.queries.statistics import HOUR, WEEK, Statistics

from . import trips
from .dashboards import build

pytestmark = pytest.mark.django_db


def test_time_windows_show_ends_and_durations() -> None:
    now = clock.read_now("default")
    for minutes, seconds, maker in (
        (2, 10, trips.make_completed),
        (70, 30, trips.make_completed),
        (3, 50, trips.make_compensated),
    ):
        saga = maker()
        closed_at = now - timedelta(minutes=minutes)
        Saga.objects.filter(pk=saga.pk).update(created_at=closed_at - timedelta(seconds=seconds), closed_at=closed_at)

    hour, day, week = build().windows

    assert dict(zip(HEADS, hour.cells, strict=True)) == {
        "Started": "2", "Closed": "2, less than 0.1 a minute", "Completed": "50.0 % (1)", "Compensated": "50.0 % (1)",
        "Abandoned": "0.0 % (0)", "p50 duration": "30 s", "p95 duration": "48 s",
    }  # fmt: skip
    assert day.cells[1] == week.cells[1] == "3, less than 0.1 a minute"


def test_huge_numbers_and_missing_ones_are_shown() -> None:
    parts = [{"part": place, "state": "completed", "sagas": 10**12} for place in range(14)]
    took = [{"part": place, "sagas": 10**9, "seconds": [1e9, 1e12]} for place in (1, 13, None)]
    data = {
        "since": "2026-11-20T02:00:00+00:00",
        "until": "x",
        "begun": [{"part": 3, "sagas": 10**15}],
        "ended": parts,
        "took": took,
    }

    row = build_row(HOUR, "Last hour", Statistics(data=data, computed_at=None), "")

    assert row.cells[0] == "1,000,000,000,000,000"
    assert row.cells[1].startswith("14,000,000,000,000, ")
    assert row.note.startswith("Durations of the 1,000,000,000")
    assert build_row(WEEK, "x", Statistics(data={}, computed_at=None), "").cells == ("-",) * len(HEADS)


@pytest.mark.parametrize(
    ("value", "total", "text"),
    [
        (0, 0, "-"),
        (0, 5, "0.0 % (0)"),
        (5, 5, "100.0 % (5)"),
        (1, 10**6, "< 0.1 % (1)"),
        (999_999, 10**6, "> 99.9 % (999,999)"),
    ],
)
def test_shares_do_not_round_to_0_or_100_percent(value: int, total: int, text: str) -> None:
    assert show_share(value, total) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0, "0.0 a minute"), (0.01, "less than 0.1 a minute"), (5, "5.0 a minute"), (600_000, "10,000.0 a second")],
)
def test_rates(rate: float, text: str) -> None:
    assert _show_rate(rate) == text
