"""Failure groups: trend, sagas and permissions."""

from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sagas import RetryLater, clock
from sagas.admin.reports.failures_page import describe_trend, list_labels
from sagas.models import Saga, SagaAccess, SagaAttempt
from sagas.operators.preconditions import Operation
from sagas.operators.presentation.drawing.charts import draw_trend
from sagas.operators.queries import failures
from sagas.operators.queries.failures import read_failures
from sagas.operators.queries.saga_filter import parse_filter
from sagas.testing import drain, faults
from sagas.testing.drain import look

from . import trips
from .bulks import BULKS, freeze_matching, url_of
from .pages import HOSTILE, LIST, LogIn, find_bars, ids, listed
from .tables import fill_tables

pytestmark = pytest.mark.django_db

URL = f"{LIST}failures/"
DAY = timedelta(days=1)


def fail(message: str, *, order: str | None = None, step: str = "book_hotel") -> Saga:
    """Return an open saga whose step failed once with this error."""
    return trips.make_refused(step, RuntimeError(message), **({"order": order} if order else {}))


def test_failures_of_one_kind_are_one_group(log_in: LogIn) -> None:
    sagas = [fail(f"Room {number} at 'Hotel {number}' is taken") for number in (7, 8, 9)]
    other = fail("The lift is broken")

    found = read_failures(DAY)

    assert [(group.failures, group.sagas, group.open_sagas) for group in found.groups] == [(3, 3, 3), (1, 1, 1)]
    first, second = found.groups
    assert (first.definition, first.step, first.direction, first.outcome) == ("trip", "book_hotel", "action", "retry")
    assert (first.error_class, first.pattern) == ("RuntimeError", "Room # at '…' is taken")
    assert first.message == "Room 9 at 'Hotel 9' is taken"
    assert second.pattern == "The lift is broken"
    assert (sum(first.trend), len(first.trend)) == (3, failures.BUCKETS)
    client = log_in("viewer")
    assert listed(client.get(LIST, {"group": first.key})) == ids(*sagas)
    assert listed(client.get(LIST, {"group": second.key})) == ids(other)


def test_page_shows_groups_and_links_to_their_sagas(log_in: LogIn) -> None:
    saga = fail("Room 7 is taken")
    group = SagaAttempt.objects.get(saga=saga).error_group

    text = unescape(log_in("supervisor").get(URL).content.decode())

    for shown in ("trip: <strong>book_hotel</strong>", "RuntimeError: Room # is taken", "Room 7 is taken"):
        assert shown in text
    assert f'href="{LIST}?group={group}"' in text
    assert f'href="{LIST}?group={group}&closed=no">1 open</a>' in text
    assert f'href="/admin/sagas/sagabulk/new/?failing={group}"' in text
    assert "sagabulk/new" not in log_in("viewer").get(URL).content.decode()
    assert 'aria-label="1 failure, new"' in text
    assert text.count("<rect ") == 1
    assert "style=" not in text.split('id="content"')[1].split("footer")[0]


def test_group_holds_only_sagas_that_still_fail_that_way(log_in: LogIn) -> None:
    failing = fail("Room 7 is taken")
    group = SagaAttempt.objects.get(saga=failing).error_group
    over = fail("Room 8 is taken")  # still open, but now fails elsewhere
    with faults() as fault:
        fault.refuse("book_flight", RetryLater("The lift is broken.", after=3000))
        drain(over, patience=timedelta(minutes=1))
    other = fail("Room 9 is taken")  # at the same step, but now with another error
    with faults() as fault:
        fault.refuse("book_hotel", RetryLater("The lift is broken.", after=3000))
        drain(other, patience=timedelta(minutes=1))
    back = trips.make_compensation_failing()
    [back_group] = set(
        SagaAttempt.objects.filter(saga=back, direction="compensation").values_list("error_group", flat=True)
    )
    live = fail("Room 10 is taken")  # being tried again: that attempt has not ended
    with faults() as fault, clock.restored():
        clock.move(timedelta(minutes=1))
        fault.crash_before("book_hotel")
        look(live.pk)
    client = log_in("supervisor")

    assert set(SagaAttempt.objects.filter(error_group=group).values_list("saga", flat=True)) == {
        saga.pk for saga in (failing, over, other, live)
    }
    assert listed(client.get(LIST, {"failing": group})) == ids(failing, live)
    assert listed(client.get(LIST, {"failing": back_group})) == ids(back)
    offered = unescape(client.get(f"/admin/sagas/sagabulk/new/?failing={group}").content.decode())
    assert "fails now with: trip, book_hotel, RuntimeError" in offered
    assert "Their error: Room # is taken" in offered
    back_words = parse_filter({"failing": back_group, "step": "book_flight"}).describe()
    assert back_words == "step: book_flight; fails now with: trip, compensation of book_flight, RuntimeError"
    assert parse_filter({"group": "0" * 16}).describe() == f"failed once with: no stored failure ({'0' * 16})"
    assert "<dd>2. Closed sagas are left out" in offered


def test_error_texts_need_their_own_permission(log_in: LogIn) -> None:
    fail("Room 7 of Ada Lovelace is taken")

    text = log_in("viewer").get(URL).content.decode()

    assert SagaAccess.objects.count() == 0
    log_in("supervisor").get(URL)
    assert "Lovelace" in log_in("operator").get(URL).content.decode()
    assert list(SagaAccess.objects.order_by("id").values_list("actor", "detail")) == [
        ("supervisor", "failure groups"), ("operator", "error texts only, failure groups"),
    ]  # fmt: skip
    assert "RuntimeError" in text
    assert "Lovelace" not in text
    assert "is taken" not in text


