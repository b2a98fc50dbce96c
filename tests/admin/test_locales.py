"""Locales: machine-readable values are never formatted for one."""

import re
from uuid import uuid4

import pytest
from django.test import Client, override_settings

from sagas.models import Saga, SagaAttempt, SagaBulk, SagaBulkItem, SagaHistory, SagaStep, SagaWorker
from sagas.operators.actor import Actor
from sagas.operators.bulk import freezing
from sagas.operators.preconditions import Operation

from . import operating, trips
from .bulks import url_of
from .crawling import Reader, crawl, read_html
from .pages import EVIDENCE, LIST, REASON, LogIn, action_of, operations_of, page_of, text_of

pytestmark = pytest.mark.django_db

REVISION, ENTRIES, ATTEMPTS, PK, SAGAS, PID = 2345, 1404, 1234, 7654321, 1200, 98765
LARGE = (REVISION, ENTRIES, ATTEMPTS, PK + 30, SAGAS, PID)
LOCALES = {
    "de": {"LANGUAGE_CODE": "de", "USE_THOUSAND_SEPARATOR": True},
    "de without marks": {"LANGUAGE_CODE": "de"},
    "en": {"LANGUAGE_CODE": "en", "USE_THOUSAND_SEPARATOR": True},
    "fr": {"LANGUAGE_CODE": "fr", "USE_THOUSAND_SEPARATOR": True},
    "fr-CH": {"LANGUAGE_CODE": "fr-ch", "USE_THOUSAND_SEPARATOR": True},
    "hi": {"LANGUAGE_CODE": "hi", "USE_THOUSAND_SEPARATOR": True, "NUMBER_GROUPING": (3, 2, 0)},
    "ar": {"LANGUAGE_CODE": "ar", "USE_THOUSAND_SEPARATOR": True},
    "none": {
        "LANGUAGE_CODE": "de", "USE_I18N": False, "USE_THOUSAND_SEPARATOR": True, "THOUSAND_SEPARATOR": "\u00a0",
        "DECIMAL_SEPARATOR": ",", "NUMBER_GROUPING": 3,
    },
}  # fmt: skip


def lengthen_history(saga: Saga) -> Saga:
    """Give a saga a long history, as an hour of polling does."""
    found = Saga.objects.get(pk=saga.pk)
    SagaHistory.objects.bulk_create(
        SagaHistory(saga=found, number=number, at=found.updated_at, what="step_waiting", step="book_hotel")
        for number in range(found.history_count + 1, ENTRIES + 1)
    )
    Saga.objects.filter(pk=saga.pk).update(revision=REVISION, history_count=ENTRIES)
    return Saga.objects.get(pk=saga.pk)


def make_long_saga() -> Saga:
    saga = lengthen_history(trips.make_waiting_for_retry())
    step = SagaStep.objects.get(saga=saga, name="book_hotel")
    SagaAttempt.objects.bulk_create(
        SagaAttempt(
            pk=PK + place, saga=saga, step=step, direction="action", number=ATTEMPTS + place, lease_token=uuid4(),
            worker="host:1", started_at=saga.created_at, deadline_at=saga.created_at, ended_at=saga.created_at,
            outcome="in_progress", effect="none", error_class="InProgress", message="Still looking.",
        )
        for place in range(60)
    )  # fmt: skip
    SagaStep.objects.filter(pk=step.pk).update(action_attempts=ATTEMPTS + 59)
    return saga


def make_large_bulk(saga: Saga, *, is_running: bool) -> SagaBulk:
    boss = Actor(name="admin", is_trusted=True)
    frozen = freezing.freeze_selected(Operation.PAUSE, [saga.pk], actor=boss)
    SagaBulkItem.objects.bulk_create(
        SagaBulkItem(bulk=frozen, position=position, saga_id=uuid4(), revision=1) for position in range(2, SAGAS + 1)
    )
    SagaBulk.objects.filter(pk=frozen.pk).update(total=SAGAS)
    if is_running:
        freezing.start_bulk(frozen.pk, actor=boss, reason=REASON, count=SAGAS)
        SagaBulkItem.objects.filter(bulk=frozen, position__gt=5).update(result="gone", ended_at=frozen.frozen_at)
    return freezing.find_bulk(frozen.pk)


def find_grouped(text: str) -> set[str]:
    """Return the large numbers of these tests that are printed with separators."""
    patterns = ["[^0-9a-f]".join(f"{number:,}".split(",")) for number in LARGE]
    without_ids = re.sub(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "", text)
    return set(re.findall(rf"(?<!\d)(?:{'|'.join(patterns)})(?!\d)", without_ids))


@pytest.fixture
def saga() -> Saga:
    """Return a saga with more than a thousand of everything."""
    found = make_long_saga()
    make_large_bulk(found, is_running=True)
    make_large_bulk(found, is_running=False)
    SagaWorker.objects.create(
        name="host:1", host="host", pid=PID, queues=["sagas"], version="1", started_at=found.created_at,
        last_sweep_at=found.created_at, last_found=SAGAS,
    )  # fmt: skip
    return found


