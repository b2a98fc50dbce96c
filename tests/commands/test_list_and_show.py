import json
import logging
from uuid import UUID

import pytest

from sagas.core.definition import registry
from sagas.engine import advance
from sagas.models import Saga, SagaAccess, SagaKey
from sagas.operators.presentation.transcript import render

from .cases import (
    TripInput,
    compensated_trip,
    completed_trip,
    define_trip,
    failing_trip,
    run_command,
    start_trip,
    unknown_trip,
)

pytestmark = pytest.mark.django_db(databases="__all__")


def ids(*arguments: str) -> list[str]:
    done = run_command("saga_list", "--json", *arguments)
    assert (done.code, done.err) == (0, "")
    return [saga["id"] for saga in done.json]


def test_newest_first() -> None:
    sagas = [start_trip(str(number)) for number in range(3)]

    assert ids() == [str(saga.pk) for saga in reversed(sagas)]


def test_filters_combine() -> None:
    completed, compensated, unknown = completed_trip("A"), compensated_trip("B"), unknown_trip("C")
    define_trip(version=2)

    assert ids("--state", "completed") == [str(completed.pk)]
    assert ids("--state", "completed", "--state", "compensated") == [str(compensated.pk), str(completed.pk)]
    assert ids("--state", "running", "--attention") == [str(unknown.pk)]
    assert ids("--definition", "trip", "--limit", "2") == [str(unknown.pk), str(compensated.pk)]
    assert ids("--definition", "checkout") == []
    assert ids("--state", "completed", "--search", "B") == []


def test_attention_shows_holds_and_attention_reasons_of_open_sagas() -> None:
    unknown, failing = unknown_trip("A"), failing_trip("B")
    paused, abandoned = start_trip("C"), unknown_trip("D")
    completed_trip("E")
    start_trip("F")
    run_command("saga_pause", paused.pk, "--reason", "because the test says so")
    run_command("saga_abandon", abandoned.pk, "--reason", "because the test says so")

    done = run_command("saga_list", "--attention", "--json")

    assert {saga["id"]: saga["needs"] for saga in done.json} == {
        str(unknown.pk): ["outcome_unknown"],
        str(failing.pk): ["compensation_failing"],
        str(paused.pk): ["paused"],
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("TRIP-10", {"TRIP-10", "TRIP-100"}),
        ("TRIP", {"TRIP-10", "TRIP-100"}),
        ("RIP", set()),
        ("TRIP_1", set()),
        ("%", {"%"}),
        ("trip", {"TRIP-10", "TRIP-100"}),
        ("rip", set()),
    ],
)
def test_search_by_prefix_of_a_business_key(text: str, found: set[str]) -> None:
    for number in ("TRIP-10", "TRIP-100", "%"):
        start_trip(number)

    assert set(SagaKey.objects.filter(saga__in=ids("--search", text)).values_list("value", flat=True)) == found


def test_search_by_prefix_of_an_id() -> None:
    saga = start_trip()

    assert ids("--search", str(saga.pk)) == [str(saga.pk)]
    assert ids("--search", saga.pk.hex[:9]) == [str(saga.pk)]
    assert ids("--search", saga.pk.hex[:7]) == []


def test_json_row_holds_everything_of_a_line() -> None:
    saga = unknown_trip("TRIP-7")

    [row] = run_command("saga_list", "--json").json

    assert row == {
        "id": str(saga.pk), "definition": "trip", "version": 1, "keys": {"trip": "TRIP-7"}, "revision": saga.revision,
        "state": "running", "display_state": "held", "needs": ["outcome_unknown"], "step": "pay",
        "step_state": "unknown", "step_display_state": "held", "attempts": 1,
        "last_error": "sagas.exceptions.OutcomeUnknown: no answer",
        "created_at": saga.created_at.isoformat(), "due_at": saga.due_at and saga.due_at.isoformat(), "closed_at": None,
    }  # fmt: skip


def test_failing_compensation_counts_its_own_attempts() -> None:
    failing_trip()

    [row] = run_command("saga_list", "--json").json

    assert (row["step"], row["attempts"], row["display_state"]) == ("book_flight", 10, "compensation_failing")


def test_table_has_a_line_for_each_saga() -> None:
    saga = compensated_trip("TRIP-7")

    done = run_command("saga_list")

    head, line = done.out.splitlines()
    assert head.split() == ["ID", "STATE", "KEYS", "STEP", "LAST", "ERROR"]
    assert line.split()[:3] == [str(saga.pk), "compensated", "trip=TRIP-7"]
    assert max(map(len, (head, line))) <= 80


def test_shared_key_comes_last_and_is_truncated_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in ("ORD-MKER5ACP78ZN", "ORD-TH6MC0BW5VN7"):
        keys = {"customer": "customer", "order": number}
        advance.start(registry.latest("trip"), TripInput(traveller="Ada"), business_keys=keys)
    monkeypatch.setenv("COLUMNS", "80")

    lines = run_command("saga_list").out.splitlines()[1:]

    assert [line[38:] for line in lines] == [
        "pending  order=ORD-TH6MC0BW5VN7 cu…  -",
        "pending  order=ORD-MKER5ACP78ZN cu…  -",
    ]


