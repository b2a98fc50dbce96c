"""What can go wrong with stock.

InventoryError
├── OutOfStock              the participant said no and did nothing
├── ReservationNotFound     nothing was reserved under this key
├── ReservationStateConflict
│   ├── ReservationShipped  the goods have left, they cannot be released
│   └── ReservationReleased the goods were given back, they cannot be shipped
└── ReservationKeyReused    one key, two different requests: a programming error

A reserve that finds its tombstone raises ``sagas.Fenced``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Shortage:
    """Say how far the stock of one SKU falls short."""

    sku: str
    asked: int
    available: int


class InventoryError(Exception):
    """Be the root of everything this app raises on purpose."""


class OutOfStock(InventoryError):
    """Say that at least one SKU has less on hand than was asked for; nothing was reserved."""

    def __init__(self, *, key: str, shortages: Sequence[Shortage]) -> None:
        self.key = key
        self.shortages = tuple(shortages)
        facts = ", ".join(f"{short.sku}: asked {short.asked}, available {short.available}" for short in shortages)
        super().__init__(
            f"Not enough stock ({facts}); nothing was reserved under key {key}. "
            f"Order less, or try again after stock was received."
        )


class ReservationNotFound(InventoryError):
    """Say that nothing was ever reserved under the key."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"No reservation has the key {key}; reserve the stock under this key first.")


class ReservationStateConflict(InventoryError):
    """Say that the reservation is past the point where this can be done; nothing was changed."""

    def __init__(self, message: str, *, key: str) -> None:
        self.key = key
        super().__init__(message)


class ReservationShipped(ReservationStateConflict):
    """Say that the goods have left already."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"Reservation {key} was shipped and cannot be released; take the goods back as a return instead.", key=key
        )


class ReservationReleased(ReservationStateConflict):
    """Say that the goods were given back already."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"Reservation {key} was released and cannot be shipped; reserve the stock again under a new key.", key=key
        )


class ReservationKeyReused(InventoryError):
    """Say that a key came back with another request than the first time; nothing was changed."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            f"Key {key} already belongs to a reservation of another order or other lines; "
            f"use a new key for a new request."
        )
