"""Exceptions of the inventory.

InventoryError
├── OutOfStock              the stock is too low; nothing was reserved
├── ReservationNotFound     nothing was reserved under this key
├── ReservationStateConflict
│   ├── ReservationShipped  the goods were shipped and cannot be released
│   └── ReservationReleased the reservation was released and cannot be shipped
└── ReservationKeyReused    one key, two different requests: a programming error

A reserve that finds its tombstone raises ``sagas.Fenced``.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Shortage:
    """Requested and available quantity of a SKU whose stock is too low."""

    sku: str
    asked: int
    available: int


class InventoryError(Exception):
    """Base class of all exceptions that this app raises on purpose."""


class OutOfStock(InventoryError):
    """At least one SKU has less on hand than requested; nothing was reserved."""

    def __init__(self, *, key: str, shortages: Sequence[Shortage]) -> None:
        self.key = key
        self.shortages = tuple(shortages)
        facts = ", ".join(f"{short.sku}: requested {short.asked}, available {short.available}" for short in shortages)
        super().__init__(
            f"Not enough stock ({facts}); nothing was reserved under key {key}. "
            f"Order less, or try again after stock was received."
        )


class ReservationNotFound(InventoryError):
    """Nothing was ever reserved under this key."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"No reservation has the key {key}; reserve the stock under this key first.")


class ReservationStateConflict(InventoryError):
    """The reservation's state forbids the request; nothing was changed."""

    def __init__(self, message: str, *, key: str) -> None:
        self.key = key
        super().__init__(message)


class ReservationShipped(ReservationStateConflict):
    """The goods were already shipped."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"Reservation {key} was shipped and cannot be released; take the goods back as a return instead.", key=key
        )


class ReservationReleased(ReservationStateConflict):
    """The reservation was already released."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"Reservation {key} was released and cannot be shipped; reserve the stock again under a new key.", key=key
        )


class ReservationKeyReused(InventoryError):
    """The key was used before with another request; nothing was changed."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            f"Key {key} already belongs to a reservation of another order or other lines; "
            f"use a new key for a new request."
        )