def test_table_fits_the_terminal_unless_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    saga = unknown_trip("T" * 60)
    widths = {}
    for columns in (20, 60, 80, 120, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        out = run_command("saga_list").out
        assert out.splitlines()[1].split()[0] == str(saga.pk)
        widths[columns] = max(map(len, out.splitlines()))
    wide = run_command("saga_list", "--wide").out

    assert widths[20] == 36
    assert all(width <= columns for columns, width in widths.items() if columns > 36)
    assert wide.splitlines()[0].split() == [
        "ID", "STATE", "KEYS", "STEP", "LAST", "ERROR", "NEEDS", "STARTED", "DEFINITION", "DUE",
    ]  # fmt: skip
    assert f"trip={'T' * 60}" in wide
    assert "sagas.exceptions.OutcomeUnknown: no answer" in wide


@pytest.mark.parametrize("call", [("saga_list",), ("saga_show", "TRIP-1"), ("saga_export", "--payloads")])
def test_access_is_logged_without_further_output(call: tuple[str, ...], caplog: pytest.LogCaptureFixture) -> None:
    unknown_trip("TRIP-1")
    caplog.set_level(logging.INFO)
    caplog.clear()

    done = run_command(*call)

    assert (done.code, done.err, caplog.records) == (0, "", [])
    assert SagaAccess.objects.count() == 1


def test_empty_list_succeeds() -> None:
    done = run_command("saga_list", "--attention")

    assert (done.code, done.out, done.err) == (0, "No matching sagas.\n", "")
    assert run_command("saga_list", "--json").json == []


def test_query_count_does_not_grow_with_the_list(django_assert_num_queries) -> None:
    for number in range(3):
        start_trip(str(number))
    with django_assert_num_queries(4):
        run_command("saga_list")
    for number in range(3, 9):
        start_trip(str(number))
    with django_assert_num_queries(4):
        run_command("saga_list")


def test_show_prints_the_transcript() -> None:
    saga = compensated_trip()

    done = run_command("saga_show", saga.pk)

    assert (done.code, done.err) == (0, "")
    assert done.out == render(saga.pk)
    assert "because: refused at book_hotel: full" in done.out


@pytest.mark.parametrize("give", [lambda saga: "TRIP-7", lambda saga: str(saga.pk)[:30], lambda saga: saga.pk.hex])
def test_show_finds_a_saga_by_key_or_id(give) -> None:
    start_trip("TRIP-70")
    saga = start_trip("TRIP-7")

    done = run_command("saga_show", give(saga))

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Saga {saga.pk}\n")


def test_show_accepts_a_key_that_looks_like_an_id() -> None:
    saga = start_trip("deadbeef")

    assert f"Saga {saga.pk}\n" in run_command("saga_show", "deadbeef").out


def test_show_lists_the_sagas_of_an_ambiguous_key() -> None:
    first, second = completed_trip("TRIP-7"), start_trip("TRIP-7")

    done = run_command("saga_show", "TRIP-7")

    assert done.code == 1
    assert f"{second.pk} (trip, pending), {first.pk} (trip, completed)" in done.err


@pytest.mark.parametrize("given", ["TRIP-1", "01234567-89ab-7000-8000-000000000000", "'; SELECT 1", "{{ 1 }}", "<b>"])
def test_show_of_an_unknown_saga_exits_with_1(given: str) -> None:
    done = run_command("saga_show", given)

    assert done.code == 1
    assert f"There is no saga with the id or business key {given!r}" in done.err
    assert done.out == ""


def test_show_prints_everything_as_one_document() -> None:
    saga = compensated_trip("TRIP-7")

    document = run_command("saga_show", saga.pk, "--json").json

    assert (UUID(document["id"]), document["state"]) == (saga.pk, "compensated")
    assert document["keys"] == {"trip": "TRIP-7"}
    assert document["input"] == {"traveller": "Ada"}
    assert [step["name"] for step in document["steps"]] == [step.name for step in registry.latest("trip").steps]
    assert [(attempt["direction"], attempt["outcome"]) for attempt in document["steps"][0]["attempts"]] == [
        ("action", "succeeded"),
        ("compensation", "succeeded"),
    ]
    assert document["steps"][2]["attempts"] == []
    assert [entry["number"] for entry in document["history"]] == list(range(1, saga.history_count + 1))


def test_numbers_in_a_document_stay_exact() -> None:
    saga = start_trip()
    Saga.objects.filter(pk=saga.pk).update(input={"amount": 12345678901234567890123})

    assert '"amount": 12345678901234567890123' in run_command("saga_show", saga.pk, "--json").out
    assert json.loads(run_command("saga_show", saga.pk, "--json").out)["input"] == {"amount": 12345678901234567890123}
