"""Helpers that count, open and read the dashboard."""

from django.test import Client

from sagas.admin.dashboard.dashboard import Dashboard, build_dashboard
from sagas.operators.presentation.drawing.charts import Chart
from sagas.operators.queries import statistics

from . import trips

URL = "/admin/sagas/"


def count(*names: str) -> None:
    statistics.refresh(names or tuple(statistics.PACES), timeout="5s")


def build(span: str = "") -> Dashboard:
    """Return the dashboard as the boss sees it."""
    return build_dashboard("admin", trips.BOSS, span)


def get(client: Client) -> Dashboard:
    response = client.get(URL)
    assert response.status_code == 200
    found: Dashboard = response.context["dashboard"]
    return found


def tiles(dashboard: Dashboard) -> dict[str, str]:
    return {tile.label: tile.count for tile in dashboard.tiles}


def sum_column(chart: Chart, name: str) -> int:
    place = chart.heads.index(name) + 1
    return sum(int(row[place].replace(",", "")) for row in chart.rows)
