from collections.abc import Callable

import pytest
from django.db import router, transaction

from payments import intents
from payments.exceptions import (
    GatewayAnswerLost,
    GatewayMisconfigured,
    GatewayUnavailable,
    PaymentDeclined,
    PaymentKeyReused,
    PaymentNotFound,
    PaymentStateConflict,
)
from payments.gateways.base import Declined
from payments.gateways.sandbox import clear_failure
from payments.models import Payment, PaymentOperation, SandboxAuthorization, SandboxOperation
from payments.services import capture, reconcile, refund, void
from sagas import Fenced

from .money import (
    CAPTURE_KEY,
    KEY,
    VOID_KEY,
    asked,
    authorize_with,
    ledger,
    ledger_state,
    lose_capture,
    payment_state,
    take_money,
)

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


def test_authorize_holds_the_money() -> None:
    payment = authorize_with()

    assert payment.state == "authorized"
    assert payment.authorization_reference == f"sandbox_authorize_{SandboxOperation.objects.get().pk}"
    assert asked() == [("authorize", "succeeded", 1, 0)]
    assert ledger() == [("authorize", "succeeded", 1, 0)]
    row = SandboxAuthorization.objects.get()
    assert (row.key, row.order_number, row.amount_minor, row.currency, row.payment_method, row.state) == (
        KEY, "A-1", 1250, "EUR", "pm_card_visa", "held"
    )  # fmt: skip


def test_authorize_called_twice_asks_the_gateway_once() -> None:
    first = authorize_with()
    second = authorize_with()

    assert second.pk == first.pk
    assert second.state == "authorized"
    assert ledger() == [("authorize", "succeeded", 1, 0)]


def test_authorize_under_a_key_of_another_request_is_refused() -> None:
    authorize_with(amount_minor=1250)

    with pytest.raises(PaymentKeyReused):
        authorize_with(amount_minor=1251)
    with pytest.raises(PaymentKeyReused):
        authorize_with("pm_card_declined", amount_minor=1250)
    assert ledger() == [("authorize", "succeeded", 1, 0)]


@pytest.mark.parametrize(
    ("payment_method", "code"), [("pm_card_declined", "card_declined"), ("pm_nonsense", "unknown_payment_method")]
)
def test_decline_is_stored_and_answered_again(payment_method: str, code: str) -> None:
    for _ in range(2):
        with pytest.raises(PaymentDeclined) as caught:
            authorize_with(payment_method)
        assert (caught.value.code, caught.value.key) == (code, KEY)

    assert payment_state() == "declined"
    assert ledger_state() == "declined"
    assert ledger() == [("authorize", "declined", 1, 0)]


def test_declined_payment_has_nothing_to_void_or_capture() -> None:
    with pytest.raises(PaymentDeclined):
        authorize_with("pm_card_declined")

    assert void(key=KEY, provider_key=VOID_KEY).state == "declined"
    with pytest.raises(PaymentStateConflict):
        capture(key=KEY, provider_key=CAPTURE_KEY)
    assert ledger() == [("authorize", "declined", 1, 0)]


def test_lost_answer_is_resolved_by_a_repeat() -> None:
    with pytest.raises(GatewayAnswerLost):
        authorize_with("pm_card_timeout_once")
    assert payment_state() == "authorizing"
    assert asked() == [("authorize", "open", 1, 1)]
    assert ledger_state() == "held"

    assert authorize_with("pm_card_timeout_once").state == "authorized"
    assert authorize_with("pm_card_timeout_once").state == "authorized"
    assert ledger() == [("authorize", "succeeded", 2, 1)]
    assert asked() == [("authorize", "succeeded", 2, 0)]


def test_request_without_an_answer_is_ended_by_a_void() -> None:
    for _ in range(3):
        with pytest.raises(GatewayAnswerLost):
            authorize_with("pm_card_timeout")
    assert (payment_state(), ledger_state()) == ("authorizing", "held")

    assert void(key=KEY, provider_key=VOID_KEY).state == "voided"
    assert ledger_state() == "voided"
    assert ledger() == [("authorize", "succeeded", 3, 3), ("void", "succeeded", 1, 0)]
    assert asked() == [("authorize", "open", 3, 3), ("void", "succeeded", 1, 0)]


def test_unavailable_gateway_has_no_effect() -> None:
    for _ in range(2):
        with pytest.raises(GatewayUnavailable):
            authorize_with("pm_card_unavailable")

    assert payment_state() == "unreached"
    assert asked() == [("authorize", "open", 2, 0)]
    assert not SandboxAuthorization.objects.exists()
    assert void(key=KEY, provider_key=VOID_KEY).state == "voided"
    assert ledger_state() == "closed"


