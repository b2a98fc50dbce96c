"""Filters, orders and pagination of the list: by URL, on indexes, beyond the counted pages."""

from datetime import UTC, datetime, timedelta, timezone
from html import unescape
from typing import Any

import pytest
from django.test import RequestFactory

from sagas.admin import saga_admin
from sagas.admin.saga_list.filters import (
    AttemptsFilter,
    ClosedFilter,
    FailingFilter,
    GroupFilter,
    OperatedFilter,
    StepFilter,
)
from sagas.admin.ui import paging
from sagas.admin.ui.list_order import PositionFilter, describe_position, find_order, parse_slow_position
from sagas.models import Saga, SagaAttempt, SagaBarrier, SagaBulk, SagaWorker
from sagas.moments import read_timestamp
from sagas.operators import operations
from sagas.operators.audit import access_log
from sagas.operators.bulk import freezing
from sagas.operators.preconditions import Operation
from sagas.operators.presentation.times import describe_moment
from sagas.operators.queries.keyset import read_place
from sagas.operators.queries.saga_conditions import start_of_today

from . import trips
from .pages import LIST, LogIn, ids, listed
from .tables import fill_tables

pytestmark = pytest.mark.django_db


def ordered(response: Any) -> list[Saga]:
    return [saga.pk for saga in response.context["cl"].result_list]


def test_step_filter_finds_sagas_at_a_step(log_in: LogIn) -> None:
    waiting, failing = trips.make_waiting_for_retry(), trips.make_compensation_failing()
    trips.make_completed(), trips.make_compensated(), trips.start()
    client = log_in("viewer")

    rows = client.get(LIST).context["cl"].result_list
    by_step: dict[str, set[str]] = {}
    for saga in rows:
        by_step.setdefault(saga.console_row.step, set()).add(str(saga.pk))

    assert by_step["book_flight"] >= ids(failing)
    for step in {step.name for step in trips.TripSaga.steps}:
        found = listed(client.get(LIST, {"step": step}))
        pending = {
            pk for pk in by_step.get(step, set()) if not Saga.objects.get(pk=pk).steps.exclude(state="pending").exists()
        }
        assert found == by_step.get(step, set()) - pending, step
    assert listed(client.get(LIST, {"step": "of_the_past"})) == set()
    assert str(waiting.pk) in {pk for found in by_step.values() for pk in found}


def test_attempts_filter(log_in: LogIn) -> None:
    failing, plain = trips.make_compensation_failing(), trips.make_completed()
    client = log_in("viewer")

    assert Saga.objects.get(pk=failing.pk).most_attempts == 10
    assert listed(client.get(LIST, {"attempts": "10"})) == ids(failing)
    assert listed(client.get(LIST, {"attempts": "11"})) == set()
    assert listed(client.get(LIST, {"attempts": "2"})) == ids(failing) != ids(plain)
    assert listed(client.get(LIST, {"attempts": "999999999"})) == set()


def test_operated_filter(log_in: LogIn) -> None:
    touched, untouched = trips.make_paused(), trips.make_completed()
    client = log_in("viewer")

    assert listed(client.get(LIST, {"operated": "yes"})) == ids(touched)
    assert listed(client.get(LIST, {"operated": "no"})) == ids(untouched)


def test_end_filter(log_in: LogIn) -> None:
    opened, closed, old = trips.start(), trips.make_completed(), trips.make_compensated()
    Saga.objects.filter(pk=old.pk).update(closed_at=datetime.now(UTC) - timedelta(days=3))
    client = log_in("viewer")

    assert listed(client.get(LIST, {"closed": "no"})) == ids(opened)
    assert listed(client.get(LIST, {"closed": "today"})) == ids(closed)
    assert listed(client.get(LIST, {"closed": "24h"})) == ids(closed)
    assert listed(client.get(LIST, {"closed": "7d"})) == ids(closed, old)


def test_error_group_filter_finds_every_saga_of_the_group(log_in: LogIn) -> None:
    failing, other = trips.make_compensation_failing(), trips.make_compensation_failing()
    trips.make_completed()
    groups = set(SagaAttempt.objects.filter(saga=failing).exclude(error_group="").values_list("error_group", flat=True))
    client = log_in("viewer")

    for group in groups:
        response = client.get(LIST, {"group": group, "closed": "no"})
        assert listed(response) == ids(failing, other)
        assert f"Group {group}" in response.content.decode()
    assert listed(client.get(LIST, {"group": "0" * 16})) == set()
    assert "failure group" not in client.get(LIST).content.decode()


