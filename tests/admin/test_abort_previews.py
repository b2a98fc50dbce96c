"""Previews of paused, cancelled and overdue sagas, compared with what then happens."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client

from sagas import OutcomeUnknown, RetryLater
from sagas.models import Saga, SagaAttempt
from sagas.operators import operations
from sagas.operators.preconditions import Operation
from sagas.operators.presentation.transcript import render
from sagas.operators.preview import OperationPreview, PlannedRun, preview_operation
from sagas.testing import drain
from sagas.testing.drain import look, read

from . import trips
from .pages import action_of

pytestmark = pytest.mark.django_db

ORDERS = (
    "cancel",
    "pause cancel",
    "deadline cancel",
    "deadline pause",
    "pause deadline cancel",
    "pause cancel resume",
    "pause deadline resume",
    "deadline pause resume",
    "pause deadline cancel resume",
    "pause cancel deadline resume",
)
BACK = [("book_flight", "compensation"), ("book_hotel", "compensation")]
ONWARDS = [("pay", "action"), ("send_tickets", "action")]


def make_refusing_card() -> Saga:
    """Return a saga whose payment was not possible and is retried: nothing happened."""
    return trips.make_refused("pay", RetryLater("The bank is closed.", after=3000))


def make_unknown_card() -> Saga:
    """Return a saga whose payment may have happened and is asked for again."""
    return trips.make_refused("pay", OutcomeUnknown("The bank does not answer."))


def make_live_card() -> Saga:
    """Return a saga whose payment is in progress."""
    saga = trips.start()
    with trips.faults() as fault:
        fault.crash_before("pay")
        look(saga.pk)
    return read(saga.pk)


def plan_last(saga: Saga, order: str) -> OperationPreview:
    """Apply the events in order; return the preview from before the last one."""
    *_, last = events = order.split()
    for event in events:
        if event == "deadline":
            Saga.objects.filter(pk=saga.pk).update(deadline_at=saga.created_at)
            if read(saga.pk).hold:
                look(saga.pk)
            continue
        plan = preview_operation(Operation(event), saga.pk)
        operations.perform_operation(Operation(event), saga.pk, actor=trips.BOSS, reason=trips.REASON)
    assert plan.operation == last
    return plan


def list_runs(runs: tuple[PlannedRun, ...]) -> list[tuple[str, str]]:
    return [(run.step, run.direction.value) for run in runs]


def finish(saga: Saga) -> tuple[str, list[tuple[str, str]]]:
    """Return how the saga ends after every pause is resumed, and the steps that ran."""
    last = SagaAttempt.objects.filter(saga=saga).order_by("-pk").values_list("pk", flat=True)[0]
    if read(saga.pk).hold:
        assert look(saga.pk) == 0
        operations.resume(saga.pk, actor=trips.BOSS, reason=trips.REASON)
    state = drain(saga, patience=timedelta(hours=3)).state
    ran = SagaAttempt.objects.filter(saga=saga, pk__gt=last, is_assumed=False).order_by("pk")
    return state, [(attempt.step.name, attempt.direction) for attempt in ran]


@pytest.mark.parametrize("order", ORDERS)
def test_open_pivot_is_dropped_from_the_preview(order: str) -> None:
    saga = make_refusing_card()

    plan = plan_last(saga, order)

    assert list_runs(plan.runs) == BACK
    assert (plan.undecided_pivot, plan.runs_if_refused) == ("", ())
    assert plan.notes[-1].startswith("Going forward again is not possible once a saga ")
    assert finish(saga) == ("compensated", BACK)


@pytest.mark.parametrize("order", ORDERS)
def test_undecided_pivot_that_happened_continues(order: str) -> None:
    saga = make_unknown_card()

    plan = plan_last(saga, order)

    assert (list_runs(plan.runs), plan.undecided_pivot) == (ONWARDS, "pay")
    assert "If it did, the request is void and the saga continues with send_tickets; if not, " in plan.outcome
    assert finish(saga) == ("completed", ONWARDS)


@pytest.mark.parametrize("order", ORDERS)
def test_undecided_pivot_that_did_not_happen_is_compensated(order: str) -> None:
    saga = make_unknown_card()

    plan = plan_last(saga, order)

    assert list_runs(plan.runs_if_refused) == BACK
    operations.mark_refused(saga.pk, actor=trips.BOSS, reason=trips.REASON, step="pay", evidence="The bank said so.")
    assert finish(saga) == ("compensated", BACK)


@pytest.mark.parametrize("order", ORDERS)
def test_live_pivot_is_undecided(order: str) -> None:
    saga = make_live_card()

    plan = plan_last(saga, order)

    assert (list_runs(plan.runs), list_runs(plan.runs_if_refused)) == (ONWARDS, BACK)
    assert [(live.step, live.is_expired) for live in plan.live] == [("pay", False)]
    assert finish(saga) == ("completed", ONWARDS)


def test_outcome_of_a_pending_request_is_shown() -> None:
    plan = plan_last(make_refusing_card(), "pause cancel")

    assert plan.outcome == (
        "Nothing runs until the hold (paused) ends. The request to turn back (cancel) is kept: once nothing holds"
        " the saga, it compensates, beginning with book_flight, in reverse order."
    )


def test_request_without_effects_is_shown() -> None:
    assert plan_last(trips.make_pending(), "pause cancel").outcome.endswith("it compensates, with no effect to undo.")


def test_held_step_is_compensated_after_the_deadline() -> None:
    saga = trips.make_misconfigured()

    plan = plan_last(saga, "deadline pause")

    assert list_runs(plan.runs) == [("book_hotel", "compensation")]
    assert [run.note for run in plan.runs] == [""]


@pytest.mark.parametrize(("event", "by"), [("cancel", " by boss"), ("deadline", "")])
def test_pending_request_is_part_of_the_status(event: str, by: str) -> None:
    saga = make_refusing_card()
    operations.pause(saga.pk, actor=trips.BOSS, reason=trips.REASON)
    assert "asked to turn back" not in render(saga.pk).partition("Steps")[0]
    if event == "cancel":
        operations.cancel(saga.pk, actor=trips.BOSS, reason=trips.REASON)
    else:
        Saga.objects.filter(pk=saga.pk).update(deadline_at=saga.created_at)
        look(saga.pk)

    head = render(saga.pk).partition("Steps")[0]
    assert ("held: paused" in head, f", asked to turn back: {event}{by}" in head) == (True, True)
    assert f"; asked to turn back: {event}; " in preview_operation(Operation.RESUME, saga.pk).position


def test_page_shows_both_outcomes(log_in: Callable[..., Client]) -> None:
    saga = make_unknown_card()

    page = log_in("supervisor").get(action_of(saga, Operation.CANCEL)).content.decode()

    assert "What runs next, if every attempt succeeds" in page
    assert "What runs instead, if pay did not happen" in page
    assert page.index("send_tickets</th>") < page.index("What runs instead") < page.index("book_flight</th>")
