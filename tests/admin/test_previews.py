import json
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from django.db import InternalError, connections, transaction

from sagas.conf import get_settings
from sagas.engine.store.draft import SagaDraft
from sagas.engine.store.snapshot import SagaSnapshot
from sagas.exceptions import BadRequest, SagaNotFound
from sagas.models import Saga, SagaAttempt, SagaHistory, SagaStep
from sagas.operators import operations, preconditions
from sagas.operators.actor import Actor
from sagas.operators.preconditions import Operation
from sagas.operators.preview import OperationPreview, preview_operation
from sagas.operators.simulation import simulate
from sagas.testing import drain
from sagas.testing.drain import read

from . import trips

pytestmark = pytest.mark.django_db


def steps_of(plan: OperationPreview) -> list[tuple[int, str, str]]:
    return [(run.order, run.step, run.direction.value) for run in plan.runs]


def test_retry_continues_to_the_end() -> None:
    saga = trips.make_waiting_for_retry()

    plan = preview_operation(Operation.RETRY, saga.pk)

    assert plan.is_allowed
    assert (plan.revision, plan.history_count, plan.refusal) == (saga.revision, saga.history_count, "")
    assert steps_of(plan) == [
        (1, "book_hotel", "action"),
        (2, "book_flight", "action"),
        (3, "pay", "action"),
        (4, "send_tickets", "action"),
    ]
    assert [(run.participant, run.is_external) for run in plan.runs] == [
        ("inventory", False),
        ("shipping", True),
        ("payments", True),
        ("", False),
    ]
    assert plan.runs[2].note == "nothing is compensated after it"
    assert plan.outcome == "The saga continues with book_hotel."
    assert (plan.live, plan.left_behind, plan.notes) == ((), (), ())


def test_force_compensate_undoes_every_possible_effect() -> None:
    saga = trips.make_unknown()

    plan = preview_operation(Operation.COMPENSATE, saga.pk)

    assert plan.is_allowed
    assert steps_of(plan) == [(1, "book_flight", "compensation"), (2, "book_hotel", "compensation")]
    assert plan.outcome == "The saga compensates: beginning with book_flight, in reverse order."
    assert plan.notes == ("Going forward again is not possible once a saga compensates: start a new one.",)


def test_compensations_of_a_group_are_parallel() -> None:
    saga = trips.start(trips.TourSaga)
    with trips.faults() as fault:
        fault.refuse("close_file", trips.RetryLater(after=3000))
        for _ in range(3):
            trips.look(saga.pk)

    plan = preview_operation(Operation.COMPENSATE, saga.pk)

    assert steps_of(plan) == [
        (1, "book_boat", "compensation"),
        (1, "book_bus", "compensation"),
        (2, "open_file", "compensation"),
    ]


def test_live_attempt_is_shown_and_finishes_first() -> None:
    saga = trips.make_running()

    plan = preview_operation(Operation.COMPENSATE, saga.pk)

    assert [(live.step, live.direction, live.is_expired) for live in plan.live] == [("book_hotel", "action", False)]
    assert plan.live[0].until == SagaStep.objects.get(saga=saga, name="book_hotel").lease_until
    assert [run.note for run in plan.runs] == ["its action is live now and finishes first"]
    assert plan.outcome.startswith("The saga compensates: once the live attempt has ended, ")


def test_force_compensate_is_refused_after_the_pivot() -> None:
    saga = trips.make_retries_exhausted()

    plan = preview_operation(Operation.COMPENSATE, saga.pk)

    assert not plan.is_allowed
    assert plan.refusal.startswith("The pivot has succeeded: nothing is compensated after it.")
    assert (plan.runs, plan.outcome) == ((), "")


def test_abandon_lists_the_remaining_effects() -> None:
    saga = trips.make_compensation_refused()

    plan = preview_operation(Operation.ABANDON, saga.pk)

    assert plan.is_allowed
    assert plan.runs == ()
    assert [(left.step, left.effect, left.key) for left in plan.left_behind] == [
        ("book_hotel", "yes", f"{saga.pk}:book_hotel"),
        ("book_flight", "yes", f"{saga.pk}:book_flight"),
    ]


def test_retry_of_a_paused_saga_runs_nothing() -> None:
    saga = trips.make_waiting_for_retry()
    operations.pause(saga.pk, actor=trips.BOSS, reason=trips.REASON)

    plan = preview_operation(Operation.RETRY, saga.pk)

    assert plan.is_allowed
    assert plan.outcome == "Nothing runs until the hold (paused) ends."
    assert "The saga is paused: nothing is claimed until an operator resumes it." in plan.notes


