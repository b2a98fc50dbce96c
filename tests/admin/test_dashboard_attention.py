"""Table of the dashboard: what needs attention, the most severe first."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sagas import clock
from sagas.admin.dashboard import attention
from sagas.models import Saga, SagaHistory
from sagas.operators import operations
from sagas.operators.queries.severest import read_severest
from tests.table_owner import as_table_owner

from . import trips
from .dashboards import URL, build, count, get
from .pages import LIST, LogIn, listed, read

pytestmark = pytest.mark.django_db


def test_rows_are_those_of_the_list_in_its_order(log_in: LogIn) -> None:
    for maker in trips.MAKERS.values():
        maker()
    client = log_in("viewer")

    dashboard = get(client)

    rows = client.get(dashboard.attention_url).context["cl"].result_list
    names = [saga.console_row.keys[0][1] for saga in rows]
    assert [row.name for row in dashboard.attention] == names
    assert len(names) == attention.SHOWN == 8
    for row, saga in zip(dashboard.attention, rows, strict=True):
        assert row.badge == saga.console_row.badge
        assert row.url == f"{LIST}{saga.pk}/change/?_changelist_filters=needs%3Dany%26by%3Dseverest"


def test_row_says_what_is_wrong_and_since_when(log_in: LogIn) -> None:
    saga = trips.make_held_unknown()
    now = clock.read_now("default")
    with as_table_owner():
        SagaHistory.objects.filter(saga=saga, what="held").update(at=now - timedelta(minutes=11, seconds=1))
        SagaHistory.objects.filter(saga=saga).exclude(what="held").update(at=now - timedelta(hours=3))
    client = log_in("viewer")

    [row] = get(client).attention

    assert (row.badge.text, row.definition, row.step) == ("held: outcome unknown", "trip 3", "pay")
    assert row.sentence == "The saga is held at pay (outcome unknown): nothing happens there until an operator acts."
    assert row.since.startswith("11 min")
    text = read(client.get(URL))
    assert f'<a href="{row.url}" data-open>' in text
    assert "All that needs attention" in text


def test_many_sagas_of_one_failure_are_one_row(log_in: LogIn) -> None:
    for _ in range(7):
        trips.make_retries_exhausted()
    worse, milder = trips.make_held_unknown(), trips.make_paused()
    client = log_in("viewer")

    rows = get(client).attention

    names = [worse.keys.get().value, "7 sagas", milder.keys.get().value]
    assert [row.name for row in rows] == names
    assert (rows[1].badge.word, rows[1].definition, rows[1].step) == ("one failure", "trip", "send_tickets")
    assert len(listed(client.get(rows[1].url))) == 7


def test_retrying_sagas_need_no_attention() -> None:
    for _ in range(7):
        trips.make_waiting_for_retry()

    assert build().attention == ()


def test_error_texts_need_their_permission(log_in: LogIn) -> None:
    for _ in range(7):
        trips.make_retries_exhausted()
    client = log_in("viewer")
    [shown] = get(client).attention
    assert "No paper." not in shown.sentence

    user = User.objects.get(username="viewer")
    user.user_permissions.add(Permission.objects.get(codename="view_error"))

    assert get(client).attention[0].sentence != shown.sentence


def test_nothing_to_do_is_said_with_a_way_on(log_in: LogIn) -> None:
    trips.make_running()
    client = log_in("viewer")

    text = read(client.get(URL))

    assert "Nothing needs an operator. A saga appears here when it is held" in text
    assert f'<a href="{LIST}?by=severest">Open sagas</a>' in text
    assert "All that needs attention" not in text


def test_saga_that_was_dealt_with_disappears_at_once(log_in: LogIn) -> None:
    saga = trips.make_paused()
    client = log_in("viewer")
    assert len(get(client).attention) == 1

    operations.resume(saga.pk, actor=trips.BOSS, reason=trips.REASON)

    assert get(client).attention == ()


def test_sagas_without_keys_are_named_by_their_id() -> None:
    saga = trips.make_paused()
    saga.keys.all().delete()

    assert build().attention[0].name == str(saga.pk)


def test_severest_sagas_are_read_in_one_query() -> None:
    for maker in (*trips.MAKERS.values(), *trips.MAKERS.values()):
        maker()
    count()

    with CaptureQueriesContext(connection) as asked:
        found = read_severest(5)

    assert len(asked) == 1
    wanted = Saga.objects.filter(closed_at=None).order_by("severity", "-created_at", "-id")[:5]
    assert [one.saga.pk for one in found] == [saga.pk for saga in wanted]
    assert [[step.position for step in one.steps] for one in found] == [[0, 1, 2, 3]] * 5
