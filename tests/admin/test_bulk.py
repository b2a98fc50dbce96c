"""Act on many sagas from the list: by the rows that are ticked, and by everything that matches a filter."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from sagas import bulk, bulk_running, clock, operations
from sagas.admin import bulk_page
from sagas.bulk_rules import BULK_OPERATIONS, EVERYTHING, REASONS_AGAINST
from sagas.models import Saga, SagaBulk, SagaBulkItem
from sagas.plans import LABELS
from sagas.rules import Operation

from . import trips
from .pages import LIST, REASON, deeds_of, page_of, stored
from .trips import BOSS

pytestmark = pytest.mark.django_db

LogIn = Callable[..., Client]
BULKS = "/admin/sagas/sagabulk/"
NEW = f"{BULKS}new/"
PAUSE = Operation.PAUSE


def text_of(response: Any) -> str:
    return unescape(response.content.decode())


def url_of(found: SagaBulk, what: str = "change") -> str:
    return f"{BULKS}{found.pk}/{what}/"


def tick(client: Client, *sagas: Saga, operation: Operation = PAUSE, **more: Any) -> Any:
    ids = [str(saga.pk) for saga in sagas]
    return client.post(LIST, {"action": operation.value, "index": "0", "_selected_action": ids, **more})


def draw(client: Client, *sagas: Saga, operation: Operation = PAUSE) -> SagaBulk:
    response = tick(client, *sagas, operation=operation)
    found = SagaBulk.objects.latest("drawn_at")
    assert (response.status_code, response["Location"]) == (302, url_of(found))
    return found


def draw_matching(client: Client, operation: Operation = PAUSE, **filter: str) -> SagaBulk:
    response = client.post(f"{NEW}?{urlencode(filter)}", {"operation": operation.value})
    assert response.status_code == 302, text_of(response)
    return SagaBulk.objects.get(pk=response["Location"].split("/")[4])


def run(found: SagaBulk) -> SagaBulk:
    with clock.restored():
        clock.move(timedelta(seconds=10))
        bulk_running.advance(found.pk)
    return bulk.find_bulk(found.pk)


def chosen_of(found: SagaBulk) -> list[Any]:
    return list(found.items.order_by("position").values_list("saga_id", flat=True))


# --- By selection ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", BULK_OPERATIONS)
def test_ticked_sagas_are_shown_confirmed_and_acted_on(log_in: LogIn, operation: Operation) -> None:
    maker = trips.make_paused if operation is Operation.RESUME else trips.make_waiting_for_retry
    sagas, other = [maker(), maker()], maker()
    before = stored(other)
    client = log_in("supervisor")
    assert f'<option value="{operation.value}">' in client.get(LIST).content.decode()

    found = draw(client, *sagas, operation=operation)
    shown = text_of(client.get(url_of(found)))
    assert f"{LABELS[operation]}: 2 sagas" in shown
    assert shown.count("would be done") == 2
    assert [deeds_of(saga)[1:] if operation is Operation.RESUME else deeds_of(saga) for saga in sagas] == [[], []]

    started = client.post(url_of(found, "start"), {"reason": REASON})
    assert (started.status_code, started["Location"]) == (302, f"{url_of(found)}?reload=on")
    ended = run(found)

    assert (ended.state, ended.counts["done"]) == ("finished", 2)
    assert [deeds_of(saga)[-1] for saga in sagas] == [(operation.value, "supervisor", REASON)] * 2
    assert stored(other) == before


def test_ticked_rows_are_acted_on_even_if_the_filter_finds_them_no_more(log_in: LogIn) -> None:
    saga, client = trips.make_paused(), log_in("supervisor")
    operations.resume(saga.pk, actor=BOSS, reason=REASON)

    response = client.post(
        f"{LIST}?display=held", {"action": "pause", "index": "0", "_selected_action": [str(saga.pk)]}
    )

    assert response.status_code == 302
    assert chosen_of(SagaBulk.objects.get()) == [saga.pk]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"action": ""}, "Choose an action"),
        ({"action": "abandon"}, "Choose an action"),
        ({"action": "nonsense"}, "Choose an action"),
        ({"index": "7"}, "Choose an action"),
        ({"index": "²"}, "Choose an action"),
        ({"_selected_action": ["x"]}, "is no saga"),
        ({"_selected_action": ["x' OR 1=1 --", "\x00"]}, "is no saga"),
        ({"_selected_action": [str(uuid4())]}, "There is no saga"),
    ],
)
def test_odd_selections_do_nothing(log_in: LogIn, form: dict[str, Any], text: str) -> None:
    saga = trips.start()
    before = stored(saga)

    response = tick(log_in("supervisor"), saga, **form)

    assert response.status_code == 302 or "Nothing" in text_of(response) or text in text_of(response)
    assert (SagaBulk.objects.count(), stored(saga)) == (0, before)


def test_all_across_pages_is_confirmed_as_a_filter(log_in: LogIn) -> None:
    saga, client = trips.make_paused(), log_in("supervisor")
    form = {"action": "resume", "index": "0", "select_across": "1", "_selected_action": [str(saga.pk)]}

    narrowed, whole = client.post(f"{LIST}?display=held&p=1", form), client.post(LIST, form)

    assert narrowed["Location"] == f"{NEW}?display=held"
    assert whole["Location"] == f"{NEW}?everything=1"
    assert SagaBulk.objects.count() == 0


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("by=slowest", "The slowest are closed sagas"),
        ("by=slowest&definition=trip", "The slowest are closed sagas"),
        ("before=2999-01-01T00:00:00Z~01a1f8dc-f172-7cb4-bfee-2d59bbfa6039", "a place is no filter"),
    ],
)
def test_what_narrows_but_is_no_filter_leads_to_no_set(log_in: LogIn, query: str, reason: str) -> None:
    trips.make_completed()
    saga, client = trips.make_paused(), log_in("supervisor")
    form = {"action": "resume", "index": "0", "select_across": "1", "_selected_action": [str(saga.pk)]}

    shown = text_of(client.get(f"{LIST}?{query}"))
    refused = client.post(f"{LIST}?{query}", form)

    assert (NEW in shown, reason in shown) == (False, True)
    assert refused["Location"] == f"{LIST}?{query}"
    said = text_of(client.get(refused["Location"]))
    assert f"{reason}" in said
    assert "Nothing was done." in said
    assert SagaBulk.objects.count() == 0
    assert reason not in text_of(log_in("viewer").get(f"{LIST}?{query}"))


# --- By filter ------------------------------------------------------------------------------------------------------


def test_list_leads_to_everything_that_matches_its_filter(log_in: LogIn) -> None:
    held, _, _ = trips.make_paused(), trips.start(), trips.make_abandoned()
    client = log_in("supervisor")

    page = text_of(client.get(LIST, {"display": "held", "p": "1", "o": "1", "since": "", "by": "longest"}))
    assert f'href="{NEW}?display=held"' in page
    assert f'href="{NEW}?everything=1"' in text_of(client.get(LIST))

    offered = text_of(client.get(f"{NEW}?display=held"))
    assert "state: Held" in offered
    assert "<dd>1. Closed ones are left out" in offered
    for operation in BULK_OPERATIONS:
        assert f'name="operation" value="{operation.value}"' in offered
    for operation, reason in REASONS_AGAINST.items():
        assert f'value="{operation.value}"' not in offered
        assert reason in offered
    found = draw_matching(client, Operation.RESUME, display="held")
    assert (chosen_of(found), found.words, found.filter) == ([held.pk], "state: Held", {"display": "held"})


def test_every_filter_and_the_search_narrow_the_set(log_in: LogIn) -> None:
    saga, client = trips.make_paused(), log_in("supervisor")
    trips.start(trips.TourSaga)
    number = saga.keys.get().value

    for filter in (
        {"display": "held"}, {"needs": "paused"}, {"q": number}, {"touched": "yes"},
        {"since": "2020-01-01", "until": "2999-01-01", "definition": "trip"},
        {"definition": "trip:3", "started": "1h"},
    ):  # fmt: skip
        found = draw_matching(client, **filter)
        assert (chosen_of(found), found.filter) == ([saga.pk], filter)
    assert found.words == "definition: trip:3; start: Last hour"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "There is no filter"),
        ("everything=2", "has no choice"),
        ("everything=1&display=held", "two different things"),
        ("display=nonsense", "not understood"),
        ("display=", "is empty"),
        ("since=&until=", "is empty"),
        ("since=nonsense", "not understood"),
        ("attempts=1", "finds every saga"),
        ("by=longest", "is a place in the list"),
        ("display=held&before=2026-11-20T00:00:00Z~01a1f8dc-f172-7cb4-bfee-2d59bbfa6039", "is a place in the list"),
        ("definition=%00", "not understood"),
        ("display=held&display=running", "comes 2 times"),
        ("displayy=held", "Filtering by displayy not allowed"),
        ("display=held&state=running", "Filtering by state not allowed"),
        ("display=held&p=2", "is a place in the list"),
        ("display=held&_facets=1", "is a place in the list"),
        ("display=held&e=1", "is a place in the list"),
        ("steps__result__isnull=0", "not allowed"),
        ("q=", "is empty"),
        ("q=%20%20", "is empty"),
        ("q=a%00b", "search cannot be read"),
        ("display=held&q=a%00b", "search cannot be read"),
    ],
)
def test_lost_or_tampered_filter_is_an_error(log_in: LogIn, query: str, text: str) -> None:
    saga, client = trips.make_paused(), log_in("admin")
    before = stored(saga)

    for response in (client.get(f"{NEW}?{query}"), client.post(f"{NEW}?{query}", {"operation": "resume"})):
        assert response.status_code == 400
        assert text in text_of(response)
    assert (SagaBulk.objects.count(), stored(saga)) == (0, before)


def test_set_is_what_was_frozen_whatever_the_filter_finds_later(log_in: LogIn) -> None:
    first, client = trips.make_paused(), log_in("supervisor")
    found = draw_matching(client, Operation.RESUME, display="held")
    second = trips.make_paused()
    before = stored(second)

    client.post(f"{url_of(found, 'start')}?display=running&everything=1", {"reason": REASON})
    run(found)

    assert (len(deeds_of(first)), stored(second)) == (2, before)


def test_everything_is_confirmed_in_words(log_in: LogIn) -> None:
    saga, client = trips.start(), log_in("supervisor")
    assert "no filter narrows them" in text_of(client.get(f"{NEW}?everything=1"))
    found = draw_matching(client, everything="1")
    shown = text_of(client.get(url_of(found)))
    assert f"Type: {EVERYTHING}" in shown

    for words in ("", "yes", "Every open saga"):
        refused = client.post(url_of(found, "start"), {"reason": REASON, "words": words})
        assert refused.status_code == 400
    assert bulk.find_bulk(found.pk).state == "drawn"
    assert client.post(url_of(found, "start"), {"reason": REASON, "words": EVERYTHING}).status_code == 302
    run(found)
    assert len(deeds_of(saga)) == 1


def test_count_is_typed_for_more_than_a_hundred(log_in: LogIn) -> None:
    for _ in range(101):
        trips.start()
    client = log_in("supervisor")
    found = draw_matching(client, definition="trip")
    assert "Type 101 to go on." in text_of(client.get(url_of(found)))

    for count in ("", "100", "abc", "101.5", "9" * 40, "-101"):
        refused = client.post(url_of(found, "start"), {"reason": REASON, "count": count})
        assert refused.status_code == 400, count
    assert bulk.find_bulk(found.pk).state == "drawn"
    assert client.post(url_of(found, "start"), {"reason": REASON, "count": "101"}).status_code == 302
    assert bulk.find_bulk(found.pk).state == "running"


def test_too_many_are_refused_before_and_after_choosing(log_in: LogIn) -> None:
    for _ in range(3):
        trips.start()
    client = log_in("supervisor")

    with override_settings(SAGAS={"BULK_MAX": 2}):
        offered = text_of(client.get(f"{NEW}?definition=trip"))
        posted = client.post(f"{NEW}?definition=trip", {"operation": "pause"})

    assert "More than 2 sagas match" in offered
    assert 'name="operation"' not in offered
    assert (posted.status_code, SagaBulk.objects.count()) == (400, 0)
    assert "More than 2 sagas match, the most that one bulk may have (SAGAS['BULK_MAX'])" in text_of(posted)


@pytest.mark.parametrize("operation", ["", "nonsense", "skip", "mark_succeeded", "abandon", "\x00"])
def test_what_is_not_done_in_bulk_is_refused(log_in: LogIn, operation: str) -> None:
    saga = trips.start()
    before = stored(saga)

    response = log_in("admin").post(f"{NEW}?definition=trip", {"operation": operation})

    assert (response.status_code, SagaBulk.objects.count(), stored(saga)) == (400, 0, before)


def test_nothing_matches(log_in: LogIn) -> None:
    trips.make_completed()

    client = log_in("supervisor")
    assert "No open saga matches" in text_of(client.get(f"{NEW}?definition=trip"))
    assert client.post(f"{NEW}?definition=trip", {"operation": "pause"}).status_code == 400


# --- The page of a bulk ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["", "short", "x" * 501])
def test_reason_is_required(log_in: LogIn, reason: str) -> None:
    saga, client = trips.start(), log_in("supervisor")
    found = draw(client, saga)

    response = client.post(url_of(found, "start"), {"reason": reason})

    assert response.status_code == 400
    assert "the form needs your attention" in text_of(response)
    assert (bulk.find_bulk(found.pk).state, deeds_of(saga)) == ("drawn", [])


def test_second_click_starts_nothing(log_in: LogIn) -> None:
    saga, client = trips.start(), log_in("supervisor")
    found = draw(client, saga)

    first = client.post(url_of(found, "start"), {"reason": REASON}, follow=True)
    second = client.post(url_of(found, "start"), {"reason": REASON}, follow=True)
    run(found)

    assert "Started: workers act on 1 sagas now." in text_of(first)
    assert "It was started already, and only once." in text_of(second)
    assert deeds_of(saga) == [("pause", "supervisor", REASON)]


def test_results_say_what_became_of_each_saga(log_in: LogIn) -> None:
    moved, done, closed = trips.start(), trips.start(), trips.make_completed()
    client = log_in("supervisor")
    found = draw(client, moved, done, closed)
    assert "not possible: The saga is completed" in text_of(client.get(url_of(found)))
    operations.cancel(moved.pk, actor=BOSS, reason=REASON)
    client.post(url_of(found, "start"), {"reason": REASON})
    run(found)

    page = text_of(client.get(url_of(found)))

    assert "3 of 3 sagas have a result." in page
    for shown in ("had changed, nothing done 1", "done 1", "refused 1", "at revision", "The saga is paused."):
        assert shown in page
    assert page.count('href="/admin/sagas/saga/0') == 3
    only = text_of(client.get(url_of(found), {"result": "stale"}))
    assert only.count('href="/admin/sagas/saga/0') == 1
    assert deeds_of(moved) == [("cancel", "boss", REASON)]


def test_history_of_each_saga_leads_to_the_bulk(log_in: LogIn) -> None:
    saga, client = trips.start(), log_in("supervisor")
    found = draw(client, saga)
    client.post(url_of(found, "start"), {"reason": REASON})
    run(found)

    assert f'<a href="{url_of(found)}">as one of a bulk</a>' in text_of(client.get(f"{page_of(saga)}?tab=history"))


def test_running_page_reads_itself_anew_only_when_asked(log_in: LogIn) -> None:
    client = log_in("supervisor")
    found = draw(client, trips.start())
    reload = '<noscript><meta http-equiv="refresh" content="5"></noscript>'
    assert reload not in text_of(client.get(f"{url_of(found)}?reload=on"))
    client.post(url_of(found, "start"), {"reason": REASON})

    assert reload not in text_of(client.get(url_of(found)))
    assert reload in text_of(client.get(f"{url_of(found)}?reload=on"))
    run(found)
    assert reload not in text_of(client.get(f"{url_of(found)}?reload=on"))


def test_open_page_is_told_how_far_a_bulk_is(log_in: LogIn) -> None:
    client = log_in("supervisor")
    found = draw(client, trips.start())
    client.post(url_of(found, "start"), {"reason": REASON})

    first = client.get(url_of(found, "refresh"))
    again = client.get(url_of(found, "refresh"), headers={"If-None-Match": first["ETag"]})
    run(found)
    over = client.get(url_of(found, "refresh"), headers={"If-None-Match": first["ETag"]})

    assert (first.status_code, again.status_code, over.status_code) == (200, 304, 200)
    assert first.json()["news"] == "0 of 1 sagas have a result."
    assert 'data-part="running"' in first.json()["parts"]["[data-part=running]"]
    assert 'data-part="finished"' in over.json()["parts"]["[data-part=running]"]
    assert text_of(client.get(url_of(found))).count('data-part="finished"') == 1
    assert log_in("staff").get(url_of(found, "refresh")).status_code == 403
    assert client.get("/admin/sagas/sagabulk/01a1f8ad-de26-868b-9009-094b6257e07a/refresh/").status_code == 404


def test_stop_ends_it(log_in: LogIn) -> None:
    saga, client = trips.start(), log_in("supervisor")
    found = draw(client, saga)
    assert client.post(url_of(found, "stop")).status_code == 409
    client.post(url_of(found, "start"), {"reason": REASON})

    stopped = client.post(url_of(found, "stop"), {"reason": "Wrong provider."}, follow=True)
    again = client.post(url_of(found, "stop"), {}, follow=True)
    run(found)

    assert "Stopped." in text_of(stopped)
    assert "by supervisor: Wrong provider." in text_of(stopped)
    assert "It was over already." in text_of(again)
    assert (deeds_of(saga), bulk.find_bulk(found.pk).stop_reason) == ([], "Wrong provider.")


def test_somebody_else_may_look_and_stop_but_not_confirm(log_in: LogIn) -> None:
    saga = trips.start()
    found = draw(log_in("supervisor"), saga)
    other = log_in("admin")

    page = other.get(url_of(found))
    posted = other.post(url_of(found, "start"), {"reason": REASON})

    assert "supervisor drew this set" in text_of(page)
    assert "<textarea" not in text_of(page)
    assert (posted.status_code, bulk.find_bulk(found.pk).state) == (403, "drawn")


def test_set_that_was_not_confirmed_in_time_is_refused(log_in: LogIn) -> None:
    saga, client = trips.start(), log_in("supervisor")
    found = draw(client, saga)
    SagaBulk.objects.filter(pk=found.pk).update(drawn_at=found.drawn_at - timedelta(hours=2))

    assert "frozen too long ago" in text_of(client.get(url_of(found)))
    posted = client.post(url_of(found, "start"), {"reason": REASON})

    assert (posted.status_code, bulk.find_bulk(found.pk).state, deeds_of(saga)) == (409, "drawn", [])


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
    found = draw(client, saga)
    strict = log_in("supervisor", enforce_csrf_checks=True)

    assert client.get(url_of(found, "start")).status_code == 403
    assert client.get(url_of(found, "stop")).status_code == 403
    for url in (url_of(found, "start"), url_of(found, "stop"), f"{NEW}?definition=trip", LIST):
        assert strict.post(url, {"reason": REASON, "operation": "pause"}).status_code == 403
    assert (bulk.find_bulk(found.pk).state, SagaBulk.objects.count()) == ("drawn", 1)


def test_nobody_adds_edits_or_deletes_a_bulk_by_hand(log_in: LogIn) -> None:
    client = log_in("admin")
    found = draw(client, trips.start())

    assert client.get(f"{BULKS}add/").status_code in (302, 403)
    assert client.post(f"{BULKS}{found.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.post(url_of(found), {"total": "5"}).status_code == 403
    assert client.get(BULKS, {"state": "drawn"}).status_code == 400
    assert SagaBulk.objects.get().total == 1


def test_list_of_bulks_shows_the_newest_first(log_in: LogIn) -> None:
    client, saga = log_in("supervisor"), trips.start()
    first, second = draw(client, saga), draw(client, saga, operation=Operation.CANCEL)

    page = text_of(log_in("viewer").get(BULKS))

    assert page.index(url_of(second)) < page.index(url_of(first))
    assert "Cancel: 1 sagas" in page
    assert "selected by hand" in page


def test_pages_cost_the_same_for_few_and_for_many(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_page, "ITEMS_SHOWN", 12)
    client = log_in("supervisor")
    few, many = draw(client, trips.start()), draw(client, *(trips.start() for _ in range(30)))

    def count(url: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url).status_code == 200
        return len(queries)

    assert count(url_of(few)) == count(url_of(many)) <= 13
    for found in (few, many):
        client.post(url_of(found, "start"), {"reason": REASON})
        run(found)
    assert count(url_of(few)) == count(url_of(many)) <= 13
    assert "after=12" in text_of(client.get(url_of(many)))
    assert text_of(client.get(f"{url_of(many)}?after=24")).count('href="/admin/sagas/saga/0') == 6
    assert client.get(f"{url_of(many)}?after=99999999999").status_code == 200
    assert client.get(f"{url_of(many)}?after=x&result=nonsense").status_code == 200


def test_hostile_text_is_escaped(log_in: LogIn) -> None:
    hostile = "<script>alert(1)</script>{{ 7|add:7 }}'\"&"
    client = log_in("admin")
    trips.start(order=hostile)

    found = draw_matching(client, q=hostile)
    client.post(url_of(found, "start"), {"reason": hostile})
    for url in (url_of(found), BULKS, f"{NEW}?{urlencode({'q': hostile})}", f"{NEW}?{urlencode({hostile: 1})}"):
        assert "<script>alert" not in client.get(url).content.decode()


def test_items_are_not_registered_and_users_keep_no_bulk() -> None:
    from django.contrib import admin

    assert SagaBulk in admin.site._registry
    assert SagaBulkItem not in admin.site._registry
    assert User not in {field.related_model for field in SagaBulk._meta.fields}
