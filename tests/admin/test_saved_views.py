"""Saved views in the console: saved from the list, shown beside it, changed and deleted."""

import re
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sagas.admin.ui.saved_views import VIEWS as BUILT_IN
from sagas.models import SagaView

from . import trips
from .pages import HOSTILE, LIST, LogIn, ids, listed, read, text_of

pytestmark = pytest.mark.django_db

VIEWS = f"{LIST}views/"
NEW = f"{VIEWS}new/"


def views_of(response: Any) -> dict[str, Any]:
    """Return the saved views beside the list, by name."""
    return {view.label: view for view in response.context["saga_views"][len(BUILT_IN) :]}


def test_view_is_saved_from_the_list_and_leads_back(log_in: LogIn) -> None:
    held, client = trips.make_held_unknown(), log_in("viewer")
    trips.make_completed()
    assert NEW not in read(client.get(LIST))
    page = read(client.get(f"{LIST}?display=held&q="))
    assert f'href="{NEW}?display=held"' in page

    form = client.get(f"{NEW}?display=held&by=longest&p=3")
    saved = client.post(f"{NEW}?display=held&by=longest&p=3", {"name": "Held <now>"})

    assert "state: held" in read(form)
    assert (saved.status_code, saved["Location"]) == (302, f"{LIST}?display=held")
    found = client.get(saved["Location"])
    assert listed(found) == ids(held)
    view = views_of(found)["Held <now>"]
    assert (view.url, view.is_current, view.is_shared, view.problem) == (f"{LIST}?display=held", True, False, "")
    assert [one.is_current for one in found.context["saga_views"]].count(True) == 1
    assert "Held &lt;now&gt;" in found.content.decode()
    assert views_of(client.get(LIST))["Held <now>"].is_current is False
    assert views_of(log_in("operator").get(LIST)) == {}


def test_menu_says_that_the_saved_views_are_open(log_in: LogIn) -> None:
    page = log_in("viewer").get(f"{LIST}views/").content.decode()

    assert re.findall(r'<a href="([^"]+)" aria-current="page">', page) == [f"{LIST}views/"]


def test_sent_twice_it_is_saved_once(log_in: LogIn) -> None:
    client = log_in("viewer")

    answers = [client.post(f"{NEW}?closed=no", {"name": "Open"}).status_code for _ in range(2)]

    assert (answers, SagaView.objects.count()) == ([302, 302], 1)


def test_shared_view_is_seen_and_changed_by_those_who_may(log_in: LogIn) -> None:
    boss, viewer = log_in("supervisor"), log_in("viewer")
    boss.post(f"{NEW}?q=ORD-1", {"name": "Night", "is_shared": "on"})
    row = SagaView.objects.get()

    seen = viewer.get(LIST)
    assert views_of(seen)["Night"].url == f"{LIST}?q=ORD-1"
    assert "Night (shared)" in read(seen)
    assert ("Rename or share" in read(viewer.get(VIEWS)), "Rename or share" in read(boss.get(VIEWS))) == (False, True)
    assert viewer.get(f"{VIEWS}{row.pk}/").status_code == 403
    assert 'value="Night"' in read(boss.get(f"{VIEWS}{row.pk}/"))

    assert boss.post(f"{VIEWS}{row.pk}/", {"name": "Day"})["Location"] == VIEWS
    assert list(SagaView.objects.values_list("name", "is_shared")) == [("Day", False)]
    assert views_of(viewer.get(LIST)) == {}
    assert viewer.post(f"{VIEWS}{row.pk}/delete/", {"name": "Day"}).status_code == 404
    renamed = boss.post(f"{VIEWS}{row.pk}/delete/", {"name": "Night"})
    assert (renamed.status_code, "is named 'Day' now" in text_of(renamed)) == (400, True)
    assert boss.post(f"{VIEWS}{row.pk}/delete/", {"name": "Day"})["Location"] == VIEWS
    assert "The view Day is deleted." in read(boss.get(VIEWS))
    assert SagaView.objects.count() == 0


def test_viewer_has_no_box_to_share(log_in: LogIn) -> None:
    assert "is_shared" not in read(log_in("viewer").get(f"{NEW}?closed=no"))
    assert "is_shared" in read(log_in("supervisor").get(f"{NEW}?closed=no"))


