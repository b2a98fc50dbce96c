"""Remedies from the command line."""

import json

import pytest

from sagas import RemedyAnswer, remedy
from sagas.models import SagaHistory
from sagas.testing import drain

from .cases import PATIENCE, WHY, completed_trip, failing_trip, run_command, unknown_trip

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


@pytest.fixture(autouse=True)
def _remedies(trip: object) -> None:
    remedy("ask_bank", definition="trip", steps=["pay"], label="Ask the bank")(
        lambda _: RemedyAnswer(text="It is paid.", facts={"Amount": 7}, suggests=["mark_succeeded"])
    )
    remedy("mend", definition="trip", steps=["book_flight"], label="Mend the airline", changes="Opens it.")(
        lambda _: RemedyAnswer(text="It is open.", suggests=["retry"])
    )


def test_remedies_are_listed() -> None:
    assert run_command("saga_remedy", unknown_trip().pk).out == "ask_bank --step pay: Ask the bank (look-up)\n"
    assert run_command("saga_remedy", failing_trip("TRIP-2").pk).out == (
        "mend --step book_flight: Mend the airline (repair)\n"
    )
    none = run_command("saga_remedy", completed_trip("TRIP-3").pk)
    assert (none.code, none.out) == (0, "No remedy is offered for the saga as it stands.\n")


def test_look_up_prints_its_answer() -> None:
    done = run_command("saga_remedy", unknown_trip().pk, "ask_bank")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "Ask the bank: pay: It is paid.\n  Amount: 7\nWhat could follow: mark_succeeded of pay.\n"
    )  # fmt: skip


def test_json_has_list_and_answer() -> None:
    saga = unknown_trip()
    [listed] = json.loads(run_command("saga_remedy", saga.pk, "--json").out)
    assert (listed["name"], listed["kind"], listed["step"]) == ("ask_bank", "look_up", "pay")
    answer = json.loads(run_command("saga_remedy", saga.pk, "ask_bank", "--step", "pay", "--json").out)
    assert (answer["text"], answer["facts"], answer["suggestion"]) == ("It is paid.", {"Amount": 7}, "mark_succeeded")


def test_repair_needs_a_reason_and_retries() -> None:
    saga = failing_trip()
    refused = run_command("saga_remedy", saga.pk, "mend", "--retry")
    assert (refused.code, "The reason needs at least 10 visible characters" in refused.err) == (2, True)

    done = run_command("saga_remedy", saga.pk, "mend", "--retry", *WHY)

    assert done.out == (
        "Mend the airline: book_flight: It is open. book_flight is due now, with a fresh budget.\n"
    )  # fmt: skip
    assert drain(saga, patience=PATIENCE).state == "compensated"


def test_failure_and_refusal_have_exit_codes() -> None:
    remedy("hang_up", definition="trip", steps=["pay"], label="Hang up")(lambda _: 1 / 0)  # type: ignore[arg-type, return-value]
    saga = unknown_trip()
    failed = run_command("saga_remedy", saga.pk, "hang_up")
    assert (failed.code, "Hang up: pay failed. ZeroDivisionError" in failed.err) == (1, True)
    assert run_command("saga_remedy", saga.pk, "no_such").code == 2
    assert run_command("saga_remedy", saga.pk, "mend", *WHY).code == 1
    assert run_command("saga_remedy", saga.pk, "ask_bank", "--revision", 1).code == 1
    assert SagaHistory.objects.filter(saga=saga, what="operator_acted").count() == 1
