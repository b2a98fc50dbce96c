"""Operations on choreographed sagas: requests to who decides, marks and retries of participants' calls, refusals."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction

from sagas import OperationRefused, clock, operations
from sagas.choreography import definition
from sagas.conf import get_settings
from sagas.core.retry import RetryPolicy
from sagas.events import catalogue, publish, relay
from sagas.exceptions import OutcomeUnknown
from sagas.intents import Ended, Intent, declaration, performing
from sagas.models import InboxEvent, Saga, SagaHistory, TrackedEvent
from sagas.models import Intent as IntentRow
from sagas.operations import Actor
from sagas.operators import preview
from sagas.operators.preconditions import Operation
from tests.events.test_intents import ChargeInput

from . import world
from .world import (
    Cancelled,
    Confirmed,
    Decider,
    Paid,
    Quoted,
    Refunded,
    Short,
    Stored,
    Unpaid,
    begin,
    owes,
    send,
    states,
    tell,
    track,
)  # fmt: skip

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.usefixtures("sales")]
ADA = Actor(name="ada", is_trusted=True)
WHY = {"actor": ADA, "reason": "The customer asked for it"}
EVIDENCE = {**WHY, "evidence": "The provider's list of today"}


@pytest.fixture
def charge() -> Any:
    """Declare payments' call, whose outcome is never known by itself."""

    def call(_step: Any) -> dict[str, Any]:
        raise OutcomeUnknown("no answer")

    def pay(ended: Ended) -> None:
        publish(Paid(order_id=ended.key))

    def decline(ended: Ended) -> None:
        publish(Unpaid(order_id=ended.key))

    yield Intent(
        "charge_sale", call=call, participant="payments", input=ChargeInput, on_success=pay, on_refusal=decline,
        retry=RetryPolicy(attempts=1, base=1.0, cap=1.0),
    )  # fmt: skip
    declaration.forget("payments.charge_sale")


def request(charge: Intent, saga: Saga) -> IntentRow:
    """Write the intent of a saga and try it, so that it is held with an unknown outcome."""
    alias = catalogue.database_of("payments")
    with transaction.atomic(using=alias):
        wanted = charge.request("ORD-1", ChargeInput(order="ORD-1"), correlation_id=str(saga.pk))
    performing.perform_due()
    return IntentRow.objects.using(alias).get(pk=wanted)


def acts(saga: Saga) -> list[tuple[str, str | None, str]]:
    rows = SagaHistory.objects.filter(saga=saga, what="operator_acted").order_by("number")
    return list(rows.values_list("to_state", "actor", "reason"))


def test_cancel_asks_who_decides_and_is_remembered(sales: Decider) -> None:
    saga = tell(begin(), Paid)
    sales.answer = lambda key: publish(Cancelled(order_id=key), correlation_id=str(saga.pk))

    result = operations.cancel(saga.pk, revision=saga.revision, **WHY)

    assert (sales.asked, result.message) == ([("cancel", "ORD-1")], "orders was asked to cancel.")
    relay.relay_all(get_settings().database)
    track()
    saga = tell(saga, Short, Refunded)
    assert (saga.state, saga.cause and saga.cause["actor"]) == ("compensated", ADA.name)
    assert acts(saga) == [("cancel", ADA.name, "The customer asked for it")]


def test_cancel_that_is_declined_leaves_nothing(sales: Decider) -> None:
    saga = begin()

    def decline(_key: str) -> None:
        raise ValueError("already packed")

    sales.answer = decline
    with pytest.raises(OperationRefused, match="orders did not accept the cancel: ValueError: already packed"):
        operations.cancel(saga.pk, **WHY)

    assert (Saga.objects.get(pk=saga.pk).abort_request, acts(saga)) == (None, [])


def test_cancel_after_the_decision_is_refused_with_the_facts(sales: Decider) -> None:
    saga = tell(begin(), Paid, Stored, Quoted, Confirmed)
    with pytest.raises(OperationRefused, match="Too late: ChorConfirmed was recorded "):
        operations.cancel(saga.pk, **WHY)
    assert sales.asked == []


