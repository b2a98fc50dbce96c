"""Gateway to Stripe, through its official package (extra ``stripe``), by PaymentIntents with manual capture.

Stripe stores an idempotency key with its request and first answer for at least a day. So an authorise whose answer was
lost is settled by repeating it. And a key is closed by using it for an intent that can never hold money: a late
authorise under it is then an idempotency error. Stripe's own retries are off, because the caller decides on retries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import stripe
from django.conf import settings
from requests import ConnectTimeout
from urllib3.exceptions import NewConnectionError

from payments.exceptions import (
    AmountNotChargeable,
    GatewayAmountDiffers,
    GatewayAnswerLost,
    GatewayConflict,
    GatewayError,
    GatewayKeyClosed,
    GatewayMisconfigured,
    GatewayUnavailable,
)

from .base import Answer, Approved, Authorization, Declined
from .stripe_amounts import convert_to_stripe

# Connect and read. Together below a step's default time-out of 10 s, so that the caller can still record the outcome.
TIMEOUTS_SECONDS = (2, 6)
# A key is closed by an intent of this amount (in Stripe's units), which is cancelled at once and never confirmed.
CLOSING_AMOUNT = 100
CLOSING_CURRENCY = "usd"
CLOSED_STATUS = "canceled"
HELD_STATUS = "requires_capture"
CAPTURED_STATUS = "succeeded"


class StripeGateway:
    """Gateway to one Stripe account."""

    def __init__(self, *, api_key: str, api_base: str = "") -> None:
        if not api_key:
            raise GatewayMisconfigured(
                "Stripe cannot be used: STRIPE_API_KEY is empty. Set it to the account's secret key and restart."
            )
        self._client = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base} if api_base else {},
            http_client=stripe.RequestsClient(timeout=TIMEOUTS_SECONDS),
            max_network_retries=0,
        )

    @classmethod
    def from_settings(cls) -> StripeGateway:
        """Return a gateway with STRIPE_API_KEY and STRIPE_API_BASE.

        Raises: GatewayMisconfigured.
        """
        return cls(
            api_key=getattr(settings, "STRIPE_API_KEY", ""), api_base=getattr(settings, "STRIPE_API_BASE", "") or ""
        )

    def require_chargeable(self, *, amount_minor: int, currency: str) -> None:
        convert_to_stripe(amount_minor, currency)

    def authorize(self, authorization: Authorization) -> Answer:
        amount = _convert_whole(authorization, authorization.key)

        def ask() -> Answer:
            intent = self._client.v1.payment_intents.create(
                {
                    "amount": amount,
                    "currency": authorization.currency.lower(),
                    "payment_method": authorization.payment_method,
                    "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                    "capture_method": "manual",
                    "confirm": True,
                    "error_on_requires_action": True,
                    "metadata": {"order_number": authorization.order_number, "authorize_key": authorization.key},
                },
                {"idempotency_key": authorization.key},
            )
            if intent.status != HELD_STATUS:
                raise GatewayAnswerLost(
                    f"Authorisation {authorization.key} is {intent.status}: neither held nor declined; void it.",
                    key=authorization.key,
                )
            _require_same(amount, authorization, (intent.amount, intent.currency), authorization.key)
            return Approved(reference=intent.id)

        return _decline_or_translate(authorization.key, ask)

    def capture(self, *, key: str, authorization: Authorization) -> Answer:
        amount = _convert_whole(authorization, key)

        def ask() -> Answer:
            intent = self._client.v1.payment_intents.capture(
                _require_reference(authorization), {"metadata": {"capture_key": key}}, {"idempotency_key": key}
            )
            _require_same(amount, authorization, (intent.amount_received, intent.currency), key)
            return Approved(reference=intent.id)

        return _decline_or_translate(key, ask)

    def void(self, *, key: str, authorization: Authorization) -> Answer:
        reference = authorization.reference
        if not reference:
            settled = self._settle(authorization) if _can_repeat(authorization) else self._close(authorization.key)
            if isinstance(settled, Declined) or not settled.reference:
                return Approved(reference="")
            reference = settled.reference
        try:
            with _translate_errors(key):
                return self._cancel(reference, key)
        except GatewayConflict as error:
            if self._read_status(reference, key) == CLOSED_STATUS:
                return Approved(reference=reference)
            raise error

    def refund(self, *, key: str, authorization: Authorization, amount_minor: int) -> Answer:
        amount = convert_to_stripe(amount_minor, authorization.currency, key=key)

        def ask() -> Answer:
            refund = self._client.v1.refunds.create(
                {"payment_intent": _require_reference(authorization), "amount": amount}, {"idempotency_key": key}
            )
            _require_same(amount, authorization, (refund.amount, refund.currency), key)
            return (
                Declined(code=refund.failure_reason or "refund_failed")
                if refund.status in ("failed", "canceled")
                else Approved(reference=refund.id)
            )

        return _decline_or_translate(key, ask)

    def find(self, *, key: str, authorization: Authorization) -> Answer | None:
        """Look up an authorise or a capture by the key in its metadata; Stripe's search lags by up to a minute."""
        quoted = key.replace("\\", "\\\\").replace('"', '\\"')
        query = f'metadata["authorize_key"]:"{quoted}" OR metadata["capture_key"]:"{quoted}"'
        with _translate_errors(key):
            found = self._client.v1.payment_intents.search({"query": query}).data
        if not found:
            return None
        intent = found[0]
        is_capture = getattr(intent.metadata, "capture_key", None) == key
        if intent.status not in ((CAPTURED_STATUS,) if is_capture else (HELD_STATUS, CAPTURED_STATUS, CLOSED_STATUS)):
            return None
        if authorization.is_known:
            booked = (intent.amount_received if is_capture else intent.amount, intent.currency)
            _require_same(_convert_whole(authorization, key), authorization, booked, key)
        return Approved(reference=intent.id)

    def _settle(self, authorization: Authorization) -> Answer:
        """Repeat an authorise whose answer was lost under its key, to get its reference."""
        try:
            return self.authorize(authorization)
        except GatewayKeyClosed:
            return Approved(reference="")

    def _close(self, key: str) -> Approved:
        """Close the authorise's key, so that a late authorise under it holds nothing."""
        try:
            with _translate_errors(key):
                intent = self._client.v1.payment_intents.create(
                    {
                        "amount": CLOSING_AMOUNT,
                        "currency": CLOSING_CURRENCY,
                        "capture_method": "manual",
                        "metadata": {"closed_key": key},
                    },
                    {"idempotency_key": key},
                )
        except GatewayKeyClosed as error:
            return self._find_late_authorization(key, error)
        return Approved(reference=intent.id)

    def _find_late_authorization(self, key: str, cause: GatewayError) -> Approved:
        """Return the authorisation that used the key before it could be closed."""
        found = self.find(key=key, authorization=Authorization(key=key))
        if isinstance(found, Approved):
            return found
        raise GatewayAnswerLost(
            f"Stripe has an authorisation under {key}, but its search does not show it yet; ask again in a minute.",
            key=key,
        ) from cause

    def _cancel(self, reference: str, key: str) -> Approved:
        intent = self._client.v1.payment_intents.cancel(reference, {}, {"idempotency_key": key})
        return Approved(reference=intent.id)

    def _read_status(self, reference: str, key: str) -> str:
        with _translate_errors(key):
            return self._client.v1.payment_intents.retrieve(reference).status


