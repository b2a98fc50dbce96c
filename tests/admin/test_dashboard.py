"""Dashboard: who sees it, at most ten queries, warnings, failing steps, and refreshes."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sagas import clock
from sagas.models import Saga, SagaStatistic, SagaWorker
from sagas.worker import sweeper

from . import trips
from .dashboards import URL, count, get, tiles
from .pages import HOSTILE, LIST, LogIn, listed

pytestmark = pytest.mark.django_db


def test_dashboard_of_an_empty_database(log_in: LogIn) -> None:
    dashboard = get(log_in("viewer"))

    assert list(tiles(dashboard).values()) == ["0", "0", "0", "none", "0"]
    assert [warning.text for warning in dashboard.warnings] == ["No worker was seen recently."]
    assert dashboard.states == dashboard.failing == dashboard.attention == ()
    assert [row.cells[1:3] for row in dashboard.windows] == [("0, 0.0 a minute", "-")] * 3


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

    # Outside of a transaction a page needs no savepoint, and restores no time-out after counting.
    joined = ("SAVEPOINT", "SELECT set_config('statement_timeout'")
    asked = [
        [one for one in found.captured_queries if not any(text in one["sql"] for text in joined)]
        for found in (first, fresh, stale)
    ]
    assert [len(found) for found in asked] == [10, 8, 10]


def test_open_dashboard_polls_for_changes(log_in: LogIn) -> None:
    url = "/admin/sagas/saga/dashboard/refresh/"
    client = log_in("viewer")
    client.get("/admin/sagas/")

    first = client.get(url).json()

    assert first["parts"][".saga-dashboard"].startswith('<div class="saga-page saga-dashboard" lang="en" dir="ltr">')
    assert f'data-url="{url}"' in client.get("/admin/sagas/").content.decode()
    assert log_in("staff").get(url).status_code == 403


def test_working_workers_give_no_warning(log_in: LogIn) -> None:
    sweeper.beat(queues=["sagas"], found=0)
    trips.make_completed()

    dashboard = get(log_in("viewer"))

    assert dashboard.warnings == ()
    assert tiles(dashboard)["Workers"] == "1"


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
    Saga.objects.filter(pk=trips.make_paused().pk).update(definition=HOSTILE[:60], due_at=clock.read_now("default"))
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


def test_nothing_is_inline(log_in: LogIn) -> None:
    for maker in trips.MAKERS.values():
        maker()

    text = log_in("admin").get(URL).content.decode()

    body = text.split('class="saga-page saga-dashboard"')[1].split("saga-rest")[0]
    assert " style=" not in body
    assert "<script" not in body
    assert "<style" not in body
    assert body.count('<svg class="saga-plot"') == 3
    assert body.count("Numbers</summary>") == 3
