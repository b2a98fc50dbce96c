"""What can go wrong with money.

PaymentsError
├── PaymentDeclined             the provider said no and holds nothing; stored under the key
├── PaymentNotFound             nothing was ever asked for under this key
├── PaymentStateConflict        the payment is past the point where this can be done
├── PaymentKeyReused            one key, two different requests: a programming error
└── GatewayError
    ├── GatewayUnavailable      certainly nothing happened: try again later
    ├── GatewayAnswerLost       it may have happened: ask again under the same key
    │   └── GatewayAmountDiffers the provider's books show another amount than was asked
    ├── GatewayMisconfigured    nothing happened until a person changes the set-up
    │   └── AmountNotChargeable the provider cannot express this amount; nothing happened
    ├── GatewayConflict         the provider refused because of what it did before
    └── GatewayKeyClosed        the provider was told never to authorise under this key

An authorise that finds its tombstone raises ``sagas.Fenced``.
"""

from __future__ import annotations


class PaymentsError(Exception):
    """Be the root of everything this app raises on purpose."""


class PaymentDeclined(PaymentsError):
    """Say that the provider declined; the answer is final for this key."""

    def __init__(self, *, code: str, key: str) -> None:
        self.code = code
        self.key = key
        super().__init__(f"Payment {key} was declined ({code}); nothing was taken. Ask for another payment method.")


class PaymentNotFound(PaymentsError):
    """Say that no payment has the key."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"No payment has the key {key}; authorise it under this key first.")


class PaymentStateConflict(PaymentsError):
    """Say that the payment's state forbids what was asked; nothing was changed."""

    def __init__(self, *, asked: str, key: str, state: str, advice: str) -> None:
        self.key = key
        self.state = state
        super().__init__(f"Cannot {asked} payment {key}: it is {state}. {advice}")


class PaymentKeyReused(PaymentsError):
    """Say that a key came back with another request than the first time; nothing was done."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"Key {key} was used before with another request; use a new key for a new request.")


class GatewayError(PaymentsError):
    """Be the root of what the way to the provider raises."""

    def __init__(self, message: str, *, key: str = "") -> None:
        self.key = key
        super().__init__(message)


class GatewayUnavailable(GatewayError):
    """Say that the request did not reach the provider, or was turned away before anything happened."""


class GatewayAnswerLost(GatewayError):
    """Say that the request went out and no answer came; what was asked may have happened."""


class GatewayAmountDiffers(GatewayAnswerLost):
    """The provider did something under our key, but not with the amount that was asked."""

    def __init__(self, *, asked: str, found: str, key: str) -> None:
        self.asked = asked
        self.found = found
        super().__init__(
            f"The provider's books show {found} for request {key}, asked were {asked} (in the provider's own units). "
            "Compare the two in the provider's dashboard before you mark the step.",
            key=key,
        )


class GatewayMisconfigured(GatewayError):
    """Say that the provider cannot be asked before a person changes the set-up; nothing happened."""


class AmountNotChargeable(GatewayMisconfigured):
    """The provider does not take this currency, or has no way to write this amount; nothing happened."""


class GatewayConflict(GatewayError):
    """Say that the provider refused because of what it did before; this request changed nothing."""

    def __init__(self, message: str, *, key: str = "", code: str = "") -> None:
        self.code = code
        super().__init__(message, key=key)


class GatewayKeyClosed(GatewayError):
    """Say that a void came first and closed this key for good; nothing happened."""
