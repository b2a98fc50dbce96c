"""Invalid page positions: each list reports them and shows nothing else instead."""

from typing import Any

import pytest
from django.test import Client

from sagas.models import Saga, SagaAccess
from sagas.operators.audit import access_log

from . import trips
from .bulks import BULKS, freeze_rows, run, url_of
from .pages import LIST, REASON, LogIn, page_of, text_of

pytestmark = pytest.mark.django_db

LISTS = (LIST, BULKS, "/admin/sagas/sagaaccess/", "/admin/sagas/sagaworker/", "/admin/sagas/sagabarrier/")
NO_PAGES = ["2", "99", "0", "-1", "x", "1.5", "9" * 40, "1_0", "+1", " 1", "\u0661", "\x00", "%00", "1;2"]
NO_NUMBERS = ["0", "-1", "x", "1.5", "9" * 19, "9" * 5000, "\u0661\u0662", "\x00", " 1", "1_0"]


@pytest.mark.parametrize("url", LISTS)
def test_list_on_one_page_has_no_other_page(log_in: LogIn, url: str) -> None:
    trips.start()
    client = log_in("admin")
    answers = {number: client.get(url, {"p": number}) for number in NO_PAGES}

    assert {number: answer.status_code for number, answer in answers.items()} == dict.fromkeys(NO_PAGES, 400)
    for answer in answers.values():
        assert "The list has no page" in text_of(answer)
        assert "result_list" not in text_of(answer)
    assert client.get(url, {"p": ["1", "1"]}).status_code == 400
    assert [client.get(url, {"p": number}).status_code for number in ("1", "")] == [200, 200]


def test_list_of_forty_nine_has_no_page_ninety_nine(log_in: LogIn) -> None:
    SagaAccess.objects.bulk_create(
        SagaAccess(at=trips.start().created_at, actor="ada", what="page", detail=str(number)) for number in range(49)
    )

    answer = log_in("admin").get("/admin/sagas/sagaaccess/", {"p": "99"})

    assert (answer.status_code, "The list has no page 99." in text_of(answer)) == (400, True)


@pytest.mark.parametrize("url", ["/admin/sagas/sagaaccess/", "/admin/sagas/sagabarrier/", LIST])
def test_invalid_search_shows_nothing(log_in: LogIn, url: str) -> None:
    assert access_log.log_access("ada lovelace", access_log.What.LIST)

    answer = log_in("admin").get(url, {"q": "\x00"})

    assert (answer.status_code, "The search contains characters that are not text." in text_of(answer)) == (400, True)
    assert "ada lovelace" not in text_of(answer)


def refused(client: Client, url: str, query: dict[str, Any]) -> bool:
    """Return whether a query is answered by 400, on the page and, if there is one, by its refresh."""
    urls = [url, url.replace("/change/", "/refresh/")] if url.endswith("/change/") else [url]
    return [client.get(one, query).status_code for one in urls] == [400] * len(urls)


@pytest.mark.parametrize("name", ["history_before", "attempts_before"])
def test_saga_page_continues_from_numbers_only(log_in: LogIn, name: str) -> None:
    saga, client = trips.make_completed(), log_in("viewer")

    assert [value for value in NO_NUMBERS if not refused(client, page_of(saga), {name: value})] == []
    assert refused(client, page_of(saga), {name: ["3", "4"]})
    for other in ({"tab": "nonsense"}, {"tab": "\x00"}, {"only": "x"}, {"tab": ["graph", "steps"]}):
        assert refused(client, page_of(saga), other)


def test_bulk_page_continues_within_its_set(log_in: LogIn) -> None:
    client = log_in("supervisor")
    found = freeze_rows(client, *(trips.start() for _ in range(3)))
    client.post(url_of(found, "start"), {"reason": REASON})
    run(found)

    page = url_of(found)
    assert [value for value in [*NO_NUMBERS, "4", "99999999999"] if not refused(client, page, {"after": value})] == []
    for other in ({"after": ["1", "2"]}, {"result": "nonsense"}, {"result": "\x00"}, {"result": ["done", "stale"]}):
        assert refused(client, page, other)
    assert [client.get(page, {"after": value}).status_code for value in ("", "1", "3")] == [200, 200, 200]
    assert client.post(f"{url_of(found, 'stop')}?after=x", {"reason": ""}).status_code == 302


@pytest.mark.parametrize(
    "query",
    [
        {"before": "yesterday"}, {"before": "9" * 18 + "-1"}, {"before": "\u0663-1"}, {"before": "1"},
        {"before": ["1-1", "2-1"]}, {"action": "explode"}, {"action": ["retry", "pause"]}, {"span": "99y"},
        {"span": ["1h", "any"]}, {"actor": ["ada", "bob"]},
    ],
)  # fmt: skip
def test_log_shows_nothing_for_invalid_cursors(log_in: LogIn, query: dict[str, Any]) -> None:
    saga, client = trips.make_paused(), log_in("viewer")

    answer = client.get(f"{LIST}log/", query)

    assert answer.status_code == 400
    assert str(saga.pk) not in text_of(answer)
    assert client.post(f"{LIST}log/?span=99y").status_code == 400


def test_unknown_window_shows_no_failures(log_in: LogIn) -> None:
    client = log_in("viewer")

    assert client.get(f"{LIST}failures/", {"span": "99y"}).status_code == 400
    assert client.get(f"{LIST}failures/", {"span": ["1h", "24h"]}).status_code == 400
    assert client.get(f"{LIST}failures/", {"span": "1h"}).status_code == 200


def test_unknown_database_shows_no_barriers(log_in: LogIn) -> None:
    answer = log_in("admin").get("/admin/sagas/sagabarrier/", {"database": "elsewhere"})

    assert (answer.status_code, "database must be one of" in text_of(answer)) == (400, True)


def test_operation_on_an_unknown_saga_redirects_to_the_list(log_in: LogIn) -> None:
    answer = log_in("admin").get(f"{LIST}{Saga().pk}/act/pause/")

    assert (answer.status_code, f'<a href="{LIST}"' in text_of(answer)) == (404, True)
