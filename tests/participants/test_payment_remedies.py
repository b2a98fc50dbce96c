"""Remedies of payments: what the provider knows of a stuck checkout, and what should follow."""

from typing import Any

import pytest

from payments import remedies, services
from payments.exceptions import GatewayUnavailable
from payments.models import Payment, SandboxAuthorization
from payments.remedies import ask_provider, clear_failure
from payments.services import void
from sagas import StepContext
from sagas.core.definition.remedies import REMEDIES
from sagas.core.states import Direction

from .money import authorize_with, lose_capture, take_money
from .test_payment_look_up import EmptyGateway, UnreachableGateway

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)

ACTION, BACK = Direction.ACTION, Direction.COMPENSATION


def context(step: str, direction: Direction = ACTION) -> StepContext[Any]:
    """Return the context of a stuck step of the saga 0198."""
    saga_id: Any = "0198"
    return StepContext(saga_id=saga_id, step=step, direction=direction, input=None, results={}, attempt=1)


def test_capture_without_an_answer_is_found_and_can_be_marked() -> None:
    lose_capture()
    found = ask_provider(context("capture_payment"))
    payment = Payment.objects.get()
    assert found.text == "The provider has answered: payment 0198:authorize_payment is captured."
    assert found.facts == {
        "Payment": "captured", "Amount": "12.50 EUR", "Provider's reference": payment.authorization_reference,
        "Request to authorize": "succeeded", "Request to capture": "succeeded",
    }  # fmt: skip
    assert (found.suggests, found.result) == (("mark_succeeded", "retry"), {"payment": str(payment.pk)})


def test_authorisation_gives_the_result_of_its_step() -> None:
    authorize_with()
    found = ask_provider(context("authorize_payment"))
    payment = Payment.objects.get()
    assert found.suggests == ("mark_succeeded", "retry")
    assert found.result == {"payment": str(payment.pk), "reference": payment.authorization_reference}


def test_unknown_request_may_be_in_transit_and_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lose_capture()
    monkeypatch.setattr(services, "get_gateway", EmptyGateway)
    found = ask_provider(context("capture_payment"))
    assert "the provider has no record of the capture" in found.text
    assert found.suggests == ()


def test_payment_that_was_never_requested_is_asked_for_again() -> None:
    found = ask_provider(context("authorize_payment"))
    assert found.text == "0198:authorize_payment: no payment was requested; the provider was not asked."
    assert found.suggests == ("retry",)


def test_unreachable_provider_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    lose_capture()
    monkeypatch.setattr(services, "get_gateway", UnreachableGateway)
    with pytest.raises(GatewayUnavailable):
        ask_provider(context("capture_payment"))


def test_void_that_happened_can_be_marked() -> None:
    authorize_with()
    void(key="0198:authorize_payment", provider_key="0198:authorize_payment:compensate:0")
    assert ask_provider(context("authorize_payment", BACK)).suggests == ("mark_compensated", "retry")


def test_captured_payment_is_not_voided() -> None:
    take_money()
    assert ask_provider(context("authorize_payment", BACK)).suggests == ()


def test_failure_of_the_sandbox_is_cleared_and_may_be_cleared_again() -> None:
    authorize_with("pm_card_refund_fails")
    for _ in range(2):
        found = clear_failure(context("authorize_payment", BACK))
        assert (found.text, found.suggests) == ("Authorisation 0198:authorize_payment works again.", ("retry",))
    assert SandboxAuthorization.objects.get().is_failing is False


def test_both_are_registered_for_the_checkout() -> None:
    assert REMEDIES["checkout", "ask_provider"].steps == ("authorize_payment", "capture_payment")
    repair = REMEDIES["checkout", "clear_failure"]
    assert (repair.is_repair, repair.during) == (True, BACK)
    assert remedies.SUGGESTIONS.keys() == {
        ("authorize_payment", "action"), ("authorize_payment", "compensation"), ("capture_payment", "action"),
    }  # fmt: skip
