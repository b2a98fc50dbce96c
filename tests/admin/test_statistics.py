"""Statistics of the dashboard: when they are counted, and what happens when they cannot be."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection

from sagas import clock
from sagas.models import Saga, SagaStatistic
from sagas.operators.queries import statistics
from sagas.operators.queries.statistics import DAY, DUE, HOUR, OPEN, PACES, WEEK, WINDOWS

from . import trips
from .dashboards import build, count, get, tiles
from .pages import LogIn
from .tables import fill_tables

pytestmark = pytest.mark.django_db


def test_statistics_are_cached_and_show_their_age(log_in: LogIn) -> None:
    count()
    trips.make_paused()
    client = log_in("viewer")
    assert tiles(get(client))["Needs attention"] == "0"
    SagaStatistic.objects.filter(name=OPEN).update(computed_at=clock.read_now("default") - timedelta(seconds=40))

    dashboard = get(client)

    assert tiles(dashboard)["Needs attention"] == "0"
    assert re.fullmatch(r"counted [45]\d s ago", dashboard.counted)
    assert not dashboard.is_old


def test_statistic_that_cannot_be_counted_is_shown_as_stale(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    count()
    SagaStatistic.objects.update(computed_at=clock.read_now("default") - timedelta(hours=2))

    def refuse(*_: Any, **__: Any) -> Any:
        raise OperationalError("canceling statement due to statement timeout")

    monkeypatch.setattr(statistics, "_failed_at", {})
    with monkeypatch.context() as away:
        away.setattr(statistics, "refresh", refuse)
        dashboard = get(log_in("viewer"))
    later = get(log_in("viewer"))

    assert dashboard.counted == "counted 2 h ago"
    assert dashboard.is_old
    # The next page counts what is quick and skips the rest.
    assert later.counted == "counted just now"
    assert [card.counted for card in later.windows] == ["counted just now", "counted 2 h ago", "counted 2 h ago"]


def test_each_statistic_is_refreshed_at_its_own_interval() -> None:
    assert set(statistics.refresh(tuple(PACES), timeout="5s")) == set(PACES)
    assert statistics.refresh(tuple(PACES), timeout="5s") == {}
    now = clock.read_now("default")
    SagaStatistic.objects.update(computed_at=now - timedelta(seconds=45), seconds=1)
    assert set(statistics.refresh(tuple(PACES), timeout="5s")) == {"open", "hour", "due"}
    SagaStatistic.objects.update(computed_at=now - timedelta(seconds=20), seconds=0.001)
    assert set(statistics.refresh(tuple(PACES), timeout="5s")) == set(PACES)
    SagaStatistic.objects.update(computed_at=now - timedelta(seconds=45), seconds=10)
    assert statistics.refresh(tuple(PACES), timeout="5s") == {}
    assert statistics.refresh(("open",), timeout="5s", slack=4) == {}


def test_statistic_that_another_process_counts_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        statistics,
        "REFRESH",
        statistics.REFRESH.replace(
            "pg_try_advisory_xact_lock(hashtext('sagas_sagastatistic'), hashtext(wanted.name))", "false"
        ),
    )

    assert statistics.refresh(tuple(PACES), timeout="5s") == {}
    assert SagaStatistic.objects.count() == 0


def test_sweep_refreshes_statistics_and_survives_their_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_failed_at", {})
    monkeypatch.setattr(statistics, "_looked_at", float("-inf"))
    statistics.refresh_after_sweep()
    assert SagaStatistic.objects.count() == len(PACES)
    SagaStatistic.objects.all().delete()
    statistics.refresh_after_sweep()
    assert SagaStatistic.objects.count() == 0  # looked a moment ago

    def refuse(*_: Any, **__: Any) -> Any:
        raise OperationalError("gone")

    monkeypatch.setattr(statistics, "_looked_at", float("-inf"))
    monkeypatch.setattr(statistics, "refresh", refuse)
    statistics.refresh_after_sweep()
    assert SagaStatistic.objects.count() == 0


def test_statistic_that_times_out_does_not_delay_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_failed_at", {})
    asked: list[str] = []

    def refuse_the_first(names: Any, **_: Any) -> Any:
        asked.extend(names)
        if names == [statistics.OPEN]:
            raise OperationalError("canceling statement due to statement timeout")

    monkeypatch.setattr(statistics, "refresh", refuse_the_first)
    for _ in range(2):
        monkeypatch.setattr(statistics, "_looked_at", float("-inf"))
        statistics.refresh_after_sweep()

    assert asked == [*PACES, *(name for name in PACES if name != statistics.OPEN)]


def test_timeout_limits_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "COUNT_FAILING", "(SELECT jsonb_build_object('x', pg_sleep(5)::text))")

    with pytest.raises(OperationalError):
        statistics.refresh(("failing",), timeout="50ms")


def test_timeout_of_counting_is_reset_under_atomic_requests() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '17s'")
        assert set(statistics.count_stale(list(PACES))) == set(PACES)
        cursor.execute("SHOW statement_timeout")

        assert cursor.fetchone() == ("17s",)


def test_age_of_due_work_is_kept_for_a_week_in_bounded_space() -> None:
    saga = trips.start()
    now = clock.read_now("default")
    Saga.objects.filter(pk=saga.pk).update(due_at=now - timedelta(minutes=5))
    old = [[int(now.timestamp()) - minutes * 60, minutes] for minutes in range(9 * 24 * 60, 1, -2)]
    SagaStatistic.objects.create(name=DUE, data={"points": old}, computed_at=now - timedelta(days=1))

    count(DUE)

    points = SagaStatistic.objects.get(name=DUE).data["points"]
    assert len(points) <= 24 * 12 + 6 * 24 + 3
    assert points == sorted(points)
    assert points[0][0] >= now.timestamp() - 7 * 86_400 - 3_600
    assert 300 <= points[-1][1] < 360
    week = build("7d").charts.waiting.chart
    assert [row[1] for row in week.rows].count("-") == 0
    assert week.summary.startswith("Last 7 days: the oldest due step waited at most 2 h 4")


def test_counting_never_scans_a_whole_table() -> None:
    fill_tables(20_000)
    for name in PACES:
        data, values = statistics._compile(name)
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN SELECT {data}", values)
            plan = "\n".join(row[0] for row in cursor.fetchall())
        # Twenty thousand sagas a minute apart: a week holds half of them, an hour few.
        is_wide = name in (WEEK.name, statistics.DEFINITIONS_LATELY[WEEK])
        scanned = set(re.findall(r"Seq Scan on (\w+)", plan)) - {"sagas_sagastatistic"}
        assert not scanned or is_wide, f"{name}\n{plan}"
    assert [window.name for window in WINDOWS] == [HOUR.name, DAY.name, WEEK.name]