@pytest.mark.parametrize(
    ("query", "refusal"),
    [
        ("", "no filter that could be saved"),
        ("?by=slowest", "no filter that could be saved"),
        ("?mood=bad", "The list has no filter 'mood'."),
        ("?closed=no&closed=today", "closed comes 2 times; give it once."),
        ("?closed=soon", "closed must be one of"),
        ("?closed=", "closed must be one of"),
        ("?q=4242424242424242", "looks like a secret"),
        ("?q=%00", "search must be"),
    ],
)
def test_filters_that_cannot_be_saved(log_in: LogIn, query: str, refusal: str) -> None:
    client = log_in("admin")

    for answer in (client.get(NEW + query), client.post(NEW + query, {"name": "Mine"})):
        assert (answer.status_code, refusal in text_of(answer)) == (400, True), text_of(answer)

    assert SagaView.objects.count() == 0


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("", "This field is required."),
        ("\u200b", "at least 1 visible character"),
        ("Night\u202e", "invisible characters"),
        ("x" * 61, "at most 60 characters"),
        ("x\x00", "Null characters are not allowed."),
        ("Taken", "A view named 'Taken' exists already"),
    ],
)
def test_invalid_names_are_asked_again(log_in: LogIn, name: str, refusal: str) -> None:
    client = log_in("viewer")
    client.post(f"{NEW}?closed=no", {"name": "Taken"})

    answer = client.post(f"{NEW}?closed=today", {"name": name})

    assert (answer.status_code, refusal in text_of(answer)) == (400, True)
    assert SagaView.objects.count() == 1


def test_forged_choice_to_share_is_refused(log_in: LogIn) -> None:
    answer = log_in("viewer").post(f"{NEW}?closed=no", {"name": "Mine", "is_shared": "on"})

    assert (answer.status_code, "lacks the permission sagas.share_view" in text_of(answer)) == (403, True)
    assert SagaView.objects.count() == 0


def test_hostile_name_is_text_everywhere(log_in: LogIn) -> None:
    client = log_in("supervisor")
    client.post(f"{NEW}?closed=no", {"name": HOSTILE, "is_shared": "on"})

    for url in (LIST, VIEWS, f"{LIST}?closed=never", f"{VIEWS}{SagaView.objects.get().pk}/"):
        raw = client.get(url).content.decode()
        assert (HOSTILE in unescape(raw), "<script>alert" in raw) == (True, False), url


def test_invalid_view_says_so_and_leads_nowhere(log_in: LogIn) -> None:
    trips.make_completed()
    client = log_in("viewer")
    client.post(f"{NEW}?closed=no", {"name": "Old"})
    SagaView.objects.update(query="display=stuck")

    found = client.get(LIST)
    view = views_of(found)["Old"]
    assert (view.url, view.is_current, view.problem.startswith("display must be one of")) == ("", False, True)
    assert "display must be one of" in read(found)
    assert "Not valid any more: display must be one of" in read(client.get(VIEWS))


def test_list_asks_once_for_all_views(log_in: LogIn) -> None:
    client = log_in("viewer")
    for number in range(5):
        client.post(f"{NEW}?attempts={number + 2}", {"name": f"view {number}"})

    with CaptureQueriesContext(connection) as asked:
        read(client.get(LIST))

    assert sum("sagas_sagaview" in query["sql"] for query in asked.captured_queries) == 1


@pytest.mark.parametrize("number", [0, 999, 2**63, 10**30])
def test_unknown_views_are_404(log_in: LogIn, number: int) -> None:
    client = log_in("admin")

    assert client.get(f"{VIEWS}{number}/").status_code == 404
    assert client.post(f"{VIEWS}{number}/", {"name": "x"}).status_code == 404
    assert client.post(f"{VIEWS}{number}/delete/").status_code == 404


def test_nothing_is_deleted_or_saved_without_post_and_token(log_in: LogIn) -> None:
    client = log_in("admin")
    client.post(f"{NEW}?closed=no", {"name": "Open"})
    row, strict = SagaView.objects.get(), log_in("admin", enforce_csrf_checks=True)

    assert client.get(f"{VIEWS}{row.pk}/delete/").status_code == 405
    assert client.put(NEW).status_code == 405
    assert client.post(VIEWS).status_code == 405
    assert strict.post(f"{VIEWS}{row.pk}/delete/", {"name": "Open"}).status_code == 403
    assert strict.post(f"{NEW}?closed=no", {"name": "x"}).status_code == 403
    assert list(SagaView.objects.values_list("name", flat=True)) == ["Open"]
