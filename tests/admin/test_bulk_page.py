"""Bulk page: confirmation, progress and stop."""

import re
from datetime import timedelta
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sagas import clock
from sagas.admin.bulks import bulk_page
from sagas.models import SagaBulk, SagaBulkItem
from sagas.operators import operations
from sagas.operators.bulk import freezing
from sagas.operators.preconditions import Operation

from . import trips
from .bulks import BULKS, NEW, freeze_matching, freeze_rows, run, url_of
from .pages import LIST, REASON, LogIn, operations_of, page_of, text_of
from .trips import BOSS

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("reason", ["", "short", "x" * 501])
def test_reason_is_required(log_in: LogIn, reason: str) -> None:
    saga, client = trips.start(), log_in("supervisor")
    found = freeze_rows(client, saga)

    response = client.post(url_of(found, "start"), {"reason": reason})

    assert response.status_code == 400
    assert "the form needs your attention" in text_of(response)
    assert (freezing.find_bulk(found.pk).state, operations_of(saga)) == ("frozen", [])


def test_second_click_starts_nothing(log_in: LogIn) -> None:
    saga, client = trips.start(), log_in("supervisor")
    found = freeze_rows(client, saga)

    first = client.post(url_of(found, "start"), {"reason": REASON}, follow=True)
    second = client.post(url_of(found, "start"), {"reason": REASON}, follow=True)
    run(found)

    assert "Started: workers act on 1 saga now." in text_of(first)
    assert "The bulk was already started, and only once." in text_of(second)
    assert operations_of(saga) == [("pause", "supervisor", REASON)]


def test_results_show_the_outcome_of_each_saga(log_in: LogIn) -> None:
    moved, done, closed = trips.start(), trips.start(), trips.make_completed()
    client = log_in("supervisor")
    found = freeze_rows(client, moved, done, closed)
    assert "not possible: The saga is completed" in text_of(client.get(url_of(found)))
    operations.cancel(moved.pk, actor=BOSS, reason=REASON)
    client.post(url_of(found, "start"), {"reason": REASON})
    run(found)

    page = text_of(client.get(url_of(found)))

    assert "3 of 3 sagas have a result." in page
    for shown in ("changed, nothing done 1", "done 1", "refused 1", "at revision", "The saga is paused."):
        assert shown in page
    assert page.count('href="/admin/sagas/saga/0') == 3
    only = text_of(client.get(url_of(found), {"result": "stale"}))
    assert only.count('href="/admin/sagas/saga/0') == 1
    assert operations_of(moved) == [("cancel", "boss", REASON)]


