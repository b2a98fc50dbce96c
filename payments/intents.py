"""Records of requests to the provider, written before each call, and of its answers.

The only writer of payment and operation rows. An operation without an answer may have happened. Lock order: the payment
row, then its operations.
"""

from contextlib import AbstractContextManager

from django.db import router, transaction
from django.db.models import F, QuerySet, Sum
from django.utils import timezone

from .exceptions import PaymentKeyReused, PaymentNotFound
from .gateways.base import Answer, Declined
from .models import Payment, PaymentOperation
from .states import (
    MOVES_ON_ASKING,
    MOVES_ON_DECLINE,
    MOVES_ON_SUCCESS,
    MOVES_ON_WITHDRAWAL,
    Moves,
    OperationKind,
    OperationState,
    PaymentState,
)


def open_transaction() -> AbstractContextManager[None]:
    """Open a transaction that really commits at its end.

    Tx: must not be inside one; then raises RuntimeError, because the intent would not be committed before the call.
    """
    return transaction.atomic(using=_database(), durable=True)


def find(key: str) -> Payment | None:
    """Return the payment with this key, without a lock; None if there is none."""
    return _payments().filter(key=key).first()


def read(key: str) -> Payment:
    """Return the payment with this key, without a lock.

    Raises: PaymentNotFound.
    """
    return _require(find(key), key)


def lock(key: str) -> Payment:
    """Lock the payment with this key.

    Raises: PaymentNotFound.
    Tx: must be inside one.
    """
    return _require(_payments().select_for_update().filter(key=key).first(), key)


def lock_or_create(key: str, **fields: object) -> Payment:
    """Lock the payment with this key, created if missing; wait for a concurrent transaction that has the key.

    Tx: must be inside one.
    """
    _payments().bulk_create([Payment(key=key, **fields)], ignore_conflicts=True)
    return lock(key)


def find_operation(
    payment: Payment, *, kind: OperationKind, provider_key: str | None = None
) -> PaymentOperation | None:
    """Return the earlier operation under this provider key, or the only one of its kind.

    Raises: PaymentKeyReused if the provider key was used for another operation.
    """
    if provider_key is None:
        operation = _operations().filter(payment=payment, kind=kind).first()
    else:
        operation = _operations().filter(provider_key=provider_key).first()
    if operation is None:
        return None
    if operation.payment_id != payment.pk or operation.kind != kind:
        raise PaymentKeyReused(operation.provider_key)
    operation.payment = payment
    return operation


def list_open(payment: Payment) -> list[PaymentOperation]:
    """Return the operations without an answer, oldest first."""
    return list(_operations().filter(payment=payment, state=OperationState.OPEN).select_related("payment"))


def sum_refunds(payment: Payment) -> int:
    """Return the sum of all refunds that were, or may have been, given.

    Units: the currency's smallest unit.
    """
    refunds = _operations().filter(payment=payment, kind=OperationKind.REFUND).exclude(state=OperationState.DECLINED)
    return int(refunds.aggregate(total=Sum("amount_minor", default=0))["total"])


def begin(
    payment: Payment, *, kind: OperationKind, provider_key: str, amount_minor: int = 0, known: PaymentOperation | None
) -> PaymentOperation:
    """Record the intent to call the provider, for the first time or again under the known key.

    Tx: must be inside one that commits before the call, with the payment locked.
    """
    operation = known or _operations().create(
        payment=payment, kind=kind, provider_key=provider_key, amount_minor=amount_minor
    )
    _operations().filter(pk=operation.pk).update(calls=F("calls") + 1, unanswered=F("unanswered") + 1)
    _move(payment, MOVES_ON_ASKING[kind])
    return operation


def withdraw(operation: PaymentOperation) -> None:
    """Record that one call certainly did nothing.

    Locks: the payment.
    Tx: opens one, must not be inside one.
    """
    with open_transaction():
        payment = lock(operation.payment.key)
        still_open = _operations().filter(pk=operation.pk, state=OperationState.OPEN)
        still_open.update(unanswered=F("unanswered") - 1)
        if still_open.filter(unanswered=0).exists():
            _move(payment, MOVES_ON_WITHDRAWAL[OperationKind(operation.kind)])


def record(operation: PaymentOperation, answer: Answer) -> PaymentOperation:
    """Record the provider's answer, unless there is one already: a definite answer is written once.

    Returns: the current operation and its payment.
    Locks: the payment.
    Tx: opens one, must not be inside one.
    """
    with open_transaction():
        payment = lock(operation.payment.key)
        current = _operations().get(pk=operation.pk)
        current.payment = payment
        if current.state == OperationState.OPEN:
            _store(current, answer)
            _apply(current, answer)
    return current


def _database() -> str:
    return router.db_for_write(Payment)


def _require(payment: Payment | None, key: str) -> Payment:
    if payment is None:
        raise PaymentNotFound(key)
    return payment


def _payments() -> QuerySet[Payment]:
    return Payment.objects.using(_database())


def _operations() -> QuerySet[PaymentOperation]:
    return PaymentOperation.objects.using(_database())


def _store(operation: PaymentOperation, answer: Answer) -> None:
    if isinstance(answer, Declined):
        operation.state, operation.code = OperationState.DECLINED, answer.code
    else:
        operation.state, operation.reference = OperationState.SUCCEEDED, answer.reference
    operation.unanswered = 0
    operation.finished_at = timezone.now()
    operation.save(using=_database(), update_fields=("state", "code", "reference", "unanswered", "finished_at"))


def _apply(operation: PaymentOperation, answer: Answer) -> None:
    """Apply an answer to the payment; a late answer changes no state."""
    payment, kind = operation.payment, OperationKind(operation.kind)
    if isinstance(answer, Declined):
        _move(payment, MOVES_ON_DECLINE[kind])
        return
    if kind == OperationKind.AUTHORIZE:
        payment.authorization_reference = answer.reference
    moves = MOVES_ON_SUCCESS[kind]
    if kind == OperationKind.REFUND:
        payment.refunded_minor += operation.amount_minor
        is_all_back = payment.refunded_minor == payment.amount_minor
        moves = {PaymentState.CAPTURED: PaymentState.REFUNDED} if is_all_back else moves
    _move(payment, moves)


def _move(payment: Payment, moves: Moves) -> None:
    """Change the state of the locked payment by the table, and save its changed fields."""
    state = PaymentState(payment.state)
    payment.state = moves.get(state, state)
    payment.changed_at = timezone.now()
    payment.save(
        using=_database(),
        update_fields=("state", "changed_at", "authorization_reference", "refunded_minor"),
    )