def _convert_whole(authorization: Authorization, key: str) -> int:
    """Return the whole amount of an authorisation in Stripe's units."""
    return convert_to_stripe(authorization.amount_minor, authorization.currency, key=key)


def _can_repeat(authorization: Authorization) -> bool:
    """Return whether the authorise may have been sent, so that repeating it settles its outcome."""
    if not authorization.is_known:
        return False
    try:
        _convert_whole(authorization, authorization.key)
    except AmountNotChargeable:
        return False
    return True


def _require_same(amount: int, authorization: Authorization, booked: tuple[int, str], key: str) -> None:
    """Check that Stripe booked the requested amount, both in Stripe's units.

    Raises: GatewayAmountDiffers.
    """
    asked = (amount, authorization.currency.lower())
    if booked != asked:
        raise GatewayAmountDiffers(asked=f"{asked[0]} {asked[1]}", found=f"{booked[0]} {booked[1]}", key=key)


def _require_reference(authorization: Authorization) -> str:
    if not authorization.reference:
        raise GatewayConflict(
            f"Stripe never confirmed authorisation {authorization.key}; nothing happened. Authorise it first.",
            key=authorization.key,
            code="unknown_authorization",
        )
    return authorization.reference


def _is_never_sent(error: stripe.APIConnectionError) -> bool:
    """Return whether the connection itself failed, so that Stripe cannot have received the request."""
    cause = error.__cause__
    if isinstance(cause, ConnectTimeout):
        return True
    reason = getattr(cause.args[0], "reason", None) if cause is not None and cause.args else None
    return isinstance(reason, NewConnectionError)