def test_window_filter(log_in: LogIn) -> None:
    early, late = trips.start(), trips.start()
    Saga.objects.filter(pk=early.pk).update(created_at=datetime(2026, 11, 20, 2, 10, tzinfo=UTC))
    Saga.objects.filter(pk=late.pk).update(created_at=datetime(2026, 11, 20, 2, 40, tzinfo=UTC))
    client = log_in("viewer")

    def find(**query: str) -> set[str]:
        return listed(client.get(LIST, query))

    assert find(since="2026-11-20T02:10", until="2026-11-20T02:40") == ids(early)
    assert find(since="2026-11-20T02:10:01") == ids(late)
    assert find(until="2026-11-20T03:40+01:00") == ids(early)
    assert find(since="", until="") == ids(early, late)
    text = unescape(client.get(LIST, {"since": "2026-11-20T02:10", "display": "pending"}).content.decode())
    assert 'name="since" value="2026-11-20T02:10"' in text
    assert '<input type="hidden" name="display" value="pending">' in text


def test_times_are_read_and_shown_in_utc_whatever_the_zone_of_the_project(log_in: LogIn, settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    moment = datetime(2026, 11, 20, 2, 10, tzinfo=UTC)
    early, late = trips.make_completed(), trips.make_completed()
    frozen = freezing.freeze_selected(Operation.PAUSE, [late.pk], actor=trips.BOSS)
    Saga.objects.filter(pk=early.pk).update(created_at=moment)
    SagaBulk.objects.filter(pk=frozen.pk).update(frozen_at=moment)
    SagaWorker.objects.create(name="w", host="h", pid=1, started_at=moment, last_sweep_at=moment)
    SagaBarrier.objects.create(key="k", direction="action", state="done", created_at=moment)
    access_log.log_access("boss", access_log.What.VALUE, saga_id=late.pk)
    client, shown = log_in("admin"), "2026-11-20 02:10:00 UTC"
    midnight = start_of_today()

    assert listed(client.get(LIST, {"since": "2026-11-20T02:10", "until": "2026-11-20T02:11"})) == ids(early)
    page = unescape(client.get(LIST, {"before": describe_position(Saga.objects.get(pk=early.pk))}).content.decode())
    assert ">From (UTC)</label>" in page
    assert f"Before {shown}" in page
    for path in ("sagabulk/", "sagaworker/", f"sagaworker/{SagaWorker.objects.get().pk}/change/", "sagabarrier/"):
        assert shown in client.get(f"/admin/sagas/{path}").content.decode(), path
    assert " UTC</td>" in client.get("/admin/sagas/sagaaccess/").content.decode()
    assert (midnight.utcoffset(), midnight.hour, midnight.minute) == (timedelta(), 0, 0)
    assert describe_moment(moment.astimezone(timezone(timedelta(hours=9)))) == shown


def test_orders(log_in: LogIn) -> None:
    first, second, third = trips.make_completed(), trips.make_completed(), trips.make_completed()
    opened, newer = trips.start(), trips.start()
    for saga, minutes in ((first, 5), (second, 50), (third, 20)):
        Saga.objects.filter(pk=saga.pk).update(closed_at=saga.created_at + timedelta(minutes=minutes))
    client = log_in("viewer")

    assert ordered(client.get(LIST, {"by": "slowest"})) == [second.pk, third.pk, first.pk]
    assert ordered(client.get(LIST, {"by": "longest"})) == [opened.pk, newer.pk]


@pytest.mark.parametrize(
    "query",
    [
        {"closed": "never"}, {"step": "Step One"}, {"step": "\x00"}, {"attempts": "0"}, {"attempts": "1"},
        {"attempts": "-1"},
        {"attempts": "1e3"}, {"attempts": "9" * 20}, {"attempts": "\u0663"}, {"operated": "maybe"},
        {"group": "xyz"}, {"failing": "xyz"}, {"group": "A" * 16}, {"group": "'; DROP TABLE sagas_saga"},
        {"by": "random"},
        {"before": "yesterday"}, {"before": "2026-11-20T03:00:00Z~nobody"}, {"before": "~" * 300},
        {"before": "5~00000000-0000-0000-0000-000000000000"}, {"by": "slowest", "before": "5~x"},
        {"since": "yesterday"}, {"until": "\x00"}, {"since": "2026-13-40"}, {"until": "9" * 5000},
        {"since": "0001-01-01T00:00"}, {"until": "9999-12-31T23:59:59"},
    ],
)  # fmt: skip
def test_invalid_choice_shows_no_rows_and_the_reason(log_in: LogIn, query: dict[str, str]) -> None:
    saga, client = trips.start(), log_in("viewer")

    for url in (LIST, f"{LIST}export/csv/"):
        response = client.get(url, query)
        text = unescape(response.content.decode())
        assert response.status_code == 400
        assert str(saga.pk) not in text
        assert f"{list(query)[-1]} must be " in text
        assert ", not " in text


@pytest.mark.parametrize("text", ["", "~", "5~", "5~x", "1e3~00000000-0000-0000-0000-000000000000", "9" * 60])
def test_invalid_cursor_among_the_slowest_is_rejected(text: str) -> None:
    assert parse_slow_position(text) is None


@pytest.mark.parametrize("text", ["", "~", "2026-11-20", "a~b", "2026-11-20T03:00:00Z~", "\u0662026~x"])
def test_invalid_cursor_is_rejected(text: str) -> None:
    assert read_place(text) is None


def test_cursor_round_trip() -> None:
    saga = trips.start()

    assert read_place(describe_position(saga)) == (saga.created_at, saga.pk)
    assert read_timestamp("2026-11-20T03:00:00", zone=UTC) == datetime(2026, 11, 20, 3, tzinfo=UTC)


def test_list_is_paginated_beyond_the_counted_pages(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_COUNT", 4)
    monkeypatch.setattr(saga_admin.SagaAdmin, "list_per_page", 2)
    made = [trips.start().pk for _ in range(9)]
    moment = datetime(2026, 11, 20, 3, tzinfo=UTC)
    Saga.objects.filter(pk__in=made[2:7]).update(created_at=moment)  # same time: the id decides
    client = log_in("viewer")
    expected = list(Saga.objects.order_by("-created_at", "-pk").values_list("pk", flat=True))

    found: list[Any] = []
    url = LIST
    for _ in range(5):
        first = client.get(url)
        found += ordered(first)
        assert first.context["cl"].older_url == ""
        if first.context["cl"].paginator.num_pages == 1:
            break
        last = client.get(url + ("&" if "?" in url else "?") + "p=2")
        found += ordered(last)
        older = last.context["cl"].older_url
        assert "Older ones" in last.content.decode()
        url = LIST + older

    assert found == expected
    assert "From the newest" in client.get(url).content.decode()


@pytest.mark.parametrize("order", ["slowest", "longest"])
def test_other_orders_are_paginated_beyond_the_counted_pages(
    log_in: LogIn, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    monkeypatch.setattr(paging, "MAX_COUNT", 4)
    monkeypatch.setattr(saga_admin.SagaAdmin, "list_per_page", 2)
    made = [trips.make_completed() if order == "slowest" else trips.start() for _ in range(7)]
    moment = datetime(2026, 11, 20, 3, tzinfo=UTC)
    for number, saga in enumerate(made):  # some equally slow and old: the id decides
        seconds = 7 - max(number, 3)
        closed_at = moment + timedelta(seconds=60 + seconds, microseconds=1) if order == "slowest" else None
        started_at = moment if order == "slowest" else moment - timedelta(seconds=seconds)
        Saga.objects.filter(pk=saga.pk).update(created_at=started_at, closed_at=closed_at)
    client, key = log_in("viewer"), find_order(RequestFactory().get(LIST, {"by": order}))
    expected = list(Saga.objects.order_by(*(key or ())).values_list("pk", flat=True))

    first = client.get(f"{LIST}?by={order}")
    last = client.get(f"{LIST}?by={order}&p=2")
    beyond = client.get(LIST + last.context["cl"].older_url)
    end = client.get(LIST + last.context["cl"].older_url + "&p=2")

    assert "The last page leads to the next ones." in first.content.decode()
    assert ">The next ones</a>" in last.content.decode()
    assert [pk for page in (first, last, beyond, end) for pk in ordered(page)] == expected
    assert end.context["cl"].older_url == ""
    text = unescape(end.content.decode())
    assert "From the beginning" in text
    # Changing the order starts at its first page.
    assert 'href="?"' in text.split('data-filter-title="order"')[1]


def test_active_filters_are_open_and_the_current_view_is_marked(log_in: LogIn) -> None:
    trips.start()
    text = unescape(log_in("viewer").get(LIST, {"attempts": "5", "closed": "no"}).content.decode())

    assert 'data-filter-title="attempts of a step" open' in text
    assert 'data-filter-title="operation">' in text
    assert f'<a href="{LIST}?attempts=5&closed=no" aria-current="page">Retrying more than 3 times</a>' in text
    assert ' aria-current="true">5 or more</a>' in text


@pytest.mark.parametrize(
    "view", ["needs=any&by=severest", "by=severest", "display=compensated&closed=today", "by=slowest", "by=longest", ""]
)
def test_every_view_is_a_list(log_in: LogIn, view: str) -> None:
    trips.make_compensated()

    response = log_in("viewer").get(f"{LIST}?{view}")

    assert response.status_code == 200
    assert sum(found.is_current for found in response.context["saga_views"]) == 1


def test_filters_never_scan_a_whole_table() -> None:
    fill_tables(20_000)
    saga = trips.make_compensation_failing()
    trips.make_paused()
    group = SagaAttempt.objects.filter(saga=saga).exclude(error_group="").values_list("error_group", flat=True)[0]
    request = RequestFactory().get(LIST)
    sagas = Saga.objects.order_by("-created_at", "-id")

    def narrow(kind: Any, value: str) -> Any:
        given = {kind.parameter_name: [value]}
        return kind(request, given, Saga, None).queryset(request, sagas)

    middle = sagas[10_000]
    queries = {
        "open": narrow(ClosedFilter, "no"), "today": narrow(ClosedFilter, "today"), "week": narrow(ClosedFilter, "7d"),
        "compensated today": narrow(ClosedFilter, "today").filter(state="compensated"),
        "step": narrow(StepFilter, "book_flight"), "attempts": narrow(AttemptsFilter, "10"),
        "some attempts": narrow(AttemptsFilter, "3"),
        "operated": narrow(OperatedFilter, "yes"), "rare group": narrow(GroupFilter, group),
        "frequent group": narrow(GroupFilter, "7".rjust(16, "0")), "failing": narrow(FailingFilter, group),
        "frequent failing": narrow(FailingFilter, "7".rjust(16, "0")),
        "place": narrow(PositionFilter, describe_position(middle)),
        "window": sagas.filter(created_at__range=(middle.created_at - timedelta(hours=1), middle.created_at)),
    }  # fmt: skip
    for order in ("slowest", "longest"):
        key = find_order(RequestFactory().get(LIST, {"by": order}))
        queries[order] = sagas.filter(closed_at__isnull=order == "longest").order_by(*(key or ()))
        there = RequestFactory().get(LIST, {"by": order})
        place = PositionFilter(there, {"before": [describe_position(middle, order)]}, Saga, None)  # type: ignore[arg-type]
        queries[f"{order}, beyond"] = place.queryset(there, queries[order])

    for name, query in queries.items():
        for plan in (query[:50].explain(), query.order_by()[:1001].explain()):
            # If nearly every row matches, scanning until enough are found is fine.
            common = ("week", "slowest", "slowest, beyond", "place", "some attempts")
            is_common = name in common and "Limit" in plan
            assert "Seq Scan on sagas_" not in plan or is_common, f"{name}\n{plan}"
    assert "saga_slowest" in queries["slowest"][:50].explain()
    beyond = queries["slowest, beyond"][:50].explain()
    assert "Index Cond" in beyond.split("saga_slowest")[1]
    assert "saga_newest" in queries["place"][:50].explain()


def test_hostile_user_names_and_errors_are_shown_as_text(log_in: LogIn) -> None:
    hostile = "<script>alert(1)</script>{{ 7|add:7 }}'\"&"
    saga = trips.start(order=hostile)
    operations.pause(saga.pk, actor=trips.Actor(name=hostile, is_trusted=True), reason=f"Because of {hostile}")

    text = log_in("admin").get(LIST, {"operated": "yes"}).content.decode()

    assert "<script>alert" not in text
    assert hostile in unescape(text)