def find_missing(text: str) -> list[int]:
    return [number for number in LARGE if not re.search(rf"\b{number}\b", text)]


def test_no_page_groups_digits(log_in: LogIn, saga: Saga) -> None:
    client = log_in("admin")
    with override_settings(**LOCALES["de"]):
        found = crawl(client, "/admin/sagas/")
        texts = {url: read_html(client.get(url)) for url in found}

    assert {url: status for url, (status, _) in found.items() if status not in (200, 302)} == {}
    assert {url: marks for url, text in texts.items() if (marks := find_grouped(text))} == {}
    assert find_missing("".join(texts.values())) == [PID]


@pytest.mark.parametrize("locale", LOCALES)
def test_numbers_for_machines_are_plain_in_every_locale(log_in: LogIn, saga: Saga, locale: str) -> None:
    client = log_in("admin")
    frozen, running = SagaBulk.objects.order_by("state")
    tabs = [page_of(saga, tab) for tab in ("timeline", "history", "steps")]
    worker = f"/admin/sagas/sagaworker/{SagaWorker.objects.get().pk}/change/"
    urls = [*tabs, action_of(saga, Operation.PAUSE), url_of(frozen), url_of(running), "/admin/sagas/sagabulk/", worker]
    with override_settings(**LOCALES[locale]):
        texts = [text_of(client.get(url)) for url in urls]

    whole = "".join(texts)
    assert find_grouped(whole) == set()
    assert find_missing(whole) == []
    assert f'id="attempt-{PK + 30}"' in whole
    assert f'<progress id="bar" max="{SAGAS}" value="{SAGAS - 5}">' in whole
    assert f'<input type="hidden" name="seen" value="{ENTRIES}">' in whole


def fill_in(client: Client, url: str, **typed: str) -> dict[str, str]:
    """Return what a browser would post from the form of a page."""
    page = Reader(text_of(client.get(url)))
    hidden = {found["name"]: found["value"] for tag, found in page.elements if found.get("type") == "hidden"}
    return {**hidden, **typed}


@pytest.mark.parametrize("operation", Operation)
def test_every_operation_works_from_its_page(log_in: LogIn, operation: Operation) -> None:
    found, step = operating.make(operation)
    saga, client = lengthen_history(found), log_in("admin")
    url = action_of(saga, operation, step)
    with override_settings(**LOCALES["de"]):
        body = fill_in(client, url, reason=REASON, evidence=EVIDENCE)
        answer = client.post(url, body)

    assert (body["revision"], body["seen"]) == (str(REVISION), str(ENTRIES))
    assert (answer.status_code, answer["Location"]) == (302, page_of(saga))
    assert operations_of(saga)[-1] == (operation.value, "admin", REASON)


@pytest.mark.parametrize("typed", ["1200", "1.200", "1,200", "1 200", "1\u00a0200", "1\u202f200", "1\u2019200"])
def test_typed_count_may_have_separators(log_in: LogIn, typed: str) -> None:
    client, found = log_in("admin"), make_large_bulk(trips.start(), is_running=False)
    SagaBulk.objects.update(account=str(client.session["_auth_user_id"]), is_trusted=False)
    with override_settings(**LOCALES["de"]):
        page = text_of(client.get(url_of(found)))
        answer = client.post(url_of(found, "start"), {"reason": REASON, "count": typed})

    assert "Type 1200 to go on." in page
    assert (answer.status_code, freezing.find_bulk(found.pk).state) == (302, "running")


@pytest.mark.parametrize("typed", ["1.2", "12.00", "1.200,0", "1..200", "1.20", "120", "1.200.000", "", "1,2.00"])
def test_wrong_count_starts_nothing(log_in: LogIn, typed: str) -> None:
    client, found = log_in("admin"), make_large_bulk(trips.start(), is_running=False)
    SagaBulk.objects.update(account=str(client.session["_auth_user_id"]), is_trusted=False)
    with override_settings(**LOCALES["de"]):
        answer = client.post(url_of(found, "start"), {"reason": REASON, "count": typed})

    assert (answer.status_code, freezing.find_bulk(found.pk).state) == (400, "frozen")


def test_english_text_is_left_to_right_in_right_to_left_languages(log_in: LogIn, saga: Saga) -> None:
    with override_settings(LANGUAGE_CODE="ar"):
        text = text_of(log_in("admin").get(page_of(saga)))

    assert 'dir="rtl"' in text
    assert '<div id="content-main" class="saga-page" lang="en" dir="ltr">' in text


def test_downloads_and_refreshes_are_the_same_in_every_locale(log_in: LogIn, saga: Saga) -> None:
    client = log_in("admin")
    urls = [f"{LIST}export/csv/?q={saga.pk}", f"{LIST}export/ndjson/", f"{LIST}{saga.pk}/bundle/"]
    plain = [client.get(url).getvalue() for url in urls]
    with override_settings(**LOCALES["de"]):
        german = [client.get(url).getvalue() for url in urls]

    assert german == plain
    assert f'"revision": {REVISION},' in german[2].decode()
