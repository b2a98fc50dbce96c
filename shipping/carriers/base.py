"""What every carrier can do, and the words it answers in. Knows no carrier and no row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Address:
    """Name the place a parcel goes to."""

    name: str
    """Who receives it."""
    line1: str
    """Street and number."""
    line2: str = ""
    """Flat, floor, company; may be empty."""
    city: str
    """Town."""
    postal_code: str
    """As the country writes it."""
    country: str
    """ISO 3166-1 alpha-2, upper case."""


@dataclass(frozen=True, kw_only=True)
class Quote:
    """Say what a delivery costs and how long it takes."""

    amount_minor: int
    """In the currency's smallest unit."""
    currency: str
    """ISO 4217."""
    transit_days: int
    """Working days from pick-up to delivery."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """Say that the carrier did it."""

    reference: str
    """The carrier's own id."""


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Say that the carrier will not do it; final under this key."""

    code: str
    """A short machine-readable reason, never empty."""


Answer = Done | Refused

NOT_SERVED = "address_not_served"


class Carrier(Protocol):
    """Ask a carrier; every request that changes something carries an idempotency key and may be repeated under it.

    Raises: CarrierUnavailable (nothing happened), CarrierAnswerLost (it may have), ShipmentKeyReused (same key, other
        request).
    Tx: must not be inside one; a call may take seconds and cannot be rolled back.
    """

    def quote(self, *, postal_code: str, country: str) -> Quote | Refused:
        """Ask for the price; changes nothing."""

    def book(self, *, key: str, order_number: str, address: Address) -> Answer:
        """Book a pick-up under the key.

        Raises: also CarrierKeyClosed, when a cancel of this key came first.
        """

    def cancel(self, *, key: str, booking_key: str) -> Answer:
        """Cancel what was booked under ``booking_key``, and close that key so that a late book does nothing.

        Nothing there is success.
        """
