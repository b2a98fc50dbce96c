"""Exceptions of payments.

PaymentsError
├── PaymentDeclined             the provider declined and holds nothing; stored under the key
├── PaymentNotFound             nothing was ever requested under this key
├── PaymentStateConflict        the payment's state forbids the request
├── PaymentKeyReused            one key, two different requests: a programming error
└── GatewayError
    ├── GatewayUnavailable      certainly nothing happened: try again later
    ├── GatewayAnswerLost       it may have happened: ask again under the same key
    │   ├── GatewayAmountDiffers the provider's books show another amount than requested
    │   └── ChargeUnfinished    the money is held, neither captured nor released
    ├── GatewayMisconfigured    nothing happens until an operator changes the settings
    │   └── AmountNotChargeable the provider cannot express this amount; nothing happened
    ├── GatewayConflict         the provider refused because of an earlier request
    └── GatewayKeyClosed        a void closed this key for good

An authorise that finds its tombstone raises ``sagas.Fenced``.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sagas import Misconfigured, OutcomeUnknown, RetryLater


class PaymentsError(Exception):
    """Base class of all exceptions that this app raises on purpose."""


class PaymentDeclined(PaymentsError):
    """The provider declined; the answer is final for this key."""

    def __init__(self, *, code: str, key: str) -> None:
        self.code = code
        self.key = key
        super().__init__(f"Payment {key} was declined ({code}); nothing was taken. Ask for another payment method.")


class PaymentNotFound(PaymentsError):
    """No payment has this key."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"No payment has the key {key}; authorise it under this key first.")


class PaymentStateConflict(PaymentsError):
    """The payment's state forbids the request; nothing was changed."""

    def __init__(self, *, asked: str, key: str, state: str, advice: str) -> None:
        self.key = key
        self.state = state
        super().__init__(f"Cannot {asked} payment {key}: it is {state}. {advice}")


class PaymentKeyReused(PaymentsError):
    """The key was used before with another request; nothing was done."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"Key {key} was used before with another request; use a new key for a new request.")


class GatewayError(PaymentsError):
    """Base class of the exceptions of gateways."""

    def __init__(self, message: str, *, key: str = "") -> None:
        self.key = key
        super().__init__(message)


class GatewayUnavailable(GatewayError):
    """The request did not reach the provider, or was rejected before anything happened."""


class GatewayAnswerLost(GatewayError):
    """The request was sent and no answer came; it may have taken effect."""


class GatewayAmountDiffers(GatewayAnswerLost):
    """The provider acted under this key, but not with the requested amount."""

    def __init__(self, *, asked: str, found: str, key: str) -> None:
        self.asked = asked
        self.found = found
        super().__init__(
            f"The provider recorded {found} for request {key}, but {asked} was requested (in the provider's units). "
            "Compare the two in the provider's dashboard before you mark the step.",
            key=key,
        )


class ChargeUnfinished(GatewayAnswerLost):
    """The money is held under this key, and could be neither captured nor released so far."""


class GatewayMisconfigured(GatewayError):
    """The provider cannot be asked until an operator changes the settings; nothing happened."""


class AmountNotChargeable(GatewayMisconfigured):
    """The provider does not support this currency, or cannot express this amount; nothing happened."""


class GatewayConflict(GatewayError):
    """The provider refused because of an earlier request; this one changed nothing."""

    def __init__(self, message: str, *, key: str = "", code: str = "") -> None:
        self.code = code
        super().__init__(message, key=key)


class GatewayKeyClosed(GatewayError):
    """A void came first and closed this key for good; nothing happened."""


@contextmanager
def translate_gateway() -> Iterator[None]:
    """Translate what a gateway raises into the outcomes of an external step.

    Raises: RetryLater, OutcomeUnknown, Misconfigured.
    """
    try:
        yield
    except GatewayUnavailable as error:
        raise RetryLater(str(error)) from error
    except GatewayAnswerLost as error:
        raise OutcomeUnknown(str(error)) from error
    except GatewayMisconfigured as error:
        raise Misconfigured(str(error)) from error
