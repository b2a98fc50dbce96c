"""What can go wrong with a shipment.

ShippingError
├── AddressNotServed            the carrier said no and did nothing; stored under the key
├── ShipmentKeyReused           one key, two different requests: a programming error
└── CarrierError
    ├── CarrierUnavailable      certainly nothing happened: try again later
    ├── CarrierAnswerLost       it may have happened: ask again under the same key
    └── CarrierKeyClosed        the carrier was told never to book under this key

A book that finds its tombstone raises ``sagas.Fenced``.
"""

from __future__ import annotations


class ShippingError(Exception):
    """Be the root of everything this app raises on purpose."""


class AddressNotServed(ShippingError):
    """Say that the carrier does not deliver there; the answer is final for the key, if there is one."""

    def __init__(self, *, postal_code: str, country: str, key: str = "") -> None:
        self.postal_code = postal_code
        self.country = country
        self.key = key
        what = f"shipment {key} was not booked" if key else "there is no quote"
        super().__init__(
            f"The carrier does not deliver to postal code {postal_code} in {country}; {what}. Ask for another address."
        )


class ShipmentKeyReused(ShippingError):
    """Say that a key came back with another request than the first time; nothing was done."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"Key {key} was used before with another request; use a new key for a new request.")


class CarrierError(ShippingError):
    """Be the root of what the way to the carrier raises."""

    def __init__(self, message: str, *, key: str = "") -> None:
        self.key = key
        super().__init__(message)


class CarrierUnavailable(CarrierError):
    """Say that the request did not reach the carrier; nothing happened."""


class CarrierAnswerLost(CarrierError):
    """Say that the request went out and no answer came; what was asked may have happened."""


class CarrierKeyClosed(CarrierError):
    """Say that a cancel came first and closed this key for good; nothing happened."""