def test_stale_cancel_is_not_asked(sales: Decider) -> None:
    saga = begin()
    tell(saga, Paid)
    with pytest.raises(OperationRefused, match="revision"):
        operations.cancel(saga.pk, revision=saga.revision, **WHY)
    assert Saga.objects.get(pk=saga.pk).abort_request is None


def test_second_cancel_is_a_repeat(sales: Decider) -> None:
    saga = begin()
    operations.cancel(saga.pk, **WHY)
    assert operations.cancel(saga.pk, **WHY).is_repeat
    assert len(sales.asked) == 1


@pytest.mark.parametrize(
    "operate",
    [
        operations.force_compensate, operations.pause, operations.resume,
        lambda pk, **why: operations.skip_step(pk, step="payment", **why),
        lambda pk, **why: operations.mark_compensated(pk, step="payment", evidence="As seen in the list", **why),
    ],
)  # fmt: skip
def test_what_commands_says_why_not(operate: Callable[..., Any]) -> None:
    with pytest.raises(OperationRefused, match=r"Nobody commands here: .* Cancel asks orders\."):
        operate(begin().pk, **WHY)


def test_mark_of_a_call_publishes_its_event(charge: Intent) -> None:
    saga = begin()
    row = request(charge, saga)
    assert row.step_hold == "outcome_unknown"

    result = operations.mark_succeeded(saga.pk, step="payment", **EVIDENCE)

    assert result.message == "payments.charge_sale is marked as succeeded; payments sends the event."
    relay.relay_all(catalogue.database_of("payments"))
    track()
    assert states(saga)["payment"] == "succeeded"
    assert not TrackedEvent.objects.filter(saga=saga, is_assumed=True).exists()
    assert acts(saga) == [("mark_succeeded", ADA.name, "The customer asked for it")]


def test_retry_makes_a_call_due(charge: Intent) -> None:
    saga = begin()
    row = request(charge, saga)

    result = operations.retry_now(saga.pk, step="payment", **WHY)

    assert result.message == "payments.charge_sale is due now, with a fresh budget."
    row.refresh_from_db(using=catalogue.database_of("payments"))
    assert (row.step_hold, row.due_at is not None) == (None, True)


def test_retry_without_a_call_names_the_event() -> None:
    with pytest.raises(OperationRefused, match="No external call waits or is held"):
        operations.retry_now(begin().pk, **WHY)


def test_mark_is_refused_while_the_answer_can_come() -> None:
    saga = tell(begin(), Paid)
    with pytest.raises(OperationRefused, match="inventory runs here, so ChorStored or ChorShort can still come"):
        operations.mark_refused(saga.pk, step="stock", **EVIDENCE)


def test_mark_after_a_discarded_event_settles_what_is_owed() -> None:
    saga = tell(begin(), Paid)
    cause = saga.owed[0]["cause"]
    InboxEvent.objects.using(catalogue.database_of("inventory")).create(
        consumer="inventory", source="/shop/payments/ORD-1", event_id=cause, type="ChorPaid", key="ORD-1", digest="d",
        correlation_id=str(saga.pk), received_at=saga.created_at, state="discarded",
    )  # fmt: skip

    operations.mark_refused(saga.pk, step="stock", **EVIDENCE)

    saga = Saga.objects.get(pk=saga.pk)
    assert owes(saga) == [("confirmation", "orders", ["ChorCancelled"])]
    assert (states(saga)["stock"], saga.steps.get(name="stock").is_assumed) == ("refused", True)
    data = SagaHistory.objects.get(saga=saga, what="operator_acted").data
    assert data["evidence"] == "The provider's list of today"
    assert tell(saga, Cancelled, Refunded).state == "compensated"


def test_mark_after_the_tracker_lost_the_answer_settles_what_is_owed() -> None:
    saga = tell(begin(), Paid)
    InboxEvent.objects.using(get_settings().database).create(
        consumer="sagas", source="/shop/inventory/ORD-1", event_id="e-9", type="ChorStored", key="ORD-1", digest="d",
        correlation_id=str(saga.pk), received_at=saga.created_at, state="discarded",
    )  # fmt: skip

    operations.mark_succeeded(saga.pk, step="stock", **EVIDENCE)

    assert states(saga)["stock"] == "succeeded"


