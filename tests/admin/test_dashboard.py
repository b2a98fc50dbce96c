"""Dashboard: what needs an operator, which workers are alive, and rates, in at most ten queries."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from sagas import clock
from sagas.admin.dashboard.chart_section import build_charts
from sagas.admin.dashboard.dashboard import Dashboard, build_dashboard
from sagas.admin.dashboard.windows import _show_rate, build_card, show_share
from sagas.models import Saga, SagaStatistic, SagaWorker
from sagas.monitoring.liveness import read_liveness
from sagas.operators.presentation import DisplayState, filter_by_display, needs_operator
from sagas.operators.presentation.drawing.charts import Chart
from sagas.operators.queries import statistics
from sagas.operators.queries.statistics import DAY, DUE, HOUR, OPEN, PACES, WEEK, WINDOWS, Statistics
from sagas.worker import sweeper

from . import trips
from .pages import HOSTILE, LIST, LogIn, find_bars, listed
from .tables import fill_tables

pytestmark = pytest.mark.django_db

URL = "/admin/sagas/"


def count(*names: str) -> None:
    statistics.refresh(names or tuple(PACES), timeout="5s")


def get(client: Client) -> Dashboard:
    response = client.get(URL)
    assert response.status_code == 200
    found: Dashboard = response.context["dashboard"]
    return found


def tiles(dashboard: Dashboard) -> dict[str, str]:
    return {tile.label: tile.count for tile in dashboard.tiles}


def test_counts_match_the_lists_they_link_to(log_in: LogIn) -> None:
    for maker in trips.MAKERS.values():
        maker()
    client = log_in("viewer")

    dashboard = get(client)

    assert tiles(dashboard) == {
        "Needs attention": "8", "Retrying": "1", "Overdue": "1", "Compensating": "1", "Running": "1",
        "Closed today": "3",
    }  # fmt: skip
    for tile in dashboard.tiles:
        assert len(listed(client.get(tile.url))) == int(tile.count), tile.label
    for row in dashboard.states:
        assert len(listed(client.get(row.url))) == int(row.count), row.badge.word
    assert sum(int(row.count) for row in dashboard.states) == Saga.objects.filter(closed_at=None).count()
    assert Saga.objects.filter(needs_operator()).count() == 8
    assert filter_by_display(Saga.objects.all(), DisplayState.HELD).count() == 6


def test_dashboard_of_an_empty_database(log_in: LogIn) -> None:
    dashboard = get(log_in("viewer"))

    assert set(tiles(dashboard).values()) == {"0"}
    assert [warning.text for warning in dashboard.warnings] == ["No worker was seen recently."]
    assert ("Oldest due step", "none", "") in dashboard.work
    assert dashboard.states == dashboard.failing == ()
    assert [dict(card.facts)["Closed"] for card in dashboard.windows] == ["0, 0.0 a minute"] * 3
    assert [dict(card.facts)["Completed"] for card in dashboard.windows] == ["-"] * 3


def test_who_may_look(log_in: LogIn) -> None:
    trips.make_paused()
    for name in ("viewer", "operator", "supervisor", "admin"):
        assert "Sagas now" in log_in(name).get(URL).content.decode(), name
    assert log_in("staff").get(URL).status_code == 404
    assert log_in("anonymous").get(URL).status_code == 302


def test_other_permissions_of_the_app_show_no_dashboard(log_in: LogIn) -> None:
    from django.contrib.auth.models import Permission, User

    client = log_in("staff")
    User.objects.get(username="staff").user_permissions.add(Permission.objects.get(codename="view_sagaworker"))

    response = client.get(URL)

    assert response.status_code == 200
    assert response.context["dashboard"] is None
    assert "Sagas now" not in response.content.decode()
    assert SagaStatistic.objects.count() == 0


def test_dashboard_never_needs_more_than_ten_queries(log_in: LogIn) -> None:
    client = log_in("viewer")
    with CaptureQueriesContext(connection) as first:
        get(client)
    for maker in trips.MAKERS.values():
        maker()
    with CaptureQueriesContext(connection) as fresh:
        get(client)
    SagaStatistic.objects.update(computed_at=clock.read_now("default") - timedelta(days=1))
    with CaptureQueriesContext(connection) as stale:
        get(client)

    # Savepoints are not counted: outside of a transaction a page has none.
    asked = [
        [one for one in found.captured_queries if "SAVEPOINT" not in one["sql"]] for found in (first, fresh, stale)
    ]
    assert [len(found) for found in asked] == [10, 7, 10]


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


def test_open_dashboard_polls_for_changes(log_in: LogIn) -> None:
    url = "/admin/sagas/saga/dashboard/refresh/"
    client = log_in("viewer")
    client.get("/admin/sagas/")

    first = client.get(url).json()

    assert first["parts"][".saga-dashboard"].startswith('<div class="saga-page saga-dashboard" lang="en" dir="ltr">')
    assert f'data-url="{url}"' in client.get("/admin/sagas/").content.decode()
    assert log_in("staff").get(url).status_code == 403


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


def test_working_workers_give_no_warning(log_in: LogIn) -> None:
    sweeper.beat(queues=["sagas"], found=0)
    trips.make_completed()

    dashboard = get(log_in("viewer"))

    assert dashboard.warnings == ()
    assert {label: text for label, text, _ in dashboard.work}["Workers"] == "1"


def test_missing_workers_and_late_work_are_shown_first(log_in: LogIn) -> None:
    sweeper.beat(queues=["sagas"], found=0)
    saga = trips.start()
    now = clock.read_now("default")
    SagaWorker.objects.update(last_sweep_at=now - timedelta(minutes=7))
    Saga.objects.filter(pk=saga.pk).update(due_at=now - timedelta(minutes=5))

    response = log_in("viewer").get(URL)

    text = unescape(response.content.decode())
    assert re.search(r"No worker was seen recently\. The last sweep was 7 min( \d+ s)? ago\.", text)
    assert "Work has been due for 5 min" in text
    assert "Check that a worker serves queue sagas." in text
    assert text.count('role="alert"') == 2
    assert f"{LIST}{saga.pk}/change/" in text


def test_owed_hooks_are_shown_only_if_there_are_any() -> None:
    saga = trips.MAKERS["completed"]()
    label = "Closed sagas with a pending on_closed hook"
    assert label not in {name for name, _text, _url in build_dashboard("admin").work}

    Saga.objects.filter(pk=saga.pk).update(hook_due_at=saga.closed_at)
    assert (label, "1", "") in build_dashboard("admin").work


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

    hour, day, week = build_dashboard("admin").windows

    assert dict(hour.facts) == {
        "Started": "2", "Closed": "2, less than 0.1 a minute", "Completed": "50.0 % (1)", "Compensated": "50.0 % (1)",
        "Abandoned": "0.0 % (0)", "p50 duration": "30 s", "p95 duration": "48 s",
    }  # fmt: skip
    assert dict(day.facts)["Closed"] == "3, less than 0.1 a minute"
    assert sum(int(amount) for _, amount in hour.closed.rows) == 2
    assert sum(int(amount) for _, amount in week.closed.rows) == 3
    assert [len(card.closed.rows) for card in (hour, day, week)] == [12, 24, 28]
    assert find_bars(hour.durations)


def find_question(dashboard: Dashboard, name: str) -> Chart:
    return next(one.chart for one in dashboard.charts.questions if one.name == name)


def sum_column(chart: Chart, name: str) -> int:
    place = chart.heads.index(name) + 1
    return sum(int(row[place].replace(",", "")) for row in chart.rows)


def test_chart_of_ends_has_every_saga() -> None:
    for maker in trips.MAKERS.values():
        maker()

    chart = find_question(build_dashboard("admin", "1h"), "right")

    assert chart.heads == ("completed", "compensated", "abandoned", "needs attention", "started")
    needing = Saga.objects.filter(needs_operator()).count()
    assert [sum_column(chart, head) for head in chart.heads] == [1, 1, 1, needing, len(trips.MAKERS)]
    assert chart.summary == (
        f"Last hour: {len(trips.MAKERS)} started; 1 completed, 1 compensated and 1 abandoned."
        f" Of those started, {needing} need an operator now."
    )


def test_chart_of_durations_has_gaps() -> None:
    trips.make_completed()

    chart = find_question(build_dashboard("admin", "24h"), "slow")

    assert [row[1:] for row in chart.rows[:-1]] == [("-", "-")] * 23
    assert "-" not in chart.rows[-1][1:]
    assert "half of the closed sagas took at most" in chart.summary


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
    week = find_question(build_dashboard("admin", "7d"), "waiting")
    assert [row[1] for row in week.rows].count("-") == 0
    assert week.summary.startswith("Last 7 days: the oldest due step waited at most 2 h 4")


def test_time_without_sweepers_is_a_gap(log_in: LogIn) -> None:
    now = clock.read_now("default")
    points = [[int(now.timestamp()) - minutes * 60, 30] for minutes in (50, 40, 1)]
    SagaStatistic.objects.create(name=DUE, data={"points": points}, computed_at=now)

    waiting = find_question(build_dashboard("admin", "1h"), "waiting")

    assert [row[1] for row in waiting.rows].count("30 s") == 3
    assert [row[1] for row in waiting.rows].count("-") == 9
    assert waiting.svg.count("<circle") == 3


@pytest.mark.parametrize("span", ["1h", "24h", "7d"])
def test_window_of_charts_is_selectable_and_kept_by_refreshes(log_in: LogIn, span: str) -> None:
    client = log_in("viewer")

    texts = [client.get(f"{URL}?span={span}").content.decode()]
    parts = client.get(f"/admin/sagas/saga/dashboard/refresh/?span={span}").json()["parts"]
    texts.append(parts[".saga-dashboard"])

    for text in texts:
        assert f'<a href="?span={span}" aria-current="page">' in text
        assert text.count('aria-current="page">Last') == 1


@pytest.mark.parametrize("span", ["", "30d", "%00", "<script>"])
def test_unknown_window_of_charts_is_the_default(log_in: LogIn, span: str) -> None:
    response = log_in("viewer").get(URL, {"span": span})

    assert response.context["dashboard"].charts.span.code == "24h"


@pytest.mark.parametrize("span", ["1h", "24h", "7d"])
def test_charts_before_anything_was_counted(span: str) -> None:
    nothing = {name: Statistics(data={}, computed_at=None) for name in PACES}

    section = build_charts(span, nothing, clock.read_now("default"))

    assert [question.chart.summary.partition(": ")[2] for question in section.questions] == [
        "0 started; 0 completed, 0 compensated and 0 abandoned. Of those started, 0 need an operator now.",
        "no saga was closed.", "not measured yet.",
    ]  # fmt: skip
    assert all("tabindex" not in question.chart.svg for question in section.questions)


def test_steps_that_fail_most(log_in: LogIn) -> None:
    for text in ("Room 1 is taken", "Room 2 is taken", "The lift is broken"):
        trips.make_refused("book_hotel", RuntimeError(text))
    trips.make_compensated()

    [step, *_] = get(log_in("viewer")).failing

    assert (step.definition, step.step, step.direction, step.failures, step.error, step.groups) == (
        "trip", "book_hotel", "action", "3", "RuntimeError", 2,
    )  # fmt: skip
    assert len(listed(log_in("viewer").get(step.url))) == 3


def test_hostile_names_are_text(log_in: LogIn) -> None:
    Saga.objects.filter(pk=trips.start().pk).update(definition=HOSTILE[:60], due_at=clock.read_now("default"))
    count()
    row = SagaStatistic.objects.get(name="failing")
    entry = {
        "definition": HOSTILE,
        "step": "s",
        "direction": HOSTILE,
        "failures": 1,
        "groups": 1,
        "error_class": HOSTILE,
    }
    row.data = {**row.data, "steps": [entry]}
    row.save()

    text = log_in("admin").get(URL).content.decode()

    assert "<script>alert" not in text
    assert HOSTILE in unescape(text)


def test_huge_numbers_fit_their_columns() -> None:
    parts = [{"part": place, "state": "completed", "sagas": 10**12} for place in range(14)]
    took = [{"part": place, "sagas": 10**9, "seconds": [1e9, 1e12]} for place in (1, 13, None)]
    data = {
        "since": "2026-11-20T02:00:00+00:00",
        "until": "x",
        "begun": [{"part": 3, "sagas": 10**15}],
        "ended": parts,
        "took": took,
    }

    card = build_card(HOUR, "Last hour", Statistics(data=data, computed_at=None), "")

    assert dict(card.facts)["Started"] == "1,000,000,000,000,000"
    assert dict(card.facts)["Closed"].startswith("14,000,000,000,000, ")
    assert card.note.startswith("Durations of the 1,000,000,000")
    heights = [float(bar.attrib["height"]) for bar in (*find_bars(card.closed), *find_bars(card.durations))]
    assert len(heights) == HOUR.parts + 2
    assert all(0 < height <= 44 for height in heights)
    assert build_card(WEEK, "x", Statistics(data={}, computed_at=None), "").facts == (
        ("Statistics", "not counted yet"),
    )


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


def test_nothing_is_inline(log_in: LogIn) -> None:
    for maker in trips.MAKERS.values():
        maker()

    text = log_in("admin").get(URL).content.decode()

    body = text.split('class="saga-page saga-dashboard"')[1].split("saga-rest")[0]
    assert " style=" not in body
    assert "<script" not in body
    assert "<style" not in body
    assert body.count('<svg class="saga-chart"') == 6
    assert body.count('<svg class="saga-plot"') == 3
    assert body.count("Numbers</summary>") == 9
