"""Services that change stock.

Each is idempotent, safe to call concurrently, and works in any order under one step key: a release that comes before
its reserve leaves a tombstone, and the reserve is fenced. A service opens its own transaction, or joins the caller's
if there is one. Services use nothing but the database.

Lock order: the reservation row by key, then stock rows by SKU.
"""

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
    """Requested quantity of one SKU."""

    sku: str
    """Stock keeping unit, as in the catalogue."""
    quantity: int
    """Number of units, at least 1."""

    def __post_init__(self) -> None:
        if not self.sku:
            raise ValueError("A line needs a SKU.")
        if isinstance(self.quantity, bool) or not isinstance(self.quantity, int) or self.quantity < 1:
            raise ValueError(f"Line {self.sku}: the quantity must be a whole number of at least 1.")


def reserve(*, key: str, order_number: str, lines: Sequence[Line]) -> Reservation:
    """Move the requested quantities from on hand to reserved, all or none.

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
    """Release the reservation under the key, and ensure that nothing is reserved under it later.

    Returns: the released reservation; a tombstone without lines if there was none.
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
    """Move the quantities reserved under the key to shipped.

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
    """Add received units; only this service increases stock. Not idempotent: two calls are two deliveries.

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
    """Create the SKU with this many units on hand, unless it exists; an existing one is not changed.

    Tx: opens one, or joins the caller's.
    """
    if not sku or on_hand < 0:
        raise ValueError("A stock item needs a SKU and an opening stock of at least 0.")
    _items().bulk_create([StockItem(sku=sku, on_hand=on_hand, received=on_hand)], ignore_conflicts=True)
    return _items().get(sku=sku)


def availability(skus: Iterable[str]) -> dict[str, int]:
    """Return how many units of each SKU can be reserved now.

    Shape: every requested SKU is a key; an unknown one has 0.
    Locks: none, so the numbers may already be outdated.
    """
    asked = list(dict.fromkeys(skus))
    known = StockItem.objects.filter(sku__in=asked).values_list("sku", "on_hand")
    return dict.fromkeys(asked, 0) | dict(known)


def _database() -> str:
    return router.db_for_write(Reservation)


def _items() -> QuerySet[StockItem]:
    return StockItem.objects.using(_database())


def _add_up(lines: Sequence[Line]) -> dict[str, int]:
    """Return the total quantity per SKU, in SKU order: the order in which stock rows are locked."""
    totals: dict[str, int] = {}
    for line in lines:
        totals[line.sku] = totals.get(line.sku, 0) + line.quantity
    return dict(sorted(totals.items()))


def _lock_or_create(key: str, **fields: object) -> tuple[Reservation, bool]:
    """Lock the row with this key, created if missing.

    Returns: the row, and whether this call created it, as its random id shows. INSERT … ON CONFLICT DO NOTHING waits
    for a concurrent transaction that has the key and raises nothing, so the caller's transaction stays usable.
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
    """Reserve each SKU by a conditional UPDATE; raise OutOfStock with every SKU whose stock is too low.

    The rollback that the exception causes returns the units taken before a shortage was found.
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
    """Change the stock row of a line; the CHECKs refuse inconsistent quantities."""
    _items().filter(sku=line.sku).update(**changes)
