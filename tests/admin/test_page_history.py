"""Attempts and history of a saga: filters and pagination."""

import pytest
from django.test import Client

from sagas import InProgress, RetryLater
from sagas.admin.saga_page import reading
from sagas.admin.ui.page_selection import ORCHESTRATION_TABS
from sagas.models import Saga, SagaAttempt, SagaHistory
from sagas.operators import operations
from sagas.testing import drain, faults

from . import trips
from .pages import HOSTILE, LIST, LogIn, page_of

pytestmark = pytest.mark.django_db


def test_admin_history_redirects_to_the_sagas_history(log_in: LogIn) -> None:
    saga = trips.make_completed()

    response = log_in("viewer").get(f"{LIST}{saga.pk}/history/")

    assert (response.status_code, response["Location"]) == (302, page_of(saga, "history"))
    assert log_in("staff").get(f"{LIST}{saga.pk}/history/").status_code == 403
    assert log_in("viewer").get(f"{LIST}nonsense/history/").status_code == 302


def test_long_histories_are_paginated(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ATTEMPTS_SHOWN", 4)
    monkeypatch.setattr(reading, "HISTORY_SHOWN", 10)
    saga = trips.make_compensation_failing()
    client, numbers, attempts = log_in("viewer"), [], []
    url: str | None = page_of(saga, "history")

    while url is not None:
        shown = client.get(url).context["page"]
        numbers = [row.number for row in shown.history] + numbers
        url = page_of(saga) + shown.older_history_url if shown.older_history_url else None
    url = page_of(saga, "timeline")
    while url is not None:
        shown = client.get(url).context["page"]
        attempts = [row.pk for row in shown.attempts] + attempts
        url = page_of(saga) + shown.older_attempts_url if shown.older_attempts_url else None

    assert numbers == list(range(1, saga.history_count + 1))
    assert attempts == list(SagaAttempt.objects.filter(saga=saga).order_by("pk").values_list("pk", flat=True))


@pytest.mark.parametrize("value", ["", "9" * 18, "x", "\x00", "y" * 5000])
def test_unknown_steps_and_cursors_are_not_errors(log_in: LogIn, value: str) -> None:
    saga, client = trips.make_completed(), log_in("viewer")
    place = value if value.isdigit() else ""

    for tab in ORCHESTRATION_TABS:
        query = {"tab": tab.value, "history_before": place, "attempts_before": place, "step": value}
        assert client.get(page_of(saga), query).status_code == 200


def test_history_is_filtered_by_failures_operators_and_step(log_in: LogIn) -> None:
    saga = trips.make_held_unknown()
    operations.mark_succeeded(
        saga.pk, actor=trips.BOSS, reason=trips.REASON, step="pay", evidence="The bank's own page shows it."
    )
    client = log_in("viewer")

    def numbers(**query: str) -> list[int]:
        return [row.number for row in client.get(page_of(saga, "history", **query)).context["page"].history]

    told = SagaHistory.objects.filter(saga=saga)
    people = list(told.filter(actor="boss").order_by("number").values_list("number", flat=True))
    failures = told.filter(what__in=["step_unknown", "held"])
    of_pay = list(told.filter(step="pay").order_by("number").values_list("number", flat=True))
    assert numbers() == list(range(1, Saga.objects.get(pk=saga.pk).history_count + 1))
    assert numbers(only="people") == people != []
    assert set(failures.values_list("number", flat=True)) <= set(numbers(only="failures")) < set(numbers())
    assert numbers(step="pay") == of_pay
    assert numbers(step="pay", only="people") == [number for number in people if number in of_pay]


def test_waiting_for_an_answer_is_not_a_failure(log_in: LogIn) -> None:
    saga = trips.start()
    with faults() as fault:
        fault.refuse("book_flight", InProgress("Still looking.", poll_after=0), times=2)
        fault.refuse("book_flight", RetryLater("No line."))
        drain(saga)
    waited = SagaHistory.objects.filter(saga=saga, what="step_waiting").order_by("number")
    assert [entry.data["outcome"] for entry in waited] == ["in_progress", "in_progress", "retry"]

    shown = log_in("viewer").get(page_of(saga, "history", only="failures")).context["page"].history

    assert [row.number for row in shown] == [waited[2].number]


def test_pagination_keeps_the_filter_of_the_history(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HISTORY_SHOWN", 3)
    saga = trips.make_compensation_failing()

    shown = log_in("viewer").get(page_of(saga, "history", only="failures", step="book_flight")).context["page"]

    last = shown.history[0].number
    assert shown.older_history_url == f"?tab=history&step=book_flight&only=failures&history_before={last}"


def test_unknown_step_is_not_selected(log_in: LogIn) -> None:
    saga = trips.make_completed()

    for tab in ORCHESTRATION_TABS:
        shown = log_in("viewer").get(page_of(saga, tab, step=HOSTILE)).context["page"]
        assert (shown.selection.step, shown.all_steps_url) == ("", "")


def read_moves(client: Client, saga: Saga, **query: str) -> dict[str, list[str]]:
    moves: dict[str, list[str]] = {}
    for row in client.get(page_of(saga, "history", **query)).context["page"].history:
        if row.move:
            moves.setdefault(row.step, []).append(row.move)
    return moves


def test_moves_have_the_words_of_the_badges(log_in: LogIn) -> None:
    saga = trips.start()
    with faults() as fault:
        fault.refuse("book_flight", InProgress("Still looking.", poll_after=0))
        fault.refuse("book_flight", RetryLater("No line."))
        drain(saga)
    client = log_in("viewer")

    moves = read_moves(client, saga)

    assert moves[""] == ["pending", "pending → running", "running → completed"]
    assert moves["book_flight"] == [
        "not started → running", "running → waiting for an answer", "waiting for an answer → running",
        "running → waiting for a retry", "waiting for a retry → running", "running → succeeded",
    ]  # fmt: skip


def test_moves_of_compensations_and_operations_have_the_words_of_the_badges(log_in: LogIn) -> None:
    failing, held = trips.make_compensation_failing(), trips.make_held_unknown()
    operations.mark_refused(
        held.pk, actor=trips.BOSS, reason=trips.REASON, step="pay", evidence="The bank's own page shows it."
    )
    client = log_in("viewer")

    moves = read_moves(client, failing)["book_flight"]

    assert moves[2:5] == [
        "succeeded → compensating", "compensating → compensation waits", "compensation waits → compensating",
    ]  # fmt: skip
    assert "compensation failing" in moves
    assert "outcome unknown" in read_moves(client, held)["pay"]
    assert "Mark refused" in read_moves(client, held, only="people")["pay"]
