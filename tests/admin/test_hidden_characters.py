"""Spoofing: hidden characters in outside text are shown escaped and cannot affect other text."""

import re
from html.parser import HTMLParser
from urllib.parse import quote

import pytest

from sagas.exceptions import BadRequest
from sagas.models import Saga, SagaBarrier, SagaWorker
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.operators.audit import access_log
from sagas.operators.bulk import freezing
from sagas.operators.notes import add_note
from sagas.operators.preconditions import Operation

from . import operating, trips
from .bulks import freeze_rows, run, url_of
from .crawling import crawl, read_html
from .pages import LIST, REASON, LogIn, action_of, page_of, stored, text_of

pytestmark = pytest.mark.django_db

HIDDEN = "\x1b\x07\x85\u200b\u200f\u202e\u2066\u2028\ufeff\u3164\U000e0041"
MARK = "MARKED"
TRICKY = f"{MARK}\u05d0\u202e\x1b]0;x\x07 a\u200bb\u2066c\u2028d\x85\u3164\U000e0041\ufeff\u200f"
# Where no element can be: titles, form fields, drawings.
BARE = {"title", "textarea", "option", "svg", "h1", "h2", "desc", "pre"}
EMPTY = {"meta", "link", "input", "br", "img", "hr", "rect", "use", "line", "path", "circle"}


