"""Previous and next saga, through the list that a saga's page was opened from."""

from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from sagas.admin.ui.page_selection import LIST_FILTERS, ORCHESTRATION_TABS
from sagas.models import Saga

from . import trips
from .pages import LIST, LogIn, page_of, read

pytestmark = pytest.mark.django_db

LISTS = {
    "newest": {},
    "filtered": {"display": "held"},
    "severest": {"needs": "any", "by": "severest"},
    "open": {"by": "severest"},
    "longest": {"by": "longest"},
    "slowest": {"by": "slowest"},
}


def find_beside(client: Client, saga: Saga, filters: str) -> tuple[str, str]:
    """Return the ids of the previous and the next saga; empty at either end."""
    context = client.get(page_of(saga, **{LIST_FILTERS: filters})).context
    for url in filter(None, (context["previous_url"], context["next_url"])):
        assert parse_qs(urlsplit(url).query) == ({LIST_FILTERS: [filters]} if filters else {})
    return read_id(context["previous_url"]), read_id(context["next_url"])


def read_id(url: str) -> str:
    return urlsplit(url).path.removeprefix(LIST).partition("/")[0]


@pytest.mark.parametrize("name", LISTS)
def test_links_follow_the_rows_of_the_list(log_in: LogIn, name: str) -> None:
    for maker in (*trips.MAKERS.values(), *trips.MAKERS.values()):
        maker()
    client, filters = log_in("viewer"), urlencode(LISTS[name])
    rows = list(client.get(LIST, LISTS[name]).context["cl"].result_list)
    assert len(rows) > 3

    found = [find_beside(client, saga, filters) for saga in rows]

    ids = [str(saga.pk) for saga in rows]
    assert found == list(zip(["", *ids], [*ids[1:], ""], strict=False))


def test_sagas_that_began_at_the_same_time_are_told_apart_by_id(log_in: LogIn) -> None:
    sagas = [trips.make_paused() for _ in range(3)]
    Saga.objects.update(created_at=sagas[0].created_at)
    client = log_in("viewer")

    for name in ("newest", "severest", "longest"):
        rows = list(client.get(LIST, LISTS[name]).context["cl"].result_list)
        assert find_beside(client, rows[1], urlencode(LISTS[name])) == (str(rows[0].pk), str(rows[2].pk))


def test_links_of_rows_tabs_and_steps_keep_the_list(log_in: LogIn) -> None:
    saga, client = trips.make_held_unknown(), log_in("viewer")
    trips.make_held_unknown()
    url = page_of(saga, **{LIST_FILTERS: "needs=any&by=severest"})
    assert f'href="{url}"' in read(client.get(LIST, {"needs": "any", "by": "severest"}))

    page = client.get(url).context["page"]

    assert len(page.tabs) == len(ORCHESTRATION_TABS)
    for link in (*(tab.url for tab in page.tabs), *(step.url for step in page.strip.steps)):
        assert parse_qs(urlsplit(link).query)[LIST_FILTERS] == ["needs=any&by=severest"]


@pytest.mark.parametrize(
    "filters",
    [
        "by=nonsense",
        "display=nonsense",
        "nonsense=1",
        "needs=any&needs=any",
        "%00",
        "q=ORD",
        "by=slowest",
        "\x00",
        "<a>",
        "&".join(["p=1"] * 1_001),
    ],
)
def test_page_without_a_known_list_has_no_links(log_in: LogIn, filters: str) -> None:
    saga = trips.make_paused()
    trips.make_paused()

    response = log_in("viewer").get(page_of(saga, **{LIST_FILTERS: filters}))

    assert (response.context["previous_url"], response.context["next_url"]) == ("", "")
    assert 'class="saga-neighbours"' not in read(response)


def test_page_and_position_of_the_list_do_not_matter(log_in: LogIn) -> None:
    older, newer = trips.make_paused(), trips.make_paused()

    found = find_beside(log_in("viewer"), older, "p=3&e=1&needs=any&before=nonsense")

    assert found == (str(newer.pk), "")


def test_saga_that_the_list_does_not_show_any_more_keeps_its_place(log_in: LogIn) -> None:
    older, closed, newer = trips.make_paused(), trips.make_completed(), trips.make_paused()

    assert find_beside(log_in("viewer"), closed, "needs=any") == (str(newer.pk), str(older.pk))


def test_links_cost_no_query(log_in: LogIn) -> None:
    saga, client = trips.make_held_unknown(), log_in("supervisor")

    for filters in ("", "nonsense=1", "needs=any&by=severest"):
        for tab in ORCHESTRATION_TABS:
            with CaptureQueriesContext(connection) as asked:
                client.get(page_of(saga, tab, **{LIST_FILTERS: filters}))
            # Savepoints are not counted: outside of a transaction a page has none.
            assert sum("SAVEPOINT" not in one["sql"] for one in asked) <= 10, tab