def test_capture_takes_the_money_once() -> None:
    authorize_with()
    first = capture(key=KEY, provider_key=CAPTURE_KEY)
    second = capture(key=KEY, provider_key=CAPTURE_KEY)
    third = capture(key=KEY, provider_key="another key")

    assert first.state == second.state == third.state == "captured"
    assert ledger() == [("authorize", "succeeded", 1, 0), ("capture", "succeeded", 1, 0)]
    assert SandboxOperation.objects.get(kind="capture").amount_minor == 1250


def test_authorize_repeated_after_the_capture_returns_the_payment() -> None:
    take_money()

    assert authorize_with().state == "captured"
    assert ledger() == [("authorize", "succeeded", 1, 0), ("capture", "succeeded", 1, 0)]


def test_declined_capture_is_stored_and_leaves_the_money_held() -> None:
    authorize_with("pm_card_capture_declined")
    for provider_key in (CAPTURE_KEY, CAPTURE_KEY, "another key"):
        with pytest.raises(PaymentDeclined) as caught:
            capture(key=KEY, provider_key=provider_key)
        assert (caught.value.code, caught.value.key) == ("card_declined", KEY)

    assert (payment_state(), ledger_state()) == ("authorized", "held")
    assert ledger() == [("authorize", "succeeded", 1, 0), ("capture", "declined", 1, 0)]
    assert void(key=KEY, provider_key=VOID_KEY).state == "voided"
    assert ledger_state() == "voided"


@pytest.mark.parametrize("provider_key", [CAPTURE_KEY, "another key"])
def test_lost_capture_is_resolved_by_a_repeat_and_is_one_capture(provider_key: str) -> None:
    lose_capture("pm_card_capture_timeout_once")
    assert payment_state() == "capturing"

    assert capture(key=KEY, provider_key=provider_key).state == "captured"
    assert ledger() == [("authorize", "succeeded", 1, 0), ("capture", "succeeded", 2, 1)]
    assert SandboxOperation.objects.get(kind="capture").key == CAPTURE_KEY


def test_capture_without_answer_stays_open_until_it_is_looked_up() -> None:
    authorize_with("pm_card_capture_timeout")
    for _ in range(3):
        with pytest.raises(GatewayAnswerLost):
            capture(key=KEY, provider_key=CAPTURE_KEY)
    assert payment_state() == "capturing"
    assert ledger_state() == "captured"
    assert ledger() == [("authorize", "succeeded", 1, 0), ("capture", "succeeded", 3, 3)]

    assert reconcile(key=KEY).state == "captured"
    assert asked() == [("authorize", "succeeded", 1, 0), ("capture", "succeeded", 3, 0)]
    assert ledger() == [("authorize", "succeeded", 1, 0), ("capture", "succeeded", 3, 3)]


def test_capture_without_authorization_is_refused() -> None:
    with pytest.raises(PaymentNotFound):
        capture(key=KEY, provider_key=CAPTURE_KEY)
    with pytest.raises(GatewayAnswerLost):
        authorize_with("pm_card_timeout")
    with pytest.raises(PaymentStateConflict) as caught:
        capture(key=KEY, provider_key=CAPTURE_KEY)

    assert caught.value.state == "authorizing"
    assert ledger() == [("authorize", "succeeded", 1, 1)]


def test_void_releases_the_money_once() -> None:
    authorize_with()
    first = void(key=KEY, provider_key=VOID_KEY)
    second = void(key=KEY, provider_key=VOID_KEY)

    assert first.state == second.state == "voided"
    assert ledger() == [("authorize", "succeeded", 1, 0), ("void", "succeeded", 1, 0)]
    assert ledger_state() == "voided"


def test_void_of_a_later_epoch_sends_a_new_request() -> None:
    authorize_with()
    void(key=KEY, provider_key=f"{KEY}:compensate:0")

    assert void(key=KEY, provider_key=f"{KEY}:compensate:1").state == "voided"
    assert ledger() == [("authorize", "succeeded", 1, 0), ("void", "succeeded", 1, 0), ("void", "succeeded", 1, 0)]


def test_void_before_authorize_leaves_a_tombstone_and_closes_the_key() -> None:
    tombstone = void(key=KEY, provider_key=VOID_KEY)
    again = void(key=KEY, provider_key=VOID_KEY)

    assert tombstone.is_tombstone
    assert again.pk == tombstone.pk
    assert again.state == "voided"
    assert ledger() == [("void", "succeeded", 1, 0)]
    with pytest.raises(Fenced):
        authorize_with()
    assert ledger_state() == "closed"
    assert ledger() == [("void", "succeeded", 1, 0)]


def test_authorize_after_void_is_fenced() -> None:
    authorize_with()
    void(key=KEY, provider_key=VOID_KEY)

    with pytest.raises(Fenced):
        authorize_with()
    assert ledger() == [("authorize", "succeeded", 1, 0), ("void", "succeeded", 1, 0)]


