"""Everything that changes stock.

Each service is harmless when repeated, safe beside itself, and works in any order under one step key: a release that
comes before its reserve leaves a tombstone, and the reserve is fenced. A service opens its own transaction and joins
the caller's when there is one. Nothing here talks to anything but the database.

Lock order: the reservation row by key, then stock rows by SKU.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.db import router, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from sagas import Fenced

from .exceptions import (
    OutOfStock,
    ReservationKeyReused,
    ReservationNotFound,
    ReservationReleased,
    ReservationShipped,
    Shortage,
)
from .models import Reservation, ReservationLine, ReservationState, StockItem


@dataclass(frozen=True, kw_only=True)
class Line:
    """Ask for a quantity of one SKU."""

    sku: str
    """The stock keeping unit, as in the catalogue."""
    quantity: int
    """Units, at least 1."""

    def __post_init__(self) -> None:
        if not self.sku:
            raise ValueError("A line needs a SKU.")
        if isinstance(self.quantity, bool) or not isinstance(self.quantity, int) or self.quantity < 1:
            raise ValueError(f"Line {self.sku}: the quantity must be a whole number of at least 1.")


def reserve(*, key: str, order_number: str, lines: Sequence[Line]) -> Reservation:
    """Move the asked quantities from on hand to reserved, all or none.

    Returns: the reservation; a repeat gets the first one.
    Raises: OutOfStock (nothing reserved), Fenced (a release came first), ReservationKeyReused, ValueError.
    Locks: the reservation, then stock rows in SKU order.
    Tx: opens one, or joins the caller's.
    """
    quantities = _add_up(lines)
    if not key or not order_number or not quantities:
        raise ValueError("A reservation needs a key, an order number and at least one line.")
    with transaction.atomic(using=_database()):
        reservation, is_new = _lock_or_create(key, order_number=order_number, state=ReservationState.RESERVED)
        if not is_new:
            return _answer_repeat(reservation, order_number, quantities)
        _take_from_hand(key, quantities)
        ReservationLine.objects.using(_database()).bulk_create(
            ReservationLine(reservation=reservation, sku=sku, quantity=quantity) for sku, quantity in quantities.items()
        )
    return reservation


def release(*, key: str) -> Reservation:
    """Give back what was reserved under the key, and see to it that nothing is reserved under it later.

    Returns: the released reservation; a tombstone without lines when there was none.
    Raises: ReservationShipped.
    Locks: the reservation, then stock rows in SKU order.
    Tx: opens one, or joins the caller's.
    """
    if not key:
        raise ValueError("A release needs the key of its reservation.")
    now = timezone.now()
    with transaction.atomic(using=_database()):
        reservation, is_new = _lock_or_create(key, order_number="", state=ReservationState.RELEASED, released_at=now)
        if is_new or reservation.state == ReservationState.RELEASED:
            return reservation
        if reservation.state == ReservationState.SHIPPED:
            raise ReservationShipped(key)
        for line in reservation.lines.using(_database()).order_by("sku"):
            _move(line, {"reserved": F("reserved") - line.quantity, "on_hand": F("on_hand") + line.quantity})
        reservation.state = ReservationState.RELEASED
        reservation.released_at = now
        reservation.save(using=_database(), update_fields=("state", "released_at"))
    return reservation


def ship(*, key: str) -> Reservation:
    """Move what was reserved under the key to shipped.

    Returns: the shipped reservation; a repeat gets the same.
    Raises: ReservationNotFound, ReservationReleased.
    Locks: the reservation, then stock rows in SKU order.
    Tx: opens one, or joins the caller's.
    """
    with transaction.atomic(using=_database()):
        reservation = Reservation.objects.using(_database()).select_for_update().filter(key=key).first()
        if reservation is None:
            raise ReservationNotFound(key)
        if reservation.state == ReservationState.SHIPPED:
            return reservation
        if reservation.state == ReservationState.RELEASED:
            raise ReservationReleased(key)
        for line in reservation.lines.using(_database()).order_by("sku"):
            _move(line, {"reserved": F("reserved") - line.quantity, "shipped": F("shipped") + line.quantity})
        reservation.state = ReservationState.SHIPPED
        reservation.shipped_at = timezone.now()
        reservation.save(using=_database(), update_fields=("state", "shipped_at"))
    return reservation


def receive_stock(sku: str, quantity: int) -> StockItem:
    """Take units in; the only service that makes stock grow. Not idempotent: two calls are two deliveries.

    Locks: the stock row.
    Tx: opens one, or joins the caller's.
    """
    line = Line(sku=sku, quantity=quantity)
    with transaction.atomic(using=_database()):
        ensure_stock(line.sku, 0)
        _items().filter(sku=line.sku).update(
            on_hand=F("on_hand") + line.quantity, received=F("received") + line.quantity
        )
        return _items().get(sku=line.sku)


def ensure_stock(sku: str, on_hand: int) -> StockItem:
    """Create the SKU with this many on hand, unless it is there already; an existing one is left as it is.

    Tx: opens one, or joins the caller's.
    """
    if not sku or on_hand < 0:
        raise ValueError("A stock item needs a SKU and an opening stock of at least 0.")
    _items().bulk_create([StockItem(sku=sku, on_hand=on_hand, received=on_hand)], ignore_conflicts=True)
    return _items().get(sku=sku)


def availability(skus: Iterable[str]) -> dict[str, int]:
    """Tell how many units of each SKU can be reserved now.

    Shape: every asked SKU is a key; an unknown one has 0.
    Locks: none, so the answer may be old when it arrives.
    """
    asked = list(dict.fromkeys(skus))
    known = StockItem.objects.filter(sku__in=asked).values_list("sku", "on_hand")
    return dict.fromkeys(asked, 0) | dict(known)


def _database() -> str:
    return router.db_for_write(Reservation)


def _items() -> QuerySet[StockItem]:
    return StockItem.objects.using(_database())


def _add_up(lines: Sequence[Line]) -> dict[str, int]:
    """Sum the quantities per SKU, in SKU order: the order in which stock rows are locked."""
    totals: dict[str, int] = {}
    for line in lines:
        totals[line.sku] = totals.get(line.sku, 0) + line.quantity
    return dict(sorted(totals.items()))


def _lock_or_create(key: str, **fields: object) -> tuple[Reservation, bool]:
    """Lock the row of the key, made first if there is none.

    Returns: the row, and whether this call made it. INSERT … ON CONFLICT DO NOTHING waits for a rival that holds the
    key and raises nothing, so the caller's transaction stays usable; whose row it is, its random id tells.
    """
    rows = Reservation.objects.using(_database())
    mine = Reservation(key=key, **fields)
    rows.bulk_create([mine], ignore_conflicts=True)
    row = rows.select_for_update().get(key=key)
    return row, row.pk == mine.pk


def _answer_repeat(reservation: Reservation, order_number: str, quantities: Mapping[str, int]) -> Reservation:
    if reservation.state == ReservationState.RELEASED:
        raise Fenced(
            f"Reservation {reservation.key} was released before; nothing was reserved. "
            f"The saga is compensating, no action is needed."
        )
    first = dict(reservation.lines.using(_database()).values_list("sku", "quantity"))
    if reservation.order_number != order_number or first != quantities:
        raise ReservationKeyReused(reservation.key)
    return reservation


def _take_from_hand(key: str, quantities: Mapping[str, int]) -> None:
    """Reserve each SKU by a conditional UPDATE; raise with every SKU that falls short.

    The units taken before a shortage shows are given back by the rollback that the exception causes.
    """
    short = [
        sku
        for sku, quantity in quantities.items()
        if not _items()
        .filter(sku=sku, on_hand__gte=quantity)
        .update(on_hand=F("on_hand") - quantity, reserved=F("reserved") + quantity)
    ]
    if short:
        available = dict(_items().filter(sku__in=short).values_list("sku", "on_hand"))
        raise OutOfStock(
            key=key,
            shortages=[Shortage(sku=sku, asked=quantities[sku], available=available.get(sku, 0)) for sku in short],
        )


def _move(line: ReservationLine, changes: Mapping[str, object]) -> None:
    """Change the stock row of a line; the CHECKs refuse what does not add up."""
    _items().filter(sku=line.sku).update(**changes)