def test_mark_of_a_participant_elsewhere_settles_what_is_owed(event_settings: Callable[..., None]) -> None:
    event_settings(PARTICIPANTS=["orders", "payments", "shipping"], FOREIGN_SENDS=["ChorStored", "ChorShort"])
    saga = tell(begin(), Paid)

    operations.mark_succeeded(saga.pk, step="stock", **EVIDENCE)

    assert owes(Saga.objects.get(pk=saga.pk)) == [("quote", "shipping", ["ChorQuoted", "ChorUnserved"])]


def test_foreign_participant_owes_only_what_it_is_declared_to_send(event_settings: Callable[..., None]) -> None:
    saga = begin()
    send(Paid, Stored, Quoted, Confirmed, world.Booked, saga=saga)
    event_settings(PARTICIPANTS=["orders", "payments", "shipping"], FOREIGN_SENDS=["ChorStored", "ChorShort"])
    track()
    assert Saga.objects.get(pk=saga.pk).state == "completed"


def test_step_that_owes_nothing_cannot_be_marked() -> None:
    with pytest.raises(OperationRefused, match="Nobody owes an answer of quote now"):
        operations.mark_succeeded(begin().pk, step="quote", **EVIDENCE)


def test_abandon_lists_what_is_left_and_late_effects() -> None:
    saga = tell(begin(), Paid)
    plan = preview.preview_operation(Operation.ABANDON, saga.pk)
    assert [(left.step, left.effect.value) for left in plan.left_behind] == [("payment", "yes"), ("stock", "maybe")]

    operations.abandon(saga.pk, **WHY)
    saga = tell(saga, Stored)

    assert (saga.state, saga.owed, saga.owed_due_at) == ("abandoned", [], None)
    found = {effect["step"]: (effect["effect"], effect.get("late", False)) for effect in saga.effects_left or []}
    assert found == {"payment": ("yes", False), "stock": ("yes", True)}


def test_abandon_waits_for_a_live_call(charge: Intent) -> None:
    saga = begin()
    row = request(charge, saga)
    alias = catalogue.database_of("payments")
    now = clock.read_now(alias) + world.LIMIT
    IntentRow.objects.using(alias).filter(pk=row.pk).update(
        step_state="running", step_hold=None, step_lease_token=row.pk, step_lease_until=now
    )
    with pytest.raises(OperationRefused, match="charge_sale is running, until"):
        operations.abandon(saga.pk, **WHY)


@pytest.mark.parametrize(
    ("operation", "outcome"),
    [
        (
            Operation.CANCEL,
            "orders is asked to cancel. If it does, it sends ChorCancelled, and each participant undoes",
        ),
        (Operation.RETRY, "Due now, with a fresh budget: payments.charge_sale."),
        (Operation.MARK_REFUSED, "The call payments.charge_sale ends as stated, and payments sends the event of that"),
    ],
)
def test_previews_say_what_follows(charge: Intent, operation: Operation, outcome: str) -> None:
    saga = begin()
    request(charge, saga)
    plan = preview.preview_operation(operation, saga.pk, step=None if operation is Operation.CANCEL else "payment")
    assert plan.outcome.startswith(outcome)
    assert (plan.runs, plan.is_allowed) == ((), True)


def test_commands_operate_on_choreographed_sagas(charge: Intent, sales: Decider, capsys: Any) -> None:
    saga = begin()
    request(charge, saga)
    common = ["--reason", "The customer asked for it"]
    call_command(
        "saga_resolve", str(saga.pk), "--step", "payment", "--as", "refused", "--evidence", "List of today", *common
    )
    call_command("saga_cancel", str(saga.pk), *common)

    assert [act[0] for act in acts(saga)] == ["mark_refused", "cancel"]
    call_command("saga_show", str(saga.pk))
    assert "payments owes ChorPaid or ChorUnpaid since" in capsys.readouterr().out
    assert sales.asked == [("cancel", "ORD-1")]


def test_missing_definition_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    saga = begin()
    monkeypatch.delitem(definition.CHOREOGRAPHIES, ("chor-sale", 1))
    with pytest.raises(OperationRefused, match="The code has no choreography 'chor-sale' version 1"):
        operations.cancel(saga.pk, **WHY)
