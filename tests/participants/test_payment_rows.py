from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.core.checks import Error
from django.db import IntegrityError, router, transaction

from payments import checks
from payments.checks import check_gateway
from payments.models import Payment, PaymentOperation
from payments.money import format_money
from payments.states import MOVES_ON_ASKING, MOVES_ON_DECLINE, MOVES_ON_SUCCESS, MOVES_ON_WITHDRAWAL, PaymentState

from .money import CAPTURE_KEY, KEY


def make_payment() -> Payment:
    payment = Payment.objects.create(
        key=KEY,
        order_number="A-1",
        amount_minor=1250,
        currency="EUR",
        payment_method="pm_card_visa",
        state="authorized",
    )
    payment.operations.create(
        kind="authorize", provider_key=KEY, state="succeeded", calls=1, finished_at=payment.created_at
    )
    return payment


@contextmanager
def refused() -> Iterator[None]:
    """Expect the database to refuse, and keep the test's transaction usable."""
    with pytest.raises(IntegrityError), transaction.atomic(using=router.db_for_write(Payment)):
        yield


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize(
    "changes",
    [
        {"key": ""}, {"state": "lost"}, {"order_number": ""}, {"amount_minor": 0}, {"currency": "eur"},
        {"refunded_minor": 1}, {"state": "refunded"}, {"state": "captured", "refunded_minor": 1250},
        {"state": "captured", "refunded_minor": 1251},
    ],
)  # fmt: skip
def test_database_refuses_an_inconsistent_payment(changes: dict[str, object]) -> None:
    make_payment()
    with refused():
        Payment.objects.update(**changes)
    assert Payment.objects.get().state == "authorized"


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "steal"},
        {"provider_key": ""},
        {"unanswered": 2},
        {"state": "open"},
        {"state": "declined"},
        {"finished_at": None},
        {"code": "card_declined"},
    ],
)
def test_database_refuses_an_inconsistent_operation(changes: dict[str, object]) -> None:
    make_payment()
    with refused():
        PaymentOperation.objects.update(**changes)
    assert PaymentOperation.objects.get().state == "succeeded"


@pytest.mark.django_db(databases="__all__")
def test_database_refuses_a_second_payment_of_a_key_and_a_second_capture() -> None:
    payment = make_payment()
    payment.operations.create(kind="capture", provider_key=CAPTURE_KEY)

    with refused():
        Payment.objects.create(key=KEY, order_number="A-2", amount_minor=1, currency="EUR")
    with refused():
        PaymentOperation.objects.create(payment=payment, kind="capture", provider_key="again")
    assert Payment.objects.count() == 1
    assert PaymentOperation.objects.filter(kind="capture").count() == 1


def test_final_states_have_no_transitions() -> None:
    for table in (MOVES_ON_ASKING, MOVES_ON_SUCCESS, MOVES_ON_DECLINE, MOVES_ON_WITHDRAWAL):
        for moves in table.values():
            assert PaymentState.DECLINED not in moves
            assert PaymentState.REFUNDED not in moves


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [
        (1250, "EUR", "12.50 EUR"),
        (5, "GBP", "0.05 GBP"),
        (0, "USD", "0.00 USD"),
        (1250, "JPY", "1250 JPY"),
        (1250, "KWD", "1.250 KWD"),
        (-1999, "EUR", "-19.99 EUR"),
        (9007199254740993, "EUR", "90071992547409.93 EUR"),
        (0, "", "-"),
    ],
)
def test_money_is_shown_with_the_decimals_of_its_currency(amount_minor: int, currency: str, text: str) -> None:
    assert format_money(amount_minor, currency) == text


def ids_of_errors() -> list[str | None]:
    return [error.id for error in check_gateway(None) if isinstance(error, Error)]


def test_check_accepts_the_sandbox(settings) -> None:
    settings.PAYMENT_GATEWAY = "sandbox"
    assert ids_of_errors() == []


def test_check_reports_an_unknown_gateway(settings) -> None:
    settings.PAYMENT_GATEWAY = "carrier pigeon"
    assert ids_of_errors() == ["payments.E001"]


def test_check_reports_missing_stripe_settings(settings, monkeypatch) -> None:
    settings.PAYMENT_GATEWAY = "stripe"
    settings.STRIPE_API_KEY = ""
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    assert ids_of_errors() == ["payments.E002", "payments.E003"]

    settings.STRIPE_API_KEY = "sk_test_fake"
    monkeypatch.setattr(checks, "find_spec", lambda name: object())
    assert ids_of_errors() == []
