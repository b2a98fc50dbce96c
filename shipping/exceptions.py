"""Exceptions of shipping.

ShippingError
├── AddressNotServed            the carrier refused and did nothing; stored under the key
├── ShipmentKeyReused           one key, two different requests: a programming error
└── CarrierError
    ├── CarrierUnavailable      certainly nothing happened: try again later
    ├── CarrierAnswerLost       it may have happened: ask again under the same key
    └── CarrierKeyClosed        a cancel closed this key for good

A book that finds its tombstone raises ``sagas.Fenced``.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sagas import OutcomeUnknown, RetryLater


class ShippingError(Exception):
    """Base class of all exceptions that this app raises on purpose."""


class AddressNotServed(ShippingError):
    """The carrier does not deliver to this address; the answer is final for the key, if there is one."""

    def __init__(self, *, postal_code: str, country: str, key: str = "") -> None:
        self.postal_code = postal_code
        self.country = country
        self.key = key
        what = f"shipment {key} was not booked" if key else "there is no quote"
        super().__init__(
            f"The carrier does not deliver to postal code {postal_code} in {country}; {what}. Ask for another address."
        )


class ShipmentKeyReused(ShippingError):
    """The key was used before with another request; nothing was done."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"Key {key} was used before with another request; use a new key for a new request.")


class CarrierError(ShippingError):
    """Base class of the exceptions of carriers."""

    def __init__(self, message: str, *, key: str = "") -> None:
        self.key = key
        super().__init__(message)


class CarrierUnavailable(CarrierError):
    """The request did not reach the carrier; nothing happened."""


class CarrierAnswerLost(CarrierError):
    """The request was sent and no answer came; it may have taken effect."""


class CarrierKeyClosed(CarrierError):
    """A cancel came first and closed this key for good; nothing happened."""


@contextmanager
def translate_carrier() -> Iterator[None]:
    """Translate what a carrier raises into the outcomes of an external step.

    Raises: RetryLater, OutcomeUnknown.
    """
    try:
        yield
    except CarrierUnavailable as error:
        raise RetryLater(str(error)) from error
    except CarrierAnswerLost as error:
        raise OutcomeUnknown(str(error)) from error
