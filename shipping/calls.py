"""Calls to the carrier that choreographed orders ask for, and what follows their ends.

A handler writes an intent; a worker performs it. What follows runs in the transaction that records the end.
"""

from dataclasses import dataclass
from typing import Any

from django.db import router
from django.utils import timezone

from sagas import Misconfigured, RetryLater, StepContext
from sagas.events import publish
from sagas.intents import Ended, Intent

from . import services
from .events import ShipmentBooked, ShipmentQuoted, ShipmentRefused
from .exceptions import AddressNotServed, CarrierAnswerLost, CarrierUnavailable, ShipmentKeyReused, translate_carrier
from .models import OrderShipment, OrderShipmentState


@dataclass(frozen=True, kw_only=True)
class OrderReference:
    """The input of both calls; everything else is read from the order's row."""

    order_number: str
    """The order's number."""


def request_quote(shipment: OrderShipment) -> None:
    """Ask whether the carrier would deliver the order, and for how much.

    Tx: must be inside one of shipping's database.
    """
    QUOTE.request(shipment.order_number, OrderReference(order_number=shipment.order_number))
    move(shipment, OrderShipmentState.QUOTING)


def request_booking(shipment: OrderShipment) -> None:
    """Ask for the order's parcel to be booked.

    Tx: must be inside one of shipping's database.
    """
    BOOK.request(shipment.order_number, OrderReference(order_number=shipment.order_number))
    move(shipment, OrderShipmentState.BOOKING)


def lock(order_number: str) -> OrderShipment | None:
    """Lock the shipment of an order; None when nothing was heard of the order.

    Tx: must be inside one.
    """
    rows = OrderShipment.objects.using(_database()).select_for_update()
    return rows.filter(order_number=order_number).first()


def move(shipment: OrderShipment, state: OrderShipmentState) -> None:
    """Save the shipment in a state."""
    shipment.state, shipment.changed_at = state, timezone.now()
    shipment.save(using=_database())


def _quote(step: StepContext[OrderReference]) -> dict[str, Any]:
    """Shape: ``{"amount_minor", "currency", "transit_days"}``."""
    address = _read_address(step.input.order_number)
    try:
        quote = services.quote(postal_code=address.postal_code, country=address.country)
    except (CarrierUnavailable, CarrierAnswerLost) as error:  # a quote changes nothing, so a lost one is none
        raise RetryLater(str(error)) from error
    return {"amount_minor": quote.amount_minor, "currency": quote.currency, "transit_days": quote.transit_days}


def _book(step: StepContext[OrderReference]) -> dict[str, Any]:
    """Shape: ``{"reference": the carrier's own name for it}``."""
    number = step.input.order_number
    try:
        with translate_carrier():
            shipment = services.book(key=step.key, order_number=number, address=_read_address(number))
    except ShipmentKeyReused as error:
        raise Misconfigured(str(error)) from error
    return {"reference": shipment.carrier_reference}


def _end_quote(ended: Ended) -> None:
    """Publish the quote, or that the order was cancelled meanwhile."""
    shipment = _require(ended)
    if shipment.is_cancelled and not ended.is_late:
        _refuse(shipment, "cancelled")
        return
    if not ended.is_late:
        move(shipment, OrderShipmentState.QUOTED)
    publish(ShipmentQuoted(order_id=ended.key, **ended.result))


def _fail_quote(ended: Ended) -> None:
    """Report that the carrier does not deliver the order."""
    is_spent = not ended.error_class and not ended.is_assumed
    shipment = _require(ended)
    _refuse(shipment, "cancelled" if shipment.is_cancelled else "unavailable" if is_spent else "not_served")


def _end_booking(ended: Ended) -> None:
    """Report that the parcel is booked."""
    move(_require(ended), OrderShipmentState.BOOKED)
    publish(ShipmentBooked(order_id=ended.key, reference=str(ended.result.get("reference", ""))))


def _refuse(shipment: OrderShipment, reason: str) -> None:
    move(shipment, OrderShipmentState.REFUSED)
    publish(ShipmentRefused(order_id=shipment.order_number, reason=reason))


def _read_address(order_number: str) -> services.Address:
    row = OrderShipment.objects.using(_database()).get(order_number=order_number)
    return services.Address(**row.address)


def _require(ended: Ended) -> OrderShipment:
    shipment = lock(ended.key)
    if shipment is None:
        raise Misconfigured(f"Shipping has no row of order {ended.key}, whose intent {ended.id} ended. Restore it.")
    return shipment


def _database() -> str:
    return router.db_for_write(OrderShipment)


QUOTE = Intent(
    "quote",
    call=_quote,
    participant="shipping",
    input=OrderReference,
    on_success=_end_quote,
    on_refusal=_fail_quote,
    refuses_on=[AddressNotServed],
    refusal_settles=True,
)
# The order is confirmed: a refusal is held for an operator.
BOOK = Intent(
    "book",
    call=_book,
    participant="shipping",
    input=OrderReference,
    on_success=_end_booking,
    refuses_on=[AddressNotServed],
)
