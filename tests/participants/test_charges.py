"""Charges: authorised and captured at once, nothing held after a declined capture, and undone whatever they did."""

from typing import Any

import pytest

from payments.exceptions import ChargeUnfinished, GatewayAnswerLost, GatewayUnavailable, PaymentDeclined
from payments.gateways.sandbox import SandboxGateway
from payments.models import Payment
from payments.services import charge, refund, undo_charge
from sagas import Fenced

from .money import KEY, ledger, ledger_state, lose_capture, payment_state, take_money

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)

UNDO_KEY = f"{KEY}:undo"


def charge_with(payment_method: str = "pm_card_visa") -> Payment:
    return charge(key=KEY, order_number="A-1", amount_minor=1250, currency="EUR", payment_method=payment_method)


def undo() -> Payment:
    return undo_charge(key=KEY, provider_key=UNDO_KEY)


def fail_first(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Refuse the first connection of a request."""
    original, calls = getattr(SandboxGateway, method), []

    def ask(self: SandboxGateway, **given: Any) -> Any:
        calls.append(method)
        if len(calls) == 1:
            raise GatewayUnavailable("The connection was refused.", key=KEY)
        return original(self, **given)

    monkeypatch.setattr(SandboxGateway, method, ask)


def test_charge_captures_once_however_often_it_is_called() -> None:
    assert [charge_with().state for _ in range(3)] == ["captured"] * 3
    assert ledger() == [("authorize", "succeeded", 1, 0), ("capture", "succeeded", 1, 0)]


def test_declined_card_is_declined_again() -> None:
    for _ in range(2):
        with pytest.raises(PaymentDeclined):
            charge_with("pm_card_declined")
    assert (payment_state(), ledger_state()) == ("declined", "declined")


def test_declined_capture_releases_the_money_and_is_declined_again() -> None:
    for _ in range(2):
        with pytest.raises(PaymentDeclined):
            charge_with("pm_card_capture_declined")
    assert (payment_state(), ledger_state()) == ("voided", "voided")


@pytest.mark.parametrize("method", ["capture", "void"])
def test_held_money_is_never_reported_as_nothing(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_first(monkeypatch, method)
    with pytest.raises(ChargeUnfinished, match=f"Payment {KEY} is held, neither captured nor released"):
        charge_with("pm_card_capture_declined")
    assert ledger_state() == "held"
    with pytest.raises(PaymentDeclined):
        charge_with("pm_card_capture_declined")
    assert ledger_state() == "voided"


@pytest.mark.parametrize("payment_method", ["pm_card_timeout_once", "pm_card_capture_timeout_once"])
def test_lost_answer_is_asked_again(payment_method: str) -> None:
    with pytest.raises(GatewayAnswerLost):
        charge_with(payment_method)
    assert charge_with(payment_method).state == "captured"


def test_undone_charge_is_refunded_once() -> None:
    take_money()
    assert [undo().state for _ in range(2)] == ["refunded"] * 2
    assert [operation for operation in ledger() if operation[0] == "refund"] == [("refund", "succeeded", 1, 0)]


def test_undone_authorisation_is_voided() -> None:
    with pytest.raises(GatewayAnswerLost):
        charge_with("pm_card_timeout")
    assert undo().state == "voided"
    assert ledger_state() == "voided"


def test_undone_charge_whose_capture_got_no_answer_is_refunded() -> None:
    lose_capture()
    assert undo().state == "refunded"


def test_charge_that_was_undone_before_it_began_is_fenced() -> None:
    assert undo().is_tombstone
    with pytest.raises(Fenced):
        charge_with()
    assert ledger_state() == "closed"


def test_undoing_leaves_a_declined_and_a_refunded_payment_alone() -> None:
    take_money()
    refund(key=KEY, provider_key="by-hand")
    assert undo().state == "refunded"
    assert len([operation for operation in ledger() if operation[0] == "refund"]) == 1
