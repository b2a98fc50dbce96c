"""Remedies for operators of a checkout: ask the provider, and clear a failure of the sandbox.

A checkout and its steps are known here by name alone.
"""

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from sagas import RemedyAnswer, StepContext, remedy

from .exceptions import PaymentNotFound
from .models import Payment
from .services import describe_look_up, reconcile
from .states import OperationState, PaymentState

CHECKOUT, AUTHORIZE, CAPTURE = "checkout", "authorize_payment", "capture_payment"

RETRY = ("retry",)
# What the provider's answer means for the stuck action or compensation; other answers decide nothing.
SUGGESTIONS: Mapping[tuple[str, str], Mapping[str, tuple[str, ...]]] = {
    (AUTHORIZE, "action"): {
        PaymentState.AUTHORIZED: ("mark_succeeded", *RETRY),
        PaymentState.DECLINED: ("mark_refused", *RETRY),
        PaymentState.UNREACHED: RETRY,
    },
    (AUTHORIZE, "compensation"): {
        PaymentState.VOIDED: ("mark_compensated", *RETRY),
        PaymentState.DECLINED: ("mark_compensated", *RETRY),
        PaymentState.VOIDING: RETRY,
    },
    (CAPTURE, "action"): {
        PaymentState.CAPTURED: ("mark_succeeded", *RETRY),
        PaymentState.AUTHORIZED: RETRY,
    },
}


@remedy("ask_provider", definition=CHECKOUT, steps=[AUTHORIZE, CAPTURE], label="Ask the provider")
def ask_provider(step: StepContext[Any]) -> RemedyAnswer:
    """Look up the unanswered requests of the payment, and store the answers that the provider knows."""
    key = step.key_of(AUTHORIZE)
    try:
        payment = reconcile(key=key)
    except PaymentNotFound:
        return RemedyAnswer(text=f"{key}: no payment was requested; the provider was not asked.", suggests=RETRY)
    return RemedyAnswer(
        text=_describe(payment),
        facts={
            "Payment": payment.state,
            "Amount": payment.amount,
            "Provider's reference": payment.authorization_reference or "none",
            **{f"Request to {found.kind}": found.state for found in payment.operations.all()},
        },
        suggests=SUGGESTIONS[step.step, step.direction].get(payment.state, ()),
        result=_make_result(step.step, payment),
    )


def clear_failure(step: StepContext[Any]) -> RemedyAnswer:
    """Let the provider's sandbox void and refund this payment again."""
    # Imported on use: only installations with the sandbox have this remedy.
    from .gateways import sandbox

    cleared = sandbox.clear_failure(key=step.key_of(AUTHORIZE))
    what = "works again" if cleared.failure_cleared_at else "was not failing"
    return RemedyAnswer(text=f"Authorisation {cleared.key} {what}.", suggests=RETRY)


if getattr(settings, "PAYMENT_GATEWAY", "sandbox") == "sandbox":
    remedy(
        "clear_failure",
        definition=CHECKOUT,
        steps=[AUTHORIZE],
        label="Clear the failure",
        changes="Makes voids and refunds of this payment work again at the sandbox provider.",
        during="compensation",
    )(clear_failure)


def _describe(payment: Payment) -> str:
    if payment.operations.filter(state=OperationState.OPEN).exists():
        return describe_look_up(payment)
    return f"The provider has answered: payment {payment.key} is {payment.state}."


def _make_result(step: str, payment: Payment) -> dict[str, str]:
    """Return what the step would have returned."""
    reference = {"reference": payment.authorization_reference} if step == AUTHORIZE else {}
    return {"payment": str(payment.pk), **reference}
