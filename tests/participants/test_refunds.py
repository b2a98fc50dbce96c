"""Refunds: each once, in part or whole, and never more than was captured."""

import pytest

from payments.exceptions import GatewayUnavailable, PaymentKeyReused, PaymentNotFound, PaymentStateConflict
from payments.gateways.sandbox import clear_failure
from payments.models import SandboxAuthorization, SandboxOperation
from payments.services import refund

from .money import KEY, authorize_with, ledger, lose_capture, take_money

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


def test_full_refund_is_made_once() -> None:
    take_money()
    first = refund(key=KEY, provider_key="refund 1")
    second = refund(key=KEY, provider_key="refund 1")

    assert first.state == second.state == "refunded"
    assert second.refunded_minor == 1250
    assert SandboxAuthorization.objects.get().refunded_minor == 1250
    assert ledger()[2:] == [("refund", "succeeded", 1, 0)]


def test_refunds_never_exceed_the_amount() -> None:
    take_money()

    assert refund(key=KEY, provider_key="refund 1", amount_minor=1000).state == "captured"
    with pytest.raises(PaymentStateConflict):
        refund(key=KEY, provider_key="refund 2", amount_minor=251)
    with pytest.raises(PaymentKeyReused):
        refund(key=KEY, provider_key="refund 1", amount_minor=999)
    assert refund(key=KEY, provider_key="refund 3").state == "refunded"
    with pytest.raises(PaymentStateConflict):
        refund(key=KEY, provider_key="refund 4")

    assert SandboxAuthorization.objects.get().refunded_minor == 1250
    amounts = SandboxOperation.objects.filter(kind="refund").order_by("pk").values_list("amount_minor", flat=True)
    assert list(amounts) == [1000, 250]


def test_refund_needs_captured_money() -> None:
    with pytest.raises(PaymentNotFound):
        refund(key=KEY, provider_key="refund 1")
    authorize_with()
    with pytest.raises(PaymentStateConflict):
        refund(key=KEY, provider_key="refund 1")

    assert ledger() == [("authorize", "succeeded", 1, 0)]


def test_refund_fails_until_the_failure_is_cleared() -> None:
    take_money("pm_card_refund_fails")
    with pytest.raises(GatewayUnavailable):
        refund(key=KEY, provider_key="refund 1")
    assert SandboxAuthorization.objects.get().refunded_minor == 0

    clear_failure(key=KEY)

    assert refund(key=KEY, provider_key="refund 1").state == "refunded"
    assert SandboxAuthorization.objects.get().refunded_minor == 1250


def test_refund_without_answer_reserves_its_amount() -> None:
    take_money("pm_card_refund_fails")
    with pytest.raises(GatewayUnavailable):
        refund(key=KEY, provider_key="refund 1", amount_minor=1000)
    clear_failure(key=KEY)

    with pytest.raises(PaymentStateConflict, match="Only 250 of 1250"):
        refund(key=KEY, provider_key="refund 2", amount_minor=500)
    assert refund(key=KEY, provider_key="refund 1", amount_minor=1000).refunded_minor == 1000
    assert SandboxAuthorization.objects.get().refunded_minor == 1000


def test_refund_looks_up_a_capture_whose_answer_was_lost() -> None:
    lose_capture()

    assert refund(key=KEY, provider_key="refund 1").state == "refunded"
    assert ledger()[1:] == [("capture", "succeeded", 1, 1), ("refund", "succeeded", 1, 0)]
