"""Charts of the dashboard and their time windows."""

import pytest

from sagas import clock
from sagas.admin.dashboard.chart_section import build_charts
from sagas.models import Saga, SagaStatistic
from sagas.operators.presentation import needs_operator
from sagas.operators.queries.statistics import DUE, PACES, Statistics

from . import trips
from .dashboards import URL, build, sum_column
from .pages import LogIn

pytestmark = pytest.mark.django_db


def test_chart_of_ends_has_every_saga() -> None:
    for maker in trips.MAKERS.values():
        maker()

    chart = build("1h").charts.right.chart

    assert chart.heads == ("completed", "compensated", "abandoned", "needs attention", "started")
    needing = Saga.objects.filter(needs_operator()).count()
    assert [sum_column(chart, head) for head in chart.heads] == [1, 1, 1, needing, len(trips.MAKERS)]
    assert chart.summary == (
        f"Last hour: {len(trips.MAKERS)} started; 1 completed, 1 compensated and 1 abandoned."
        f" Of those started, {needing} need an operator now."
    )


def test_chart_of_durations_has_gaps() -> None:
    trips.make_completed()

    chart = build("24h").charts.slow.chart

    assert [row[1:] for row in chart.rows[:-1]] == [("-", "-")] * 23
    assert "-" not in chart.rows[-1][1:]
    assert "half of the closed sagas took at most" in chart.summary


def test_time_without_sweepers_is_a_gap(log_in: LogIn) -> None:
    now = clock.read_now("default")
    points = [[int(now.timestamp()) - minutes * 60, 30] for minutes in (50, 40, 1)]
    SagaStatistic.objects.create(name=DUE, data={"points": points}, computed_at=now)

    waiting = build("1h").charts.waiting.chart

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

    charts = [question.chart for question in (section.right, section.slow, section.waiting)]
    assert [chart.summary.partition(": ")[2] for chart in charts] == [
        "0 started; 0 completed, 0 compensated and 0 abandoned. Of those started, 0 need an operator now.",
        "no saga was closed.", "not measured yet.",
    ]  # fmt: skip
    assert all("tabindex" not in chart.svg for chart in charts)
