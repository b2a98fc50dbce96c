"""Services that book and cancel shipments.

Each service is idempotent, safe to call concurrently, and works in any order under one step key. The intent is
committed, then the carrier is called without an open transaction, then the answer is committed. So a repeat after an
answer makes no call, and a repeat after a lost answer asks the carrier again under the same key. A cancel that comes
before its book leaves a tombstone here and closes the key at the carrier.

``key`` is always the step key of the booking; ``provider_key`` is the idempotency key of this request.
"""

from collections.abc import Callable
from dataclasses import asdict

from sagas import Fenced

from . import intents
from .carriers import get_carrier
from .carriers.base import Address, Answer, Carrier, Quote, Refused
from .exceptions import AddressNotServed, CarrierKeyClosed, CarrierUnavailable, ShipmentKeyReused
from .models import Shipment, ShipmentOperation
from .states import OperationKind, OperationState, ShipmentState

__all__ = ["Address", "Quote", "book", "cancel", "quote"]

_CANCEL_STATES = (ShipmentState.CANCELLING, ShipmentState.CANCELLED)


def quote(*, postal_code: str, country: str) -> Quote:
    """Return the carrier's price of a delivery; changes nothing.

    Raises: AddressNotServed, CarrierUnavailable, CarrierAnswerLost.
    Tx: must not be inside one.
    """
    answer = get_carrier().quote(postal_code=postal_code, country=country)
    if isinstance(answer, Refused):
        raise AddressNotServed(postal_code=postal_code, country=country)
    return answer


def book(*, key: str, order_number: str, address: Address) -> Shipment:
    """Book the delivery of an order.

    Returns: the shipment; a repeat gets the first one.
    Raises: AddressNotServed, Fenced (a cancel came first), CarrierUnavailable (nothing happened), CarrierAnswerLost
        (call again), ShipmentKeyReused.
    Locks: the shipment.
    Tx: must not be inside one.
    """
    if not key or not order_number:
        raise ValueError("A shipment needs a key and an order number.")
    with intents.open_transaction():
        shipment = intents.lock_or_create(
            key, state=ShipmentState.BOOKING, order_number=order_number, **asdict(address)
        )
        _require_not_cancelled(shipment)
        if shipment.order_number != order_number or shipment.address != address:
            raise ShipmentKeyReused(key)
        known = intents.find_operation(shipment, kind=OperationKind.BOOK, provider_key=key)
        if known is not None and known.state != OperationState.OPEN:
            return _answer(known)
        operation = intents.begin(shipment, kind=OperationKind.BOOK, provider_key=key, known=known)
    try:
        answer = _ask(operation, lambda carrier: carrier.book(key=key, order_number=order_number, address=address))
    except CarrierKeyClosed as error:
        raise _fence(key) from error
    operation = intents.record(operation, answer)
    _require_not_cancelled(operation.shipment)
    return _answer(operation)


def cancel(*, key: str, provider_key: str) -> Shipment:
    """Cancel the booking, and ensure that nothing is booked under the key later.

    Returns: the cancelled shipment; a tombstone if there was no shipment; a refused one unchanged.
    Raises: CarrierUnavailable (nothing happened), CarrierAnswerLost (call again), ShipmentKeyReused.
    Locks: the shipment.
    Tx: must not be inside one.
    """
    if not key or not provider_key:
        raise ValueError("A cancel needs the key of its shipment and a key of its own.")
    with intents.open_transaction():
        shipment = intents.lock_or_create(key, state=ShipmentState.CANCELLING)
        known = intents.find_operation(shipment, kind=OperationKind.CANCEL, provider_key=provider_key)
        if shipment.state == ShipmentState.REFUSED or (known is not None and known.state != OperationState.OPEN):
            return shipment
        operation = intents.begin(shipment, kind=OperationKind.CANCEL, provider_key=provider_key, known=known)
    answer = _ask(operation, lambda carrier: carrier.cancel(key=provider_key, booking_key=key))
    return intents.record(operation, answer).shipment


def _ask(operation: ShipmentOperation, call: Callable[[Carrier], Answer]) -> Answer:
    """Call the carrier; if the call certainly did nothing, record that before raising."""
    try:
        return call(get_carrier())
    except (CarrierUnavailable, CarrierKeyClosed):
        intents.withdraw(operation)
        raise


def _answer(operation: ShipmentOperation) -> Shipment:
    """Return or raise the stored answer, which is the carrier's first."""
    shipment = operation.shipment
    if operation.state == OperationState.REFUSED:
        raise AddressNotServed(postal_code=shipment.postal_code, country=shipment.country, key=shipment.key)
    return shipment


def _require_not_cancelled(shipment: Shipment) -> None:
    if shipment.state in _CANCEL_STATES:
        raise _fence(shipment.key)


def _fence(key: str) -> Fenced:
    return Fenced(f"Shipment {key} was cancelled; nothing is booked. The saga is compensating, no action is needed.")