def test_retry_after_the_deadline_starts_compensating() -> None:
    saga = trips.make_misconfigured()
    Saga.objects.filter(pk=saga.pk).update(deadline_at=saga.created_at)

    plan = preview_operation(Operation.RETRY, saga.pk)

    assert steps_of(plan) == [(1, "book_hotel", "compensation")]


def test_marks_follow_the_operators_statement() -> None:
    saga = trips.make_held_unknown()

    happened = preview_operation(Operation.MARK_SUCCEEDED, saga.pk, step="pay")
    did_not = preview_operation(Operation.MARK_REFUSED, saga.pk, step="pay")

    assert steps_of(happened) == [(1, "send_tickets", "action")]
    assert happened.notes[-1] == "The pivot has succeeded: nothing is compensated any more."
    assert steps_of(did_not) == [(1, "book_flight", "compensation"), (2, "book_hotel", "compensation")]


def test_mark_compensated_continues_with_the_other_compensations() -> None:
    saga = trips.make_compensation_refused()

    plan = preview_operation(Operation.MARK_COMPENSATED, saga.pk, step="book_flight")

    assert steps_of(plan) == [(1, "book_hotel", "compensation")]
    assert plan.notes[0].startswith("Any effect that book_flight left stays")


def test_skip_of_the_last_step_completes() -> None:
    saga = trips.make_contract_violation()

    plan = preview_operation(Operation.SKIP, saga.pk, step="send_tickets")

    assert (plan.runs, plan.outcome) == ((), "The saga is completed.")


def test_cancel_is_remembered_while_the_pivot_is_unknown() -> None:
    saga = trips.make_held_unknown()

    plan = preview_operation(Operation.CANCEL, saga.pk)

    assert plan.is_allowed
    assert plan.outcome == (
        "The saga stays held at pay. The request to turn back (cancel) is kept until it is known whether pay"
        " happened. If it did, the request is void and the saga continues with send_tickets; if not, the saga"
        " compensates, beginning with book_flight, in reverse order."
    )
    assert steps_of(plan) == [(1, "pay", "action"), (2, "send_tickets", "action")]
    assert "  instead, if pay did not happen:\n    1. compensation of book_flight" in plan.as_text()


def test_pause_and_resume() -> None:
    running = trips.make_running()
    paused = trips.make_paused()

    assert preview_operation(Operation.PAUSE, running.pk).outcome == (
        "Live attempts finish and are recorded; nothing else runs until the hold (paused) ends."
    )
    again = preview_operation(Operation.PAUSE, paused.pk)
    assert (again.is_allowed, again.is_repeat, again.refusal) == (False, True, "The saga is already paused.")
    assert preview_operation(Operation.RESUME, paused.pk).outcome == "The saga continues with book_hotel."


def test_missing_definition_is_reported() -> None:
    saga = trips.make_waiting_for_retry()

    with trips.registry.preserved():
        trips.registry.forget("trip", 3)
        plan = preview_operation(Operation.RETRY, saga.pk)

    assert plan.outcome == "Nothing runs until the hold (definition missing) ends."
    assert plan.notes == ("Nothing runs until the code has definition trip version 3 with these steps.",)
    assert {(run.participant, run.is_external) for run in plan.runs} == {("", None)}


def test_preview_checks_the_permission() -> None:
    saga = trips.make_waiting_for_retry()

    plan = preview_operation(Operation.RETRY, saga.pk, actor=Actor(name="nobody"))

    assert (plan.is_allowed, plan.may_act) == (False, False)
    assert plan.refusal == "nobody lacks the permission sagas.retry_saga."


def test_step_must_be_named_and_known() -> None:
    saga = trips.make_waiting_for_retry()

    with pytest.raises(BadRequest, match="needs a step"):
        preview_operation(Operation.SKIP, saga.pk)
    with pytest.raises(BadRequest, match="has no step 'nowhere'"):
        preview_operation(Operation.RETRY, saga.pk, step="nowhere")
    with pytest.raises(SagaNotFound):
        preview_operation(Operation.RETRY, uuid4())


@pytest.mark.parametrize(
    ("operation", "step", "words"),
    [
        (Operation.RETRY, "pay", "Retry pay now"),
        (Operation.RETRY, None, "Retry now"),
        (Operation.SKIP, "pay", "Skip pay"),
        (Operation.MARK_SUCCEEDED, "pay", "Mark pay as succeeded"),
        (Operation.MARK_REFUSED, "pay", "Mark pay as refused"),
        (Operation.MARK_COMPENSATED, "pay", "Mark pay as compensated"),
    ],
)
def test_preview_begins_with_a_plain_sentence(operation: Operation, step: str | None, words: str) -> None:
    saga = trips.make_held_unknown()

    assert preview_operation(operation, saga.pk, step=step).as_text().startswith(f"Plan: {words}, saga {saga.pk}, ")


