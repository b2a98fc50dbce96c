"""Records of requests to the carrier, written before each call, and of its answers.

The only writer of shipment and operation rows. An operation without an answer may have happened. Lock order: the
shipment row, then its operations.
"""

from contextlib import AbstractContextManager

from django.db import router, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from .carriers.base import Answer, Refused
from .exceptions import ShipmentKeyReused
from .models import Shipment, ShipmentOperation
from .states import (
    MOVES_ON_ASKING,
    MOVES_ON_REFUSAL,
    MOVES_ON_SUCCESS,
    MOVES_ON_WITHDRAWAL,
    Moves,
    OperationKind,
    OperationState,
    ShipmentState,
)


def open_transaction() -> AbstractContextManager[None]:
    """Open a transaction that really commits at its end.

    Tx: must not be inside one; then raises RuntimeError, because the intent would not be committed before the call.
    """
    return transaction.atomic(using=_database(), durable=True)


def lock(key: str) -> Shipment:
    """Lock the existing shipment with this key.

    Tx: must be inside one.
    """
    return _shipments().select_for_update().get(key=key)


def lock_or_create(key: str, **fields: object) -> Shipment:
    """Lock the shipment with this key, created if missing; wait for a concurrent transaction that has the key.

    Tx: must be inside one.
    """
    _shipments().bulk_create([Shipment(key=key, **fields)], ignore_conflicts=True)
    return lock(key)


def find_operation(shipment: Shipment, *, kind: OperationKind, provider_key: str) -> ShipmentOperation | None:
    """Return the earlier operation under this provider key.

    Raises: ShipmentKeyReused if the key was used for another operation.
    """
    operation = _operations().filter(provider_key=provider_key).first()
    if operation is None:
        return None
    if operation.shipment_id != shipment.pk or operation.kind != kind:
        raise ShipmentKeyReused(provider_key)
    operation.shipment = shipment
    return operation


def begin(
    shipment: Shipment, *, kind: OperationKind, provider_key: str, known: ShipmentOperation | None
) -> ShipmentOperation:
    """Record the intent to call the carrier, for the first time or again.

    Tx: must be inside one that commits before the call, with the shipment locked.
    """
    operation = known or _operations().create(shipment=shipment, kind=kind, provider_key=provider_key)
    _operations().filter(pk=operation.pk).update(calls=F("calls") + 1, unanswered=F("unanswered") + 1)
    _move(shipment, MOVES_ON_ASKING[kind])
    return operation


def withdraw(operation: ShipmentOperation) -> None:
    """Record that one call certainly did nothing.

    Locks: the shipment.
    Tx: opens one, must not be inside one.
    """
    with open_transaction():
        shipment = lock(operation.shipment.key)
        still_open = _operations().filter(pk=operation.pk, state=OperationState.OPEN)
        still_open.update(unanswered=F("unanswered") - 1)
        if still_open.filter(unanswered=0).exists():
            _move(shipment, MOVES_ON_WITHDRAWAL[OperationKind(operation.kind)])


def record(operation: ShipmentOperation, answer: Answer) -> ShipmentOperation:
    """Record the carrier's answer, unless there is one already: a definite answer is written once.

    Returns: the current operation and its shipment.
    Locks: the shipment.
    Tx: opens one, must not be inside one.
    """
    with open_transaction():
        shipment = lock(operation.shipment.key)
        current = _operations().get(pk=operation.pk)
        current.shipment = shipment
        if current.state == OperationState.OPEN:
            _store(current, answer)
            _apply(current, answer)
    return current


def _database() -> str:
    return router.db_for_write(Shipment)


def _shipments() -> QuerySet[Shipment]:
    return Shipment.objects.using(_database())


def _operations() -> QuerySet[ShipmentOperation]:
    return ShipmentOperation.objects.using(_database())


def _store(operation: ShipmentOperation, answer: Answer) -> None:
    if isinstance(answer, Refused):
        operation.state, operation.code = OperationState.REFUSED, answer.code
    else:
        operation.state, operation.reference = OperationState.SUCCEEDED, answer.reference
    operation.unanswered = 0
    operation.finished_at = timezone.now()
    operation.save(using=_database(), update_fields=("state", "code", "reference", "unanswered", "finished_at"))


def _apply(operation: ShipmentOperation, answer: Answer) -> None:
    """Apply an answer to the shipment; a late answer changes no state."""
    shipment, kind = operation.shipment, OperationKind(operation.kind)
    if isinstance(answer, Refused):
        _move(shipment, MOVES_ON_REFUSAL[kind])
        return
    if kind == OperationKind.BOOK:
        shipment.carrier_reference = answer.reference
    _move(shipment, MOVES_ON_SUCCESS[kind])


def _move(shipment: Shipment, moves: Moves) -> None:
    """Change the state of the locked shipment by the table, and save its changed fields."""
    state = ShipmentState(shipment.state)
    shipment.state = moves.get(state, state)
    shipment.changed_at = timezone.now()
    shipment.save(using=_database(), update_fields=("state", "changed_at", "carrier_reference"))
