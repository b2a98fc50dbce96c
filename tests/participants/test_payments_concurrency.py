from functools import partial

import pytest

from payments.gateways.sandbox import SandboxGateway
from payments.models import Payment, SandboxAuthorization, SandboxOperation
from payments.services import capture, refund, void

from .gateway_contract import hold, make_authorization
from .money import CAPTURE_KEY, KEY, VOID_KEY, authorize_with, ledger, ledger_state, payment_state
from .side_by_side import count_types, run_side_by_side

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


def count_in_ledger(kind: str) -> int:
    return sum(1 for row in ledger() if row[:2] == (kind, "succeeded"))


def test_one_key_authorizes_once() -> None:
    results = run_side_by_side([authorize_with] * 8)

    assert count_types(results) == {"Payment": 8}
    assert len({result.pk for result in results}) == 1
    assert count_in_ledger("authorize") == 1
    assert (payment_state(), ledger_state()) == ("authorized", "held")


def test_concurrent_captures_take_the_money_once() -> None:
    authorize_with()
    calls = [partial(capture, key=KEY, provider_key=f"capture {n}") for n in range(8)]
    results = run_side_by_side(calls)

    assert count_types(results) == {"Payment": 8}
    assert count_in_ledger("capture") == 1
    assert (payment_state(), ledger_state()) == ("captured", "captured")


@pytest.mark.parametrize("round_number", range(5))
def test_concurrent_authorize_and_void_hold_nothing(round_number: int) -> None:
    results = run_side_by_side([authorize_with, partial(void, key=KEY, provider_key=VOID_KEY)])

    assert type(results[0]).__name__ in {"Payment", "Fenced"}
    assert payment_state() == "voided"
    assert ledger_state() in {"voided", "closed"}


@pytest.mark.parametrize("round_number", range(5))
def test_concurrent_capture_and_void_have_one_winner(round_number: int) -> None:
    authorize_with()
    results = run_side_by_side(
        [partial(capture, key=KEY, provider_key=CAPTURE_KEY), partial(void, key=KEY, provider_key=VOID_KEY)]
    )

    assert count_types(results) == {"Payment": 1, "PaymentStateConflict": 1}
    winner = "captured" if type(results[0]).__name__ == "Payment" else "voided"
    assert (payment_state(), ledger_state()) == (winner, winner)


def test_concurrent_refunds_never_exceed_the_amount() -> None:
    authorize_with()
    capture(key=KEY, provider_key=CAPTURE_KEY)
    calls = [partial(refund, key=KEY, provider_key=f"refund {n}", amount_minor=500) for n in range(6)]
    results = run_side_by_side(calls)

    assert count_types(results) == {"Payment": 2, "PaymentStateConflict": 4}
    assert SandboxAuthorization.objects.get().refunded_minor == 1000


def test_concurrent_repeats_of_a_refund_are_stored_once() -> None:
    authorize_with()
    capture(key=KEY, provider_key=CAPTURE_KEY)
    results = run_side_by_side([partial(refund, key=KEY, provider_key="refund 1", amount_minor=500)] * 8)

    assert count_types(results) == {"Payment": 8}
    assert Payment.objects.get().refunded_minor == 500
    assert SandboxAuthorization.objects.get().refunded_minor == 500


def test_ledger_counts_every_repeat() -> None:
    authorization = make_authorization()
    hold(SandboxGateway(), authorization)
    results = run_side_by_side([partial(SandboxGateway().authorize, authorization)] * 8)

    assert count_types(results) == {"Approved": 8}
    assert SandboxOperation.objects.get().calls == 9
