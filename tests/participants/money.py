"""Helpers that make payments and read what the ledger made of them."""

import pytest

from payments.exceptions import GatewayAnswerLost
from payments.models import Payment, SandboxAuthorization, SandboxOperation
from payments.services import authorize, capture

KEY = "0198:authorize_payment"
CAPTURE_KEY = "0198:capture_payment"
VOID_KEY = "0198:authorize_payment:compensate:0"


def authorize_with(
    payment_method: str = "pm_card_visa", *, key: str = KEY, order_number: str = "A-1", amount_minor: int = 1250
) -> Payment:
    """Authorise 12.50 EUR for order A-1."""
    return authorize(
        key=key, order_number=order_number, amount_minor=amount_minor, currency="EUR", payment_method=payment_method
    )


def take_money(payment_method: str = "pm_card_visa") -> Payment:
    """Authorise and capture."""
    authorize_with(payment_method)
    return capture(key=KEY, provider_key=CAPTURE_KEY)


def lose_capture(payment_method: str = "pm_card_capture_timeout") -> None:
    """Authorise, and capture without an answer."""
    authorize_with(payment_method)
    with pytest.raises(GatewayAnswerLost):
        capture(key=KEY, provider_key=CAPTURE_KEY)


def ledger() -> list[tuple[str, str, int, int]]:
    """Return the ledger's operations: kind, outcome, calls, lost answers."""
    rows = SandboxOperation.objects.order_by("pk")
    return list(rows.values_list("kind", "outcome", "calls", "lost_answers"))


def ledger_state(key: str = KEY) -> str:
    """Return the ledger's state of an authorise key."""
    return SandboxAuthorization.objects.get(key=key).state


def payment_state(key: str = KEY) -> str:
    """Return the state of the payment."""
    return Payment.objects.get(key=key).state


def asked(key: str = KEY) -> list[tuple[str, str, int, int]]:
    """Return the payment's requests to the gateway: kind, state, calls, unanswered calls."""
    operations = Payment.objects.get(key=key).operations.order_by("pk")
    return list(operations.values_list("kind", "state", "calls", "unanswered"))
