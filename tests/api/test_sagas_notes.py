"""Notes over HTTP, by the console's own functions."""

from typing import Any
from uuid import uuid4

import pytest

from sagas.operators.notes import MAX_NOTE_CHARS, add_note, read_notes
from tests.admin import trips
from tests.admin.pages import stored

from .conftest import Enter, assert_problem, list_pointers
from .operating import SAGAS, url_of

pytestmark = pytest.mark.django_db(databases="__all__")

TEXT = "The bank answers on Monday, ticket 4711."


def test_note_is_written_once_and_listed(enter: Enter) -> None:
    saga, operator = trips.make_completed(), enter("operator")
    url, body = f"{url_of(saga)}notes/", {"text": TEXT, "seen": 0}
    assert operator.get(url).json() == {"next": None, "results": []}

    first, second = operator.post(url, body), operator.post(url, body)

    assert (first.status_code, second.status_code) == (201, 200)
    note = first.json()
    assert second.json() == {**note, "is_repeat": True}
    assert (note["saga_id"], note["number"], note["actor"], note["text"], note["is_repeat"]) == (
        str(saga.pk), saga.history_count + 1, "operator", TEXT, False,
    )  # fmt: skip
    assert enter("viewer").get(url).json() == {"next": None, "results": [note]}


def test_notes_are_paged_newest_first(enter: Enter) -> None:
    saga, viewer = trips.start(), enter("viewer")
    for number in range(5):
        add_note(saga.pk, actor=trips.BOSS, text=f"note {number}")

    found, path = [], f"{url_of(saga)}notes/?page_size=2"
    while path:
        page = viewer.get(path).json()
        found.append([note["text"] for note in page["results"]])
        path = page["next"]

    assert found == [["note 4", "note 3"], ["note 2", "note 1"], ["note 0"]]


BODIES: dict[str, tuple[Any, set[str] | None]] = {
    "text missing": ({}, {"/text"}),
    "text empty": ({"text": ""}, {"/text"}),
    "text null": ({"text": None}, {"/text"}),
    "text number": ({"text": 17}, {"/text"}),
    "text long": ({"text": "x" * (MAX_NOTE_CHARS + 1)}, {"/text"}),
    "text with NUL": ({"text": "x\x00"}, {"/text"}),
    "text with half a pair": ({"text": "x\ud800"}, {"/text"}),
    "text hidden": ({"text": "\u200b"}, None),
    "seen text": ({"text": TEXT, "seen": "1"}, {"/seen"}),
    "seen negative": ({"text": TEXT, "seen": -1}, {"/seen"}),
    "seen beyond a column": ({"text": TEXT, "seen": 2**31}, {"/seen"}),
    "actor": ({"text": TEXT, "actor": "boss"}, {"/actor"}),
    "list": ([], {""}),
}


@pytest.mark.parametrize("case", BODIES)
def test_invalid_bodies_write_nothing(enter: Enter, case: str) -> None:
    saga, (body, pointers) = trips.start(), BODIES[case]
    before = stored(saga)

    problem = assert_problem(enter("admin").post(f"{url_of(saga)}notes/", body), 422, "invalid-input")

    assert (list_pointers(problem) if pointers else None) == pointers
    assert stored(saga) == before


def test_viewer_may_not_write(enter: Enter) -> None:
    saga = trips.start()

    problem = assert_problem(enter("viewer").post(f"{url_of(saga)}notes/", {"text": TEXT}), 403, "permission-denied")

    assert "sagas.note_saga" in problem["detail"]
    assert read_notes(saga.pk, newest=1) == []


def test_wrong_addresses_and_parameters(enter: Enter) -> None:
    saga, admin = trips.start(), enter("admin")
    url = f"{url_of(saga)}notes/"

    assert_problem(admin.get(f"{SAGAS}{uuid4()}/notes/"), 404, "not-found")
    assert_problem(admin.post(f"{SAGAS}{uuid4()}/notes/", {"text": TEXT}), 404, "not-found")
    for query in ("before=0", "before=x", "page_size=101", "after=1", "before=1&before=2"):
        assert_problem(admin.get(f"{url}?{query}"), 400, "bad-request")
    assert_problem(admin.post(f"{url}?before=1", {"text": TEXT}), 400, "bad-request")
    assert read_notes(saga.pk, newest=1) == []
