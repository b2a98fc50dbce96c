"""Notes on a saga's page: who wrote them, when and what, and the form for another one."""

import re
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from sagas.models import Saga, SagaHistory
from sagas.operators.notes import MAX_NOTE_CHARS, add_note, read_notes

from . import trips
from .pages import HOSTILE, LIST, LogIn, page_of, read, stored, text_of

pytestmark = pytest.mark.django_db

TEXT = "The bank answers on Monday, ticket 4711."


def note_of(saga: Saga) -> str:
    return f"{LIST}{saga.pk}/notes/"


def take_form(client: Client, saga: Saga) -> dict[str, str]:
    """Return the hidden fields of the form, as rendered now."""
    page = read(client.get(page_of(saga)))
    [form] = re.findall(rf'<form method="post" action="{note_of(saga)}".*?</form>', page, re.S)
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))


@pytest.mark.parametrize("maker", ["waiting_for_retry", "held_unknown", "completed"])
def test_note_is_stored_and_shown_once(log_in: LogIn, maker: str) -> None:
    saga, client = trips.MAKERS[maker](), log_in("operator")
    form = take_form(client, saga)

    answers = [client.post(note_of(saga), {**form, "text": TEXT}, follow=True) for _ in range(2)]

    assert [answer.redirect_chain for answer in answers] == [[(page_of(saga), 302)]] * 2
    assert f"The note is stored as history entry {saga.history_count + 1}." in read(answers[0])
    assert f"stored before, and only once: see history entry {saga.history_count + 1}." in read(answers[1])
    [note] = read_notes(saga.pk, newest=5)
    assert (note.actor, note.text, note.number) == ("operator", TEXT, saga.history_count + 1)
    for tab in ("graph", "timeline", "steps", "history"):
        assert f'<dd class="saga-text">{TEXT}</dd>' in read(client.get(page_of(saga, tab)))
    assert TEXT in read(client.get(f"{LIST}log/?action=note"))
    assert TEXT not in read(client.get(f"{LIST}log/?action=pause"))


def test_form_needs_a_csrf_token(log_in: LogIn) -> None:
    saga, client = trips.start(), log_in("operator", enforce_csrf_checks=True)
    form, before = take_form(client, saga), stored(saga)

    assert client.post(note_of(saga), {"seen": form["seen"], "text": TEXT}).status_code == 403
    assert stored(saga) == before
    assert client.post(note_of(saga), {**form, "text": TEXT}).status_code == 302


def test_viewer_reads_notes_without_a_form(log_in: LogIn) -> None:
    saga = trips.make_completed()
    add_note(saga.pk, actor=trips.BOSS, text=TEXT)

    page = read(log_in("viewer").get(page_of(saga)))

    assert (TEXT in page, "boss" in page, "Write a note" in page) == (True, True, False)


def test_refused_viewer_is_told_the_permission(log_in: LogIn) -> None:
    saga = trips.start()

    answer = log_in("viewer").post(note_of(saga), {"seen": "1", "text": TEXT})

    assert (answer.status_code, read_notes(saga.pk, newest=1)) == (403, [])
    assert "viewer lacks the permission sagas.note_saga." in text_of(answer)


FORMS: dict[str, tuple[dict[str, str], str]] = {
    "empty": ({"text": ""}, "This field is required."),
    "hidden": ({"text": "\u200b\u3164"}, "Note needs at least 1 visible character, not counting blanks; it has 0."),
    "long": ({"text": "x" * (MAX_NOTE_CHARS + 1)}, "at most 2000 characters (it has 2001)."),
    "NUL": ({"text": "x\x00"}, "Null characters are not allowed."),
    "missing number": ({"seen": ""}, "This field is required."),
    "text as number": ({"seen": "x"}, "Enter a whole number."),
    "number beyond a column": ({"seen": "2147483648"}, "less than or equal to 2147483647."),
}


@pytest.mark.parametrize("case", FORMS)
def test_invalid_form_is_shown_again_with_its_text(log_in: LogIn, case: str) -> None:
    saga, (changes, refusal) = trips.start(), FORMS[case]
    before = stored(saga)

    answer = log_in("operator").post(note_of(saga), {"seen": "1", "text": TEXT, **changes})

    page = text_of(answer)
    assert (answer.status_code, refusal in page, "errornote" in page) == (400, True, True)
    assert changes.get("text", TEXT).replace("\x00", "") in page.replace("\x00", "")
    assert stored(saga) == before


def test_longest_note_with_line_ends_of_a_browser_is_stored(log_in: LogIn) -> None:
    saga, text = trips.start(), "\u2603\n" * 999 + "xx"

    answer = log_in("operator").post(note_of(saga), {"seen": "1", "text": text.replace("\n", "\r\n")})

    assert (answer.status_code, read_notes(saga.pk, newest=1)[0].text) == (302, text)


@pytest.mark.parametrize("method", ["get", "head", "put", "delete"])
def test_only_post_writes(log_in: LogIn, method: str) -> None:
    saga = trips.start()

    assert getattr(log_in("admin"), method)(f"{note_of(saga)}?seen=1&text={TEXT}").status_code == 405

    assert read_notes(saga.pk, newest=1) == []


def test_unknown_saga_is_404(log_in: LogIn) -> None:
    answer = log_in("admin").post(f"{LIST}{uuid4()}/notes/", {"seen": "1", "text": TEXT})

    assert (answer.status_code, SagaHistory.objects.count()) == (404, 0)


def test_hostile_note_is_text(log_in: LogIn) -> None:
    saga, client = trips.start(), log_in("operator")
    client.post(note_of(saga), {"seen": "1", "text": HOSTILE})

    for url in (page_of(saga), page_of(saga, "history"), f"{LIST}log/"):
        raw = client.get(url).content.decode()
        assert ("&lt;script&gt;alert(1)&lt;/script&gt;{{ 7|add:7 }}" in raw, "<script>alert" in raw) == (True, False)


def test_page_shows_the_newest_notes_in_no_more_queries(log_in: LogIn, django_assert_max_num_queries: Any) -> None:
    saga, client = trips.make_completed(), log_in("viewer")
    for number in range(7):
        add_note(saga.pk, actor=trips.BOSS, text=f"note {number}")

    with django_assert_max_num_queries(10):
        page = read(client.get(page_of(saga)))

    assert re.findall(r'<dd class="saga-text">(note \d)</dd>', page) == [f"note {number}" for number in (6, 5, 4, 3, 2)]
    assert f'<a href="{page_of(saga, "history")}">Older notes are in the history</a>' in page


def test_open_page_learns_of_a_note(log_in: LogIn) -> None:
    saga, client = trips.make_completed(), log_in("viewer")
    url = f"{LIST}{saga.pk}/refresh/"
    etag = client.get(url)["ETag"]
    assert client.get(url, headers={"If-None-Match": etag}).status_code == 304

    add_note(saga.pk, actor=trips.BOSS, text=TEXT)

    assert TEXT in client.get(url, headers={"If-None-Match": etag}).json()["parts"]["[data-part=facts]"]