def test_authorize_whose_key_the_provider_closed_is_fenced() -> None:
    void(key=KEY, provider_key=VOID_KEY)
    # As if the late authorise had written its intent in a database that never saw the void.
    PaymentOperation.objects.all().delete()
    Payment.objects.all().delete()

    with pytest.raises(Fenced):
        authorize_with()
    assert payment_state() == "unreached"
    assert ledger_state() == "closed"
    assert ledger() == [("void", "succeeded", 1, 0)]


def test_void_of_captured_money_is_refused() -> None:
    take_money()

    with pytest.raises(PaymentStateConflict) as caught:
        void(key=KEY, provider_key=VOID_KEY)
    assert (caught.value.key, caught.value.state) == (KEY, "captured")
    assert "refund" in str(caught.value)
    assert ledger_state() == "captured"
    assert ledger() == [("authorize", "succeeded", 1, 0), ("capture", "succeeded", 1, 0)]


def test_void_after_an_unanswered_capture_is_refused_and_stores_the_capture() -> None:
    lose_capture()

    with pytest.raises(PaymentStateConflict) as caught:
        void(key=KEY, provider_key=VOID_KEY)
    assert caught.value.state == "captured"
    assert payment_state() == "captured"
    assert ledger_state() == "captured"
    assert ledger() == [("authorize", "succeeded", 1, 0), ("capture", "succeeded", 1, 1)]


def test_capture_of_a_voided_payment_is_refused() -> None:
    authorize_with()
    void(key=KEY, provider_key=VOID_KEY)

    with pytest.raises(PaymentStateConflict) as caught:
        capture(key=KEY, provider_key=CAPTURE_KEY)
    assert (caught.value.key, caught.value.state) == (KEY, "voided")
    assert ledger_state() == "voided"
    assert ledger() == [("authorize", "succeeded", 1, 0), ("void", "succeeded", 1, 0)]


def test_void_fails_until_the_failure_is_cleared() -> None:
    authorize_with("pm_card_refund_fails")
    for _ in range(2):
        with pytest.raises(GatewayUnavailable):
            void(key=KEY, provider_key=VOID_KEY)
    assert (payment_state(), ledger_state()) == ("voiding", "held")
    assert asked() == [("authorize", "succeeded", 1, 0), ("void", "open", 2, 0)]
    with pytest.raises(Fenced):
        authorize_with("pm_card_refund_fails")
    with pytest.raises(PaymentStateConflict):
        capture(key=KEY, provider_key=CAPTURE_KEY)

    clear_failure(key=KEY)

    assert void(key=KEY, provider_key=VOID_KEY).state == "voided"
    assert ledger_state() == "voided"
    assert ledger() == [("authorize", "succeeded", 1, 0), ("void", "succeeded", 1, 0)]


def test_provider_key_of_another_operation_is_refused() -> None:
    authorize_with()
    with pytest.raises(PaymentKeyReused):
        void(key=KEY, provider_key=KEY)

    assert payment_state() == "authorized"
    assert ledger() == [("authorize", "succeeded", 1, 0)]


def test_authorize_refuses_to_call_the_gateway_inside_a_transaction() -> None:
    with transaction.atomic(using=router.db_for_write(Payment)), pytest.raises(RuntimeError, match="durable"):
        authorize_with()

    assert not Payment.objects.exists()
    assert not SandboxAuthorization.objects.exists()


@pytest.mark.parametrize("service", [capture, void, refund])
def test_services_refuse_to_call_the_gateway_inside_a_transaction(service: Callable[..., Payment]) -> None:
    authorize_with()
    with transaction.atomic(using=router.db_for_write(Payment)), pytest.raises(RuntimeError, match="durable"):
        service(key=KEY, provider_key="another key")

    assert payment_state() == "authorized"
    assert ledger() == [("authorize", "succeeded", 1, 0)]


def test_misconfigured_gateway_has_no_effect(settings) -> None:
    settings.PAYMENT_GATEWAY = "carrier pigeon"
    with pytest.raises(GatewayMisconfigured, match="carrier pigeon"):
        authorize_with()

    assert payment_state() == "unreached"
    assert asked() == [("authorize", "open", 1, 0)]
    settings.PAYMENT_GATEWAY = "sandbox"
    assert authorize_with().state == "authorized"


@pytest.mark.parametrize(
    "changes", [{"key": ""}, {"order_number": ""}, {"amount_minor": 0}, {"amount_minor": -1}, {"payment_method": ""}]
)
def test_authorize_checks_its_arguments(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="A payment needs"):
        authorize_with(**changes)  # type: ignore[arg-type]
    assert not Payment.objects.exists()


def test_definite_answer_is_written_once() -> None:
    authorize_with()
    operation = PaymentOperation.objects.get()

    assert intents.record(operation, Declined(code="late")).state == "succeeded"
    intents.withdraw(operation)
    assert payment_state() == "authorized"
    assert asked() == [("authorize", "succeeded", 1, 0)]