@pytest.mark.parametrize("maker", trips.MAKERS)
def test_preview_changes_nothing_and_is_printable(maker: str) -> None:
    saga = trips.MAKERS[maker]()
    before = stored(saga)

    for operation, step in each_operation():
        plan = preview_operation(operation, saga.pk, step=step)

        assert plan.is_allowed == (not plan.refusal) == bool(plan.outcome)
        assert json.loads(json.dumps(plan.as_dict()))["operation"] == operation.value
        text = plan.as_text()
        assert text.startswith(f"Plan: {plan.summary}, saga {saga.pk}, revision ")
        assert (plan.refusal or plan.outcome) in text
    assert stored(saga) == before


@contextmanager
def read_only() -> Iterator[None]:
    """Make PostgreSQL refuse every write and every row lock."""
    using = get_settings().database
    with transaction.atomic(using=using):
        with connections[using].cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
        yield
        transaction.set_rollback(True, using=using)


@pytest.mark.parametrize("maker", trips.MAKERS)
def test_preview_works_on_a_read_only_database(maker: str) -> None:
    saga = trips.MAKERS[maker]()
    expected = [preview_operation(operation, saga.pk, step=step) for operation, step in each_operation()]

    with read_only():
        plans = [preview_operation(operation, saga.pk, step=step) for operation, step in each_operation()]

    assert plans == expected


def test_operation_itself_fails_on_a_read_only_database() -> None:
    saga = trips.make_waiting_for_retry()

    with pytest.raises(InternalError, match="read-only transaction"), read_only():
        operations.retry_now(saga.pk, actor=trips.BOSS, reason=trips.REASON)


def test_previewed_copy_cannot_be_saved() -> None:
    saga = trips.make_waiting_for_retry()

    simulation = simulate(SagaSnapshot.load(saga.pk), Operation.RETRY, None)

    assert type(simulation.draft) is SagaDraft
    assert simulation.draft.is_dirty
    assert not hasattr(simulation.draft, "write")


def each_operation() -> list[tuple[Operation, str | None]]:
    return [(operation, "book_flight" if operation in preconditions.STEP_REQUIRED else None) for operation in Operation]


def stored(saga: Saga) -> list[list[dict[str, object]]]:
    models = (
        Saga.objects.filter(pk=saga.pk),
        *(model.objects.filter(saga=saga) for model in (SagaStep, SagaAttempt, SagaHistory)),
    )
    return [list(rows.order_by("pk").values()) for rows in models]


@pytest.mark.parametrize(
    ("maker", "operation", "step"),
    [
        ("waiting_for_retry", Operation.RETRY, None),
        ("unknown", Operation.COMPENSATE, None),
        ("held_unknown", Operation.MARK_SUCCEEDED, "pay"),
        ("held_unknown", Operation.MARK_REFUSED, "pay"),
        ("compensation_refused", Operation.MARK_COMPENSATED, "book_flight"),
        ("compensation_failing", Operation.RETRY, None),
        ("paused", Operation.RESUME, None),
        ("waiting_for_answer", Operation.CANCEL, None),
        ("pending", Operation.CANCEL, None),
        ("contract_violation", Operation.SKIP, "send_tickets"),
        ("misconfigured", Operation.RETRY, "book_flight"),
        ("running", Operation.PAUSE, None),
    ],
)
def test_operation_does_what_the_preview_said(maker: str, operation: Operation, step: str | None) -> None:
    saga = trips.MAKERS[maker]()
    plan = preview_operation(operation, saga.pk, step=step)
    last = SagaAttempt.objects.filter(saga=saga).order_by("-pk").values_list("pk", flat=True).first() or 0
    arguments = {"step": step} if step else {}
    if operation in (Operation.MARK_SUCCEEDED, Operation.MARK_REFUSED, Operation.MARK_COMPENSATED):
        arguments["evidence"] = "The participant said so on the telephone."

    operations.perform_operation(operation, saga.pk, actor=trips.BOSS, reason=trips.REASON, **arguments)
    drain(read(saga.pk))

    ran = SagaAttempt.objects.filter(saga=saga, pk__gt=last, is_assumed=False).order_by("pk")
    expected = [] if operation is Operation.PAUSE else [(run.step, run.direction.value) for run in plan.runs]
    assert [(attempt.step.name, attempt.direction) for attempt in ran] == expected
