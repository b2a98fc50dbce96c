"""JSON is shown exactly as it is stored, and downloaded whole with permission."""

import json
import re
from html import unescape

import pytest
from django.db import connection

from sagas.admin.saga_page.json_text import MAX_JSON_CHARS, lay_out, show_json_text
from sagas.admin.saga_page.payloads import payload_url
from sagas.models import Saga, SagaHistory
from sagas.operators import operations

from . import trips
from .pages import LogIn, page_of

# Each of these changes when it is parsed as a number: too long, too precise, or in an unusual notation.
EXACT = '{"amount": 123456789012345678901234567890, "rate": 1.10, "tiny": 0.1000000000000000055511151231257827}'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{}", "{}"),
        ("[]", "[]"),
        ("null", "null"),
        ('"a, {b}: \\" c"', '"a, {b}: \\" c"'),
        ('{"a": [1, {}], "b": -1.50e3}', '{\n  "a": [\n    1,\n    {}\n  ],\n  "b": -1.50e3\n}'),
        ('{"Ærø": "x"}', '{\n  "Ærø": "x"\n}'),
        ('{"cut": "in the mid', '{\n  "cut": "in the mid'),
        ("", ""),
    ],
)
def test_layout_changes_whitespace_only(text: str, shown: str) -> None:
    assert lay_out(text) == shown


def test_layout_keeps_the_meaning() -> None:
    value = {"list": [1, 2.5, None, True, 'a\n"b" {c}', {"deep": [[]]}], "big": 10**40, "empty": {}}

    assert json.loads(lay_out(json.dumps(value))) == value


def test_long_texts_are_cut() -> None:
    cut = show_json_text(json.dumps({"text": "x" * 20_000})[: MAX_JSON_CHARS + 1])
    assert (len(cut.text), cut.is_cut) == (MAX_JSON_CHARS, True)

    # Short in storage, long on the page.
    assert show_json_text("[" + "1, " * 3_000 + "1]").is_cut
    assert not show_json_text('{"a": 1}').is_cut


@pytest.fixture
def saga(db: None) -> Saga:
    """Return a saga with numbers that a float would change, in its input and in a result."""
    saga = trips.make_completed()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE sagas_saga SET input = %s::jsonb WHERE id = %s", [EXACT, saga.pk])
        cursor.execute(
            "UPDATE sagas_sagastep SET result = %s::jsonb WHERE saga_id = %s AND name = 'pay'", [EXACT, saga.pk]
        )
    return saga


NUMBERS = ("123456789012345678901234567890", "1.10", "0.1000000000000000055511151231257827")


def test_numbers_are_shown_exactly(log_in: LogIn, saga: Saga) -> None:
    text = unescape(log_in("admin").get(page_of(saga, "steps")).content.decode())

    for number in NUMBERS:
        # Not a duration, such as 1.10 s.
        assert len(re.findall(rf"(?<![\d.]){re.escape(number)}(?![\d.]| [a-z])", text)) == 2


@pytest.mark.parametrize("query", [{"of": "input"}, {"of": "result", "step": "pay"}])
def test_download_is_exact_and_complete(log_in: LogIn, saga: Saga, query: dict[str, str]) -> None:
    response = log_in("supervisor").get(payload_url("admin", saga.pk, **query))

    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert response["Content-Disposition"].startswith(f'attachment; filename="{saga.pk}-')
    assert response["X-Content-Type-Options"] == "nosniff"
    for number in NUMBERS:
        assert number in response.content.decode()


def test_truncated_value_is_downloaded_whole(log_in: LogIn, saga: Saga) -> None:
    long = {"text": "x" * 50_000}
    saga.steps.filter(name="pay").update(result=long)
    client = log_in("supervisor")

    page = client.get(page_of(saga, "steps")).content.decode()
    whole = client.get(payload_url("admin", saga.pk, of="result", step="pay"))

    assert "Download the whole value" in page
    assert page.count("x" * 9_000) == 1
    assert "x" * 11_000 not in page
    assert whole.json() == long


@pytest.mark.parametrize("person", ["anonymous", "staff", "viewer", "operator"])
@pytest.mark.parametrize("query", [{"of": "input"}, {"of": "result", "step": "pay"}, {"of": "data", "number": "1"}])
def test_download_needs_the_permission(log_in: LogIn, saga: Saga, person: str, query: dict[str, str]) -> None:
    SagaHistory.objects.filter(saga=saga)  # the first entry is the engine's
    response = log_in(person).get(payload_url("admin", saga.pk, **query))

    assert response.status_code == (302 if person == "anonymous" else 403)
    assert b"1.10" not in response.content


def test_operators_reasons_need_no_payload_permission(log_in: LogIn) -> None:
    saga = trips.make_held_unknown()
    operations.mark_succeeded(
        saga.pk, actor=trips.BOSS, reason=trips.REASON, step="pay", evidence="The bank's own page shows it."
    )
    number = SagaHistory.objects.get(saga=saga, what="operator_acted").number
    client = log_in("viewer")

    assert "The bank's own page" in client.get(payload_url("admin", saga.pk, of="data", number=number)).content.decode()
    assert "<summary>Data</summary>" in client.get(page_of(saga, "history", only="people")).content.decode()
    assert client.get(payload_url("admin", saga.pk, of="data", number=1)).status_code == 403


@pytest.mark.parametrize(
    "query",
    [
        {}, {"of": ""}, {"of": "cause"}, {"of": "result"}, {"of": "result", "step": "nothing"},
        {"of": "result", "step": "\x00"}, {"of": "data"}, {"of": "data", "number": "x"},
        {"of": "data", "number": "9" * 18}, {"of": "data", "number": "9" * 999},
    ],
)  # fmt: skip
def test_missing_values_are_not_found(log_in: LogIn, saga: Saga, query: dict[str, str]) -> None:
    assert log_in("admin").get(payload_url("admin", saga.pk, **query)).status_code == 404


def test_values_of_an_unknown_saga_are_not_found(log_in: LogIn) -> None:
    assert log_in("admin").get(payload_url("admin", Saga().pk, of="input")).status_code == 404