def test_ended_bulk_says_where_its_sagas_are_now(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    saga, client = trips.start(), log_in("supervisor")
    found = freeze_rows(client, saga, operation=Operation.CANCEL)
    client.post(url_of(found, "start"), {"reason": REASON})
    assert "Where these sagas are now" not in text_of(client.get(url_of(found)))
    run(found)
    trips.drain(saga)

    page = text_of(client.get(url_of(found)))
    assert "<title>Cancel: 1 saga |" in page
    part = client.get(url_of(found, "refresh")).json()["parts"]["[data-part=progress]"]

    for shown in (page, part):
        assert shown.count("<caption>Where these sagas are now</caption>") == 1
        assert re.search(r'<th scope="row">trip</th>.*<strong>compensated</strong>.*<td>1</td>', shown, re.DOTALL)
    monkeypatch.setattr(bulk_page, "MAX_FOLLOWED", 0)
    assert "Where these sagas are now" not in text_of(client.get(url_of(found)))


def test_history_of_each_saga_links_to_the_bulk(log_in: LogIn) -> None:
    saga, client = trips.start(), log_in("supervisor")
    found = freeze_rows(client, saga)
    client.post(url_of(found, "start"), {"reason": REASON})
    run(found)

    assert f'<a href="{url_of(found)}">part of a bulk</a>' in text_of(client.get(f"{page_of(saga)}?tab=history"))


def test_running_bulk_page_reloads_only_on_request(log_in: LogIn) -> None:
    client = log_in("supervisor")
    found = freeze_rows(client, trips.start())
    reload = '<noscript><meta http-equiv="refresh" content="5"></noscript>'
    assert reload not in text_of(client.get(f"{url_of(found)}?reload=on"))
    client.post(url_of(found, "start"), {"reason": REASON})

    assert reload not in text_of(client.get(url_of(found)))
    assert reload in text_of(client.get(f"{url_of(found)}?reload=on"))
    run(found)
    assert reload not in text_of(client.get(f"{url_of(found)}?reload=on"))


def test_open_page_receives_the_progress_of_a_bulk(log_in: LogIn) -> None:
    client = log_in("supervisor")
    found = freeze_rows(client, trips.start())
    client.post(url_of(found, "start"), {"reason": REASON})

    with clock.restored():
        clock.move(timedelta(hours=3))  # "3 h ago" stays as it is for a while
        first = client.get(url_of(found, "refresh"))
        again = client.get(url_of(found, "refresh"), headers={"If-None-Match": first["ETag"]})
    run(found)
    over = client.get(url_of(found, "refresh"), headers={"If-None-Match": first["ETag"]})

    assert (first.status_code, again.status_code, over.status_code) == (200, 304, 200)
    assert (first.json()["news"], over.json()["news"]) == (
        "0 % of 1 sagas have a result.", "Finished: 1 of 1 sagas have a result.",
    )  # fmt: skip
    parts = ["[data-part=head]", "[data-part=progress]", "[data-part=results]"]
    assert [*first.json()["parts"]] == [*parts, "#saga-count-needs-attention", "#saga-count-bulks"]
    assert 'data-part="progress" data-live' in first.json()["parts"]["[data-part=progress]"]
    assert "data-live" not in "".join(over.json()["parts"].values())
    assert "Stop this bulk" not in over.json()["parts"]["[data-part=stop]"]
    assert text_of(client.get(url_of(found))).count('data-part="results"') == 1
    assert log_in("staff").get(url_of(found, "refresh")).status_code == 403
    assert client.get("/admin/sagas/sagabulk/01a1f8ad-de26-868b-9009-094b6257e07a/refresh/").status_code == 404


def test_stop_ends_a_bulk(log_in: LogIn) -> None:
    saga, client = trips.start(), log_in("supervisor")
    found = freeze_rows(client, saga)
    assert client.post(url_of(found, "stop")).status_code == 409
    client.post(url_of(found, "start"), {"reason": REASON})

    stopped = client.post(url_of(found, "stop"), {"reason": "Wrong provider."}, follow=True)
    again = client.post(url_of(found, "stop"), {}, follow=True)
    run(found)

    assert "Stopped." in text_of(stopped)
    assert "by supervisor: Wrong provider." in text_of(stopped)
    assert "The bulk was already over." in text_of(again)
    assert (operations_of(saga), freezing.find_bulk(found.pk).stop_reason) == ([], "Wrong provider.")


def test_other_users_may_view_and_stop_but_not_confirm(log_in: LogIn) -> None:
    saga = trips.start()
    found = freeze_rows(log_in("supervisor"), saga)
    other = log_in("admin")

    page = other.get(url_of(found))
    posted = other.post(url_of(found, "start"), {"reason": REASON})

    assert "supervisor froze this selection" in text_of(page)
    assert "<textarea" not in text_of(page)
    assert (posted.status_code, freezing.find_bulk(found.pk).state) == (403, "frozen")


def test_expired_selection_is_refused(log_in: LogIn) -> None:
    saga, client = trips.start(), log_in("supervisor")
    found = freeze_rows(client, saga)
    SagaBulk.objects.filter(pk=found.pk).update(frozen_at=found.frozen_at - timedelta(hours=2))

    assert "too old to be confirmed" in text_of(client.get(url_of(found)))
    posted = client.post(url_of(found, "start"), {"reason": REASON})

    assert (posted.status_code, freezing.find_bulk(found.pk).state, operations_of(saga)) == (409, "frozen", [])


def test_unknown_bulks_are_not_found(log_in: LogIn) -> None:
    client = log_in("supervisor")

    assert client.get(f"{BULKS}{uuid4()}/change/")["Location"] == BULKS
    assert client.get(f"{BULKS}nonsense/change/")["Location"] == BULKS
    for what in ("start", "stop"):
        assert client.post(f"{BULKS}{uuid4()}/{what}/", {"reason": REASON}).status_code == 404
        assert client.post(f"{BULKS}nonsense/{what}/", {"reason": REASON}, follow=True).status_code == 200


def test_nothing_happens_on_get_or_without_a_token(log_in: LogIn) -> None:
    saga = trips.start()
    client = log_in("supervisor")
    found = freeze_rows(client, saga)
    strict = log_in("supervisor", enforce_csrf_checks=True)

    assert client.get(url_of(found, "start")).status_code == 403
    assert client.get(url_of(found, "stop")).status_code == 403
    for url in (url_of(found, "start"), url_of(found, "stop"), f"{NEW}?definition=trip", LIST):
        assert strict.post(url, {"reason": REASON, "operation": "pause"}).status_code == 403
    assert (freezing.find_bulk(found.pk).state, SagaBulk.objects.count()) == ("frozen", 1)


def test_bulks_cannot_be_added_edited_or_deleted_by_hand(log_in: LogIn) -> None:
    client = log_in("admin")
    found = freeze_rows(client, trips.start())

    assert client.get(f"{BULKS}add/").status_code in (302, 403)
    assert client.post(f"{BULKS}{found.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.post(url_of(found), {"total": "5"}).status_code == 403
    assert client.get(BULKS, {"state": "frozen"}).status_code == 400
    assert SagaBulk.objects.get().total == 1


def test_list_of_bulks_shows_the_newest_first(log_in: LogIn) -> None:
    client, saga = log_in("supervisor"), trips.start()
    first, second = freeze_rows(client, saga), freeze_rows(client, saga, operation=Operation.CANCEL)

    page = text_of(log_in("viewer").get(BULKS))

    assert page.index(url_of(second)) < page.index(url_of(first))
    assert "Cancel: 1 saga<" in page
    assert "selected by hand" in page


def test_query_count_does_not_depend_on_the_number_of_sagas(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_page, "ITEMS_SHOWN", 12)
    client = log_in("supervisor")
    few, many = freeze_rows(client, trips.start()), freeze_rows(client, *(trips.start() for _ in range(30)))

    def count(url: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url).status_code == 200
        return len(queries)

    assert count(url_of(few)) == count(url_of(many)) <= 10
    for found in (few, many):
        client.post(url_of(found, "start"), {"reason": REASON})
    assert count(url_of(few)) == count(url_of(many)) <= 10
    for found in (few, many):
        run(found)
    assert count(url_of(few)) == count(url_of(many)) <= 10
    assert "after=12" in text_of(client.get(url_of(many)))
    assert text_of(client.get(f"{url_of(many)}?after=24")).count('href="/admin/sagas/saga/0') == 6
    assert client.get(f"{url_of(many)}?after=30").status_code == 200


def test_hostile_text_is_escaped(log_in: LogIn) -> None:
    hostile = "<script>alert(1)</script>{{ 7|add:7 }}'\"&"
    client = log_in("admin")
    trips.start(order=hostile)

    found = freeze_matching(client, q=hostile)
    client.post(url_of(found, "start"), {"reason": hostile})
    for url in (url_of(found), BULKS, f"{NEW}?{urlencode({'q': hostile})}", f"{NEW}?{urlencode({hostile: 1})}"):
        assert "<script>alert" not in client.get(url).content.decode()


def test_items_are_not_registered_and_bulks_do_not_reference_users() -> None:
    from django.contrib import admin

    assert SagaBulk in admin.site._registry
    assert SagaBulkItem not in admin.site._registry
    assert User not in {field.related_model for field in SagaBulk._meta.fields}