def _decline_or_translate(key: str, ask: Callable[[], Answer]) -> Answer:
    """Call Stripe, and return a refusal for the payer's reasons as an answer."""
    try:
        with _translate_errors(key):
            return ask()
    except stripe.CardError as error:
        return Declined(code=error.code or "card_declined")
    except GatewayMisconfigured as error:
        if _is_unknown_method(error.__cause__):
            return Declined(code="unknown_payment_method")
        raise


@contextmanager
def _translate_errors(key: str) -> Iterator[None]:
    """Raise this app's errors for Stripe's, except CardError; only class and code decide, never the text."""
    try:
        yield
    except (stripe.AuthenticationError, stripe.PermissionError) as error:
        raise GatewayMisconfigured(
            f"Stripe does not accept the credentials (request {key}); nothing happened. Correct STRIPE_API_KEY.",
            key=key,
        ) from error
    except stripe.IdempotencyError as error:
        raise GatewayKeyClosed(
            f"Stripe has the key {key} from another request; nothing happened. Use a new key.", key=key
        ) from error
    except stripe.InvalidRequestError as error:
        raise _judge_invalid_request(key, error) from error
    except stripe.RateLimitError as error:
        raise GatewayUnavailable(f"Stripe is busy (request {key}); nothing happened, try later.", key=key) from error
    except stripe.APIConnectionError as error:
        if _is_never_sent(error):
            raise GatewayUnavailable(
                f"Stripe cannot be reached (request {key}); nothing happened, try later.", key=key
            ) from error
        raise _lose(key) from error
    except stripe.APIError as error:
        raise _lose(key) from error


def _is_unknown_method(error: BaseException | None) -> bool:
    return isinstance(error, stripe.InvalidRequestError) and (error.code, error.param) == (
        "resource_missing",
        "payment_method",
    )


def _judge_invalid_request(key: str, error: stripe.InvalidRequestError) -> GatewayError:
    if error.code in ("payment_intent_unexpected_state", "charge_already_refunded", "charge_already_captured"):
        return GatewayConflict(
            f"Stripe refused request {key} because of the payment's state ({error.code}); nothing happened.",
            key=key,
            code=error.code,
        )
    return GatewayMisconfigured(
        f"Stripe rejected request {key} ({error.code or 'no code'}, parameter {error.param or 'unknown'}); "
        f"nothing happened. Correct the configuration or the adapter.",
        key=key,
    )


def _lose(key: str) -> GatewayAnswerLost:
    return GatewayAnswerLost(
        f"Stripe's answer to request {key} was lost; it may have happened, ask again under the same key.", key=key
    )
