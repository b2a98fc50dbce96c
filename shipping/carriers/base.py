"""Interface of all carriers and types of their answers. Independent of carriers and models."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Address:
    """Delivery address of a parcel."""

    name: str
    """Recipient."""
    line1: str
    """Street and number."""
    line2: str = ""
    """Flat, floor, company; may be empty."""
    city: str
    """Town."""
    postal_code: str
    """Postal code in the country's format."""
    country: str
    """Code of ISO 3166-1 alpha-2, upper case."""


@dataclass(frozen=True, kw_only=True)
class Quote:
    """Price and duration of a delivery."""

    amount_minor: int
    """Price in the currency's smallest unit."""
    currency: str
    """Code of ISO 4217."""
    transit_days: int
    """Working days from pick-up to delivery."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """Answer that the carrier carried out the request."""

    reference: str
    """Carrier's id of the request."""


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Answer that the carrier refused; final under this key."""

    code: str
    """Short machine-readable reason, never empty."""


Answer = Done | Refused

NOT_SERVED = "address_not_served"


class Carrier(Protocol):
    """Client of a carrier; every request that changes something carries an idempotency key and may be repeated.

    Raises: CarrierUnavailable (nothing happened), CarrierAnswerLost (it may have), ShipmentKeyReused (same key, other
        request).
    Tx: must not be inside one; a call may take seconds and cannot be rolled back.
    """

    def quote(self, *, postal_code: str, country: str) -> Quote | Refused:
        """Return the price of a delivery; changes nothing."""

    def book(self, *, key: str, order_number: str, address: Address) -> Answer:
        """Book a pick-up under the key.

        Raises: also CarrierKeyClosed, if a cancel of this key came first.
        """

    def cancel(self, *, key: str, booking_key: str) -> Answer:
        """Cancel the booking under ``booking_key``, and close that key so that a late book does nothing.

        A missing booking counts as success.
        """