class Outline(HTMLParser):
    """Positions of the marked texts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.path: list[str] = []
        self.apart: set[bool] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in EMPTY:
            self.path.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.path and self.path.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if MARK in data and not BARE & set(self.path):
            self.apart.add("bdi" in self.path)


@pytest.fixture
def saga(log_in: LogIn) -> Saga:
    """Return a saga with tricky text in every field that comes from outside."""
    error = trips.RetryLater(f"{TRICKY}\nsecond line", after=3000)
    found = trips.make_refused("book_flight", error, order=TRICKY, customer=f"{TRICKY}\n2")
    actor = Actor(name=TRICKY, is_trusted=True)
    operations.pause(found.pk, actor=actor, reason=f"{TRICKY} because")
    operations.resume(found.pk, actor=actor, reason=f"{TRICKY}\nbecause")
    for lines in ("note", "note\nof two lines"):
        add_note(found.pk, actor=actor, text=f"{TRICKY} {lines}")
    held = trips.make_held_unknown()
    operations.mark_succeeded(
        held.pk, actor=actor, reason=f"{TRICKY} because", step="pay", evidence=f"{TRICKY} seen", result={TRICKY: TRICKY}
    )
    turned = trips.make_waiting_for_retry()
    operations.cancel(turned.pk, actor=actor, reason=f"{TRICKY} because")
    client = log_in("admin")
    for operation in (Operation.RETRY, Operation.PAUSE):
        frozen = freeze_rows(client, found, turned, operation=operation)
    type(frozen).objects.update(words=f"search: {TRICKY}")
    client.post(url_of(frozen, "start"), {"reason": f"{TRICKY} because"})
    run(frozen)
    SagaWorker.objects.create(
        name=TRICKY, host=TRICKY, pid=1, queues=[TRICKY], version=TRICKY[:40], started_at=found.created_at,
        last_sweep_at=found.created_at, last_found=0,
    )  # fmt: skip
    SagaBarrier.objects.create(
        key=f"{found.pk}:{TRICKY}", direction="action", state="done", result={}, created_at=found.created_at,
        finished_at=found.created_at,
    )  # fmt: skip
    assert access_log.log_access(TRICKY, access_log.What.LIST, detail=TRICKY)
    return found


def find_hidden(text: str) -> set[str]:
    """Return the hidden characters of a page; form fields return what was typed."""
    return {letter for letter in HIDDEN if letter in re.sub(r"<input [^>]*>", "", text)}


def test_no_page_contains_hidden_characters(log_in: LogIn, saga: Saga) -> None:
    client = log_in("admin")
    pages = crawl(client, "/admin/sagas/")
    for other in Saga.objects.all():
        tabs = [page_of(other, tab) for tab in ("graph", "timeline", "steps", "history")]
        pages |= dict.fromkeys([*tabs, action_of(other, Operation.RETRY)], (200, set()))
    refused = [f"{LIST}?group={quote(TRICKY)}", f"{LIST}?q={quote(TRICKY)}", f"{LIST}{quote(TRICKY)}/change/"]
    texts = {url: read_html(client.get(url, follow=True)) for url in [*pages, *refused]}

    assert {url: found for url, text in texts.items() if (found := find_hidden(text))} == {}
    assert {url: apart for url, text in texts.items() if (apart := Outline(text).apart) - {True}} == {}
    whole = "".join(texts.values())
    assert (
        whole.count(f"{MARK}\u05d0\\u202e\\u001b]0;x\\u0007 a\\u200bb\\u2066c\\u2028d\\u0085\\u3164\\udb40\\udc41") > 40
    )
    assert sum(True in Outline(text).apart for text in texts.values()) > 20


def test_json_is_shown_with_escapes_and_downloaded_unchanged(log_in: LogIn, saga: Saga) -> None:
    held = next(found for found in Saga.objects.all() if found.steps.filter(name="pay", state="succeeded").exists())
    client = log_in("admin")
    page = text_of(client.get(page_of(held, "steps")))
    taken = client.get(f"{LIST}{held.pk}/payload/?of=result&step=pay").content.decode()

    assert f'"{MARK}\u05d0\\u202e\\u001b' in page
    assert f'"{MARK}\u05d0\u202e\\u001b' in taken


SEEN_BY_NOBODY = {
    "zero width": "\u200b" * 40,
    "blanks": "\u00a0\u2003" * 20,
    "controls": "\x1b\x07" * 20,
    "marks alone": "\u0301" * 40,
    "fillers": "\u3164\u2800" * 20,
    "one letter": "x" + "\u200b" * 40,
    "one letter with marks": "e" + "\u0301" * 40,
    "nine letters": "n i n e l e t t" + " e" + "\u202e" * 30,
}


@pytest.mark.parametrize("reason", SEEN_BY_NOBODY)
@pytest.mark.parametrize("operation", Operation)
def test_reason_must_have_visible_characters(log_in: LogIn, operation: Operation, reason: str) -> None:
    saga, step = operating.make(operation)
    before = stored(saga)
    body = operating.fill(saga, operation, step)

    answer = log_in("admin").post(action_of(saga, operation, step), {**body, "reason": SEEN_BY_NOBODY[reason]})

    wanted = "This field is required." if reason == "blanks" else "visible characters"
    assert (answer.status_code, wanted in text_of(answer)) == (400, True)
    assert stored(saga) == before


@pytest.mark.parametrize("words", SEEN_BY_NOBODY.values(), ids=SEEN_BY_NOBODY)
def test_reasons_are_checked_the_same_on_every_path(log_in: LogIn, words: str) -> None:
    saga, step = operating.make(Operation.MARK_SUCCEEDED)
    marked = {"actor": trips.BOSS, "step": step or ""}
    with pytest.raises(BadRequest, match="The reason needs at least 10 visible characters"):
        operations.mark_succeeded(saga.pk, reason=words, evidence=REASON, **marked)
    with pytest.raises(BadRequest, match="The evidence needs at least 10 visible characters"):
        operations.mark_succeeded(saga.pk, reason=REASON, evidence=words, **marked)
    frozen = freezing.freeze_selected(Operation.PAUSE, [saga.pk], actor=trips.BOSS)
    with pytest.raises(BadRequest, match="The reason needs at least 10 visible characters"):
        freezing.start_bulk(frozen.pk, actor=trips.BOSS, reason=words)


def test_optional_reason_without_visible_characters_is_dropped(log_in: LogIn) -> None:
    frozen = freezing.freeze_selected(Operation.PAUSE, [trips.start().pk], actor=trips.BOSS)
    freezing.start_bulk(frozen.pk, actor=trips.BOSS, reason=REASON)

    stopped, _ = freezing.stop_bulk(frozen.pk, actor=trips.BOSS, reason="\u200b\u202e")

    assert stopped.stop_reason == ""
