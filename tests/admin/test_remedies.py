"""Remedies in the console: buttons of the saga page, the answer with the operation that follows, repairs."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django.urls import resolve

from sagas import RemedyAnswer, StepContext, remedy
from sagas.core.definition import registry
from sagas.models import Saga, SagaStep
from sagas.operators.audit.operator_log import REMEDY
from sagas.testing import drain

from . import trips
from .pages import HOSTILE, LIST, REASON, LogIn, form_of, operations_of, page_of, read, stored, text_of

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)

ASK, MEND = "ask_bank", "mend_airline"
ANSWER = RemedyAnswer(
    text="The bank has the money.",
    facts={"Amount": "7.90 EUR"},
    suggests=["mark_succeeded", "retry"],
    result={"made": "pay"},
)


class Bank:
    """Bank and airline, with what they answer and how often they were called."""

    def __init__(self) -> None:
        self.answer: RemedyAnswer | Exception = ANSWER
        self.calls: list[str] = []

    def call(self, step: StepContext[Any]) -> RemedyAnswer:
        """Return the answer, or raise it."""
        self.calls.append(step.key)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def bank() -> Iterator[Bank]:
    """Register a look-up for the payment and a repair for the flight."""
    bank = Bank()
    with registry.preserved():
        remedy(ASK, definition="trip", steps=["pay"], label="Ask the bank")(bank.call)
        remedy(MEND, definition="trip", steps=["book_flight"], label="Mend", changes="Opens the airline.")(bank.call)
        yield bank


def url_of(saga: Saga, step: str, name: str) -> str:
    return f"{LIST}{saga.pk}/remedies/{step}/{name}/"


def test_answer_of_a_look_up_is_the_page_of_the_operation_that_follows(log_in: LogIn, bank: Bank) -> None:
    client, saga = log_in("supervisor"), trips.make_held_unknown()
    url = url_of(saga, "pay", ASK)
    page = read(client.get(page_of(saga)))
    assert f'form="saga-remedy" formaction="{url}">Ask the bank: pay</button>' in page.replace("\u2068", "").replace(
        "\u2069", ""
    )
    assert '<form method="post" id="saga-remedy">' in page

    response = client.post(url)

    answered, act = read(response), f"{LIST}{saga.pk}/act/mark-succeeded/?step=pay"
    assert "The bank has the money." in answered
    assert "7.90 EUR" in answered
    assert f'<form method="post" action="{act}"' in answered
    assert response.context["form"]["evidence"].value() == ANSWER.text
    assert response.context["form"]["result"].value() == '{"made": "pay"}'
    done = client.post(act, form_of(saga, step="pay", evidence=ANSWER.text, result='{"made": "pay"}'))
    assert done["Location"] == page_of(saga)
    assert [(what, who) for what, who, _ in operations_of(saga)] == [
        (REMEDY, "supervisor"), ("mark_succeeded", "supervisor"),
    ]  # fmt: skip
    assert drain(saga).state == "completed"


def test_operator_is_led_to_what_operators_may_do(log_in: LogIn, bank: Bank) -> None:
    client, saga = log_in("operator"), trips.make_held_unknown()
    answered = read(client.post(url_of(saga, "pay", ASK)))
    assert f'action="{LIST}{saga.pk}/act/retry/?step=pay"' in answered


def test_answer_without_an_operation_says_why(log_in: LogIn, bank: Bank) -> None:
    client, saga = log_in("operator"), trips.make_held_unknown()
    bank.answer = RemedyAnswer(text=HOSTILE, suggests=["mark_refused"])
    response = client.post(url_of(saga, "pay", ASK))
    assert HOSTILE not in response.content.decode()
    answered = read(response).replace("\u2068", "").replace("\u2069", "")
    assert "Mark refused is not possible: operator lacks the permission sagas.override_saga." in answered
    assert "Back to the saga" in answered


def test_repair_stands_first_and_alone_is_recommended(log_in: LogIn, bank: Bank) -> None:
    remedy("ask_airline", definition="trip", steps=["book_flight"], label="Ask the airline")(bank.call)
    saga = trips.make_compensation_failing()

    page = read(log_in("operator").get(page_of(saga))).replace("\u2068", "").replace("\u2069", "")

    labels = re.findall(r'class="saga-button( saga-button-main)?"[^>]*>(Mend|Ask the airline): book_flight<', page)
    assert labels == [(" saga-button-main", "Mend"), ("", "Ask the airline")]


def test_look_up_asks_only_by_post(log_in: LogIn, bank: Bank) -> None:
    client, saga = log_in("operator"), trips.make_held_unknown()
    before = stored(saga)
    page = read(client.get(url_of(saga, "pay", ASK)))
    assert "Asks the participant and changes nothing." in page
    assert client.put(url_of(saga, "pay", ASK)).status_code == 405
    assert (bank.calls, stored(saga)) == ([], before)


def test_repair_asks_for_a_reason_and_retries(log_in: LogIn, bank: Bank) -> None:
    bank.answer = RemedyAnswer(text="The airline is open.", suggests=["retry"])
    client, saga = log_in("operator"), trips.make_compensation_failing()
    url = url_of(saga, "book_flight", MEND)
    assert f'href="{url}"' in read(client.get(page_of(saga)))
    page = read(client.get(url))
    assert "Opens the airline." in page
    assert page.count(" autofocus ") == 1
    assert 'name="retries" id="id_retries" checked' in page

    refused = client.post(url, form_of(saga, reason="soon", retries="on"))
    assert (refused.status_code, bank.calls) == (400, [])
    done = client.post(url, form_of(saga, retries="on"), follow=True)

    assert "Done: The airline is open. book_flight is due now, with a fresh budget. The state below" in read(done)
    assert [what for what, _, _ in operations_of(saga)] == [REMEDY, REMEDY, "retry"]
    assert {reason for _, _, reason in operations_of(saga)} == {REASON}
    assert drain(saga).state == "compensated"


def test_repair_without_the_tick_retries_nothing(log_in: LogIn, bank: Bank) -> None:
    bank.answer = RemedyAnswer(text="The airline is open.", suggests=["retry"])
    client, saga = log_in("operator"), trips.make_compensation_failing()
    client.post(url_of(saga, "book_flight", MEND), form_of(saga))
    assert [what for what, _, _ in operations_of(saga)] == [REMEDY, REMEDY]


def test_stale_page_repairs_nothing(log_in: LogIn, bank: Bank) -> None:
    client, saga = log_in("operator"), trips.make_compensation_failing()
    response = client.post(url_of(saga, "book_flight", MEND), form_of(saga, revision=1))
    assert response.status_code == 409
    assert "but the decision was based on 1" in text_of(response)
    assert (bank.calls, operations_of(saga)) == ([], [])


def test_failure_is_shown_and_can_be_repeated(log_in: LogIn, bank: Bank) -> None:
    client, saga = log_in("operator"), trips.make_compensation_failing()
    url = url_of(saga, "book_flight", MEND)
    bank.answer = RuntimeError("The line is dead, password=hunter2.")
    failed = client.post(url, form_of(saga, retries="on"))
    assert failed.status_code == 502
    assert "RuntimeError: The line is dead" in text_of(failed)
    assert "hunter2" not in text_of(failed)
    assert REASON in text_of(failed)

    bank.answer = RemedyAnswer(text="The airline is open.")
    again = client.post(url, {"reason": REASON, "revision": failed.context["revision"]})
    assert again.status_code == 302
    assert SagaStep.objects.get(saga=saga, name="book_flight").attention == "compensation_failing"


@pytest.mark.parametrize(
    ("name", "status"), [("anonymous", 302), ("staff", 403), ("viewer", 403), ("operator", 200), ("supervisor", 200)]
)
def test_remedies_need_their_permission(log_in: LogIn, bank: Bank, name: str, status: int) -> None:
    client, saga = log_in(name), trips.make_held_unknown()
    before, url = stored(saga), url_of(saga, "pay", ASK)
    assert client.get(url).status_code == status
    assert client.post(url).status_code == status
    if status != 200:
        assert (bank.calls, stored(saga)) == ([], before)
        assert "Ask the bank" not in text_of(client.get(page_of(saga)))


def test_csrf_token_is_required(log_in: LogIn, bank: Bank) -> None:
    client, saga = log_in("supervisor", enforce_csrf_checks=True), trips.make_held_unknown()
    assert client.post(url_of(saga, "pay", ASK)).status_code == 403
    assert bank.calls == []


def test_what_is_not_offered_is_refused(log_in: LogIn, bank: Bank) -> None:
    client, saga = log_in("operator"), trips.make_held_unknown()
    assert client.post(url_of(saga, "pay", "no_such")).status_code == 400
    assert client.post(url_of(saga, "book_flight", MEND)).status_code == 409
    saga.pk = trips.make_completed().pk
    assert client.get(url_of(saga, "pay", ASK)).status_code == 409
    assert "Remedies" not in read(client.get(page_of(saga)))
    assert client.post(f"{LIST}00000000-0000-7000-8000-000000000000/remedies/pay/{ASK}/").status_code == 404
    assert bank.calls == []


def test_operator_log_shows_and_filters_remedies(log_in: LogIn, bank: Bank) -> None:
    client, saga = log_in("operator"), trips.make_held_unknown()
    client.post(url_of(saga, "pay", ASK))
    page = read(client.get(f"{LIST}log/?action={REMEDY}"))
    assert "Ask the bank" in page
    assert "The bank has the money." in page
    assert "No matching entries." in read(client.get(f"{LIST}log/?action=retry"))


def test_remedies_run_outside_transactions_of_requests() -> None:
    saga = Saga()
    for url in (url_of(saga, "pay", ASK), f"/api/v1/sagas/{saga.pk}/remedies/"):
        assert resolve(url).func._non_atomic_requests == {*connections}