def test_who_may_look(log_in: LogIn) -> None:
    for name, status in (("viewer", 200), ("operator", 200), ("admin", 200), ("staff", 403), ("anonymous", 302)):
        assert log_in(name).get(URL).status_code == status, name
    assert log_in("admin").post(URL).status_code == 405


def test_page_without_failures(log_in: LogIn) -> None:
    trips.make_completed()

    assert "No failures in this window." in log_in("viewer").get(URL).content.decode()


def test_closed_sagas_and_successes_are_distinguished() -> None:
    with faults() as fault:
        fault.refuse("book_hotel", RuntimeError("once"))
        drain(trips.start())

    [group] = read_failures(DAY).groups

    assert (group.failures, group.sagas, group.open_sagas) == (1, 1, 0)


def test_window_limits_the_count_but_not_the_first_occurrence(log_in: LogIn) -> None:
    old, new = fail("It is closed"), fail("It is closed")
    SagaAttempt.objects.filter(saga=old).update(started_at=old.created_at - timedelta(days=3))
    client = log_in("viewer")

    week, day = client.get(URL, {"span": "7d"}), client.get(URL, {"span": "24h"})

    assert [row.failures for row in week.context["groups"]] == [2]
    assert [row.failures for row in day.context["groups"]] == [1]
    assert day.context["groups"][0].first.distance == "3 d ago"
    assert client.get(URL).context["span"].code == "24h"
    assert new.pk != old.pk


def test_hostile_errors_are_shown_as_text(log_in: LogIn) -> None:
    fail(f"{HOSTILE} {HOSTILE}")

    text = log_in("supervisor").get(URL).content.decode()

    assert "<script>alert" not in text
    assert HOSTILE in unescape(text)


def test_count_above_the_limit_is_shown_as_more(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "MAX_FAILURES", 2)
    for number in range(3):
        fail(f"Room {number} is taken")

    response = log_in("viewer").get(URL)

    assert [row.failures for row in response.context["groups"]] == [2]
    assert "This window has more failures than are counted" in response.content.decode()


def test_queries_do_not_grow(log_in: LogIn) -> None:
    client = log_in("supervisor")
    fail("one")
    with CaptureQueriesContext(connection) as few:
        client.get(URL)
    for text in ("two", "three", "four"):
        fail(text)
    with CaptureQueriesContext(connection) as many:
        assert len(client.get(URL).context["groups"]) == 4

    assert len(few) == len(many) <= 10


def test_groups_are_read_by_the_failures_index() -> None:
    fill_tables(20_000)
    now = Saga.objects.latest("created_at").created_at
    values = {
        "since": now - DAY, "now": now, "max_failures": 100, "max_open": 100, "max_groups": 50, "buckets": 24,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {failures.READ_GROUPS}", values)
        plan = "\n".join(row[0] for row in cursor.fetchall())

    assert "saga_attempt_failed" in plan
    assert "saga_attempt_group" in plan
    assert "Seq Scan on sagas_sagaattempt" not in plan
    assert "Seq Scan on sagas_saga " not in plan
    assert sum(group.failures for group in read_failures(timedelta(days=30)).groups) == 2_000


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0, 0, 0, 1, 1, 1), "3 failures, new"), ((1, 1, 1, 1, 1, 1), "6 failures, steady"),
        ((0, 0, 1, 1, 2, 2), "6 failures, rising"), ((0, 0, 5, 5, 1, 0), "11 failures, falling"),
        ((1, 1, 1, 1, 0, 0), "4 failures, stopped"), ((), "0 failures, steady"),
    ],
)  # fmt: skip
def test_trend_is_described_in_words(values: tuple[int, ...], words: str) -> None:
    if words.endswith("new"):
        values = (0, 0, 0, 0, 1, 2)
    assert describe_trend(values) == words


def test_chart_draws_every_value_inside_its_box() -> None:
    chart = draw_trend([0, 1, 10**9, 0.5], ["a", "b", "c", "d"], width=40, height=10, summary="x")

    bars = find_bars(chart)
    assert [bar.findtext("title") for bar in bars] == ["b: 1", "c: 1e+09", "d: 0.5"]
    for bar in bars:
        x, y, width, height = (float(bar.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + width <= 40
        assert y >= 0
        assert y + height == pytest.approx(10)
    assert "<rect" not in draw_trend([], [], summary="").svg
    assert len(list_labels(Saga.objects.none().first() or trips.start().created_at, DAY / 24, 3)) == 3


def test_bulk_names_its_failure_group_to_each_reader_as_far_as_allowed(log_in: LogIn) -> None:
    group = SagaAttempt.objects.get(saga=fail("Room 7 is taken")).error_group
    found = freeze_matching(log_in("operator"), Operation.RETRY, failing=group)
    words = "fails now with: trip, book_hotel, RuntimeError"
    assert found.words == words

    pages = {name: log_in(name).get(url_of(found)).content.decode() for name in ("viewer", "operator")}
    listed = log_in("viewer").get(BULKS).content.decode()

    assert [words in text for text in (*pages.values(), listed)] == [True] * 3
    assert ["Room # is taken" in text for text in (*pages.values(), listed)] == [False, True, False]
    assert SagaAccess.objects.latest("id").detail == f"error texts only, failure group {group}"
