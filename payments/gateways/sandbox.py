"""Payment provider for development and tests: keeps a real ledger, misbehaves on request.

The payment method selects its misbehaviour, like a provider's test cards:

==============================  =====================================================================
``pm_card_visa``                everything works
``pm_card_declined``            declined at the authorisation
``pm_card_capture_declined``    authorised, declined at the capture
``pm_card_timeout_once``        authorised, the first answer is lost, a repeat gets it
``pm_card_timeout``             authorised, no answer ever; a void works
``pm_card_capture_timeout_once``  captured, the first answer is lost, a repeat gets it
``pm_card_capture_timeout``     captured, no answer to the capture ever
``pm_card_unavailable``         the connection is refused, nothing happens
``pm_card_refund_fails``        voids and refunds fail until the failure is cleared
anything else                   declined as ``unknown_payment_method``
==============================  =====================================================================

A lost answer raises at once, without a real time-out. A real provider keeps its ledger elsewhere: if the merchant's
transaction rolls back, the money stays held. So this ledger is committed autonomously; otherwise a caller's rollback
would undo its rows, and every test of a lost answer would pass for the wrong reason. Lock order: the authorisation row,
then its operations.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.db import router
from django.db.models import QuerySet
from django.utils import timezone

from payments.exceptions import (
    GatewayAnswerLost,
    GatewayConflict,
    GatewayKeyClosed,
    GatewayUnavailable,
    PaymentKeyReused,
)
from payments.states import OperationKind
from sagas.participants.autonomous_transaction import commit_autonomously

from .base import Answer, Approved, Authorization, Declined
from .ledger import LedgerOutcome, LedgerState, SandboxAuthorization, SandboxOperation

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """Misbehaviour of one payment method."""

    declines: Mapping[OperationKind, str]
    """Operations that are declined, each with its code."""
    loses: Mapping[OperationKind, float]
    """Operations whose first answers are lost, each with their number."""
    is_unreachable: bool
    """Whether an authorise finds no connection."""
    is_failing: bool
    """Whether voids and refunds fail until the failure is cleared."""


def _behave(
    *,
    declines: Mapping[OperationKind, str] | None = None,
    loses: Mapping[OperationKind, float] | None = None,
    is_unreachable: bool = False,
    is_failing: bool = False,
) -> Behaviour:
    return Behaviour(declines=declines or {}, loses=loses or {}, is_unreachable=is_unreachable, is_failing=is_failing)


ALWAYS = float("inf")

BEHAVIOURS: Mapping[str, Behaviour] = {
    "pm_card_visa": _behave(),
    "pm_card_declined": _behave(declines={OperationKind.AUTHORIZE: "card_declined"}),
    "pm_card_capture_declined": _behave(declines={OperationKind.CAPTURE: "card_declined"}),
    "pm_card_timeout_once": _behave(loses={OperationKind.AUTHORIZE: 1}),
    "pm_card_timeout": _behave(loses={OperationKind.AUTHORIZE: ALWAYS}),
    "pm_card_capture_timeout_once": _behave(loses={OperationKind.CAPTURE: 1}),
    "pm_card_capture_timeout": _behave(loses={OperationKind.CAPTURE: ALWAYS}),
    "pm_card_unavailable": _behave(is_unreachable=True),
    "pm_card_refund_fails": _behave(is_failing=True),
}
UNKNOWN_METHOD = _behave(declines={OperationKind.AUTHORIZE: "unknown_payment_method"})
# An authorisation that was closed before use has no payment method, and nothing that can fail.
NO_METHOD = _behave()


class SandboxGateway:
    """Gateway to the simulated provider."""

    def authorize(self, authorization: Authorization) -> Answer:
        if _get_behaviour(authorization.payment_method).is_unreachable:
            raise GatewayUnavailable(
                f"The sandbox refused the connection for authorisation {authorization.key}; "
                f"nothing happened, try again later.",
                key=authorization.key,
            )
        return _serve(lambda: _authorize(authorization))

    def capture(self, *, key: str, authorization: Authorization) -> Answer:
        return _serve(lambda: _capture(key, authorization.key))

    def void(self, *, key: str, authorization: Authorization) -> Answer:
        return _serve(lambda: _void(key, authorization.key))

    def refund(self, *, key: str, authorization: Authorization, amount_minor: int) -> Answer:
        return _serve(lambda: _refund(key, authorization.key, amount_minor))

    def require_chargeable(self, *, amount_minor: int, currency: str) -> None:
        """Accept every amount in every currency."""

    def find(self, *, key: str, authorization: Authorization) -> Answer | None:
        operation = _operations().filter(key=key).first()
        return None if operation is None else _get_answer(operation)


def clear_failure(*, key: str) -> SandboxAuthorization:
    """Make voids and refunds of this authorisation work again; harmless if they already do.

    Raises: GatewayConflict if the ledger has no authorisation with this key.
    Locks: the authorisation row.
    Tx: opens one, separate from the caller's.
    """

    def clear() -> SandboxAuthorization:
        row = _lock(key)
        if row is None:
            raise GatewayConflict(
                f"The sandbox ledger has no authorisation with the key {key}; use the step key of the authorisation.",
                key=key,
                code="unknown_authorization",
            )
        if row.is_failing:
            row.is_failing = False
            row.failure_cleared_at = row.changed_at = timezone.now()
            row.save(using=_database(), update_fields=("is_failing", "failure_cleared_at", "changed_at"))
            logger.info("sandbox failure cleared", extra={"authorization_key": key})
        return row

    return commit_autonomously(_database(), clear)


def _serve(work: Callable[[], SandboxOperation]) -> Answer:
    """Commit the changes of the ledger, then return the answer or lose it."""
    operation = commit_autonomously(_database(), lambda: _count_call(work()))
    if _is_answer_lost(operation):
        raise GatewayAnswerLost(
            f"The sandbox's answer to {operation.kind} {operation.key} was lost; it may have happened, "
            f"ask again under the same key.",
            key=operation.key,
        )
    return _get_answer(operation)


def _authorize(authorization: Authorization) -> SandboxOperation:
    behaviour = _get_behaviour(authorization.payment_method)
    code = behaviour.declines.get(OperationKind.AUTHORIZE, "")
    row = _lock_or_create(
        authorization.key,
        order_number=authorization.order_number,
        amount_minor=authorization.amount_minor,
        currency=authorization.currency,
        payment_method=authorization.payment_method,
        state=LedgerState.DECLINED if code else LedgerState.HELD,
        is_failing=behaviour.is_failing,
    )
    if row.state == LedgerState.CLOSED:
        raise GatewayKeyClosed(
            f"A void closed the key {row.key} before; nothing was authorised. Use a new key for a new payment.",
            key=row.key,
        )
    if not _is_same_request(row, authorization):
        raise PaymentKeyReused(row.key)
    return _find_repeat(row, OperationKind.AUTHORIZE, row.key) or _answer(
        row, OperationKind.AUTHORIZE, row.key, amount_minor=row.amount_minor, code=code
    )


def _capture(key: str, authorization_key: str) -> SandboxOperation:
    row = _lock_known(authorization_key)
    repeat = _find_repeat(row, OperationKind.CAPTURE, key)
    if repeat is not None:
        return repeat
    if row.state != LedgerState.HELD:
        raise _refuse("capture", row)
    code = _get_behaviour(row.payment_method).declines.get(OperationKind.CAPTURE, "")
    if not code:
        _move(row, LedgerState.CAPTURED)
    return _answer(row, OperationKind.CAPTURE, key, amount_minor=row.amount_minor, code=code)


def _void(key: str, authorization_key: str) -> SandboxOperation:
    row = _lock_or_create(authorization_key, state=LedgerState.CLOSED)
    repeat = _find_repeat(row, OperationKind.VOID, key)
    if repeat is not None:
        return repeat
    if row.state == LedgerState.CAPTURED:
        raise _refuse("void", row)
    _require_no_failure("void", row)
    if row.state == LedgerState.HELD:
        _move(row, LedgerState.VOIDED)
    return _answer(row, OperationKind.VOID, key)


def _refund(key: str, authorization_key: str, amount_minor: int) -> SandboxOperation:
    row = _lock_known(authorization_key)
    repeat = _find_repeat(row, OperationKind.REFUND, key, amount_minor=amount_minor)
    if repeat is not None:
        return repeat
    if row.state != LedgerState.CAPTURED or not 0 < amount_minor <= row.amount_minor - row.refunded_minor:
        raise _refuse("refund", row)
    _require_no_failure("refund", row)
    row.refunded_minor += amount_minor
    _move(row, row.state)
    return _answer(row, OperationKind.REFUND, key, amount_minor=amount_minor)


def _database() -> str:
    return router.db_for_write(SandboxAuthorization)


def _operations() -> QuerySet[SandboxOperation]:
    return SandboxOperation.objects.using(_database())


def _get_behaviour(payment_method: str) -> Behaviour:
    if not payment_method:
        return NO_METHOD
    return BEHAVIOURS.get(payment_method, UNKNOWN_METHOD)


def _lock(key: str) -> SandboxAuthorization | None:
    return SandboxAuthorization.objects.using(_database()).select_for_update().filter(key=key).first()


def _lock_known(key: str) -> SandboxAuthorization:
    row = _lock(key)
    if row is None:
        raise GatewayConflict(
            f"The sandbox has no authorisation with the key {key}; nothing happened. Authorise first.",
            key=key,
            code="unknown_authorization",
        )
    return row


def _lock_or_create(key: str, **fields: object) -> SandboxAuthorization:
    """Lock the row with this key, created if missing; wait for a concurrent transaction that has the key."""
    rows = SandboxAuthorization.objects.using(_database())
    rows.bulk_create([SandboxAuthorization(key=key, **fields)], ignore_conflicts=True)
    return rows.select_for_update().get(key=key)


def _is_same_request(row: SandboxAuthorization, authorization: Authorization) -> bool:
    return (row.order_number, row.amount_minor, row.currency, row.payment_method) == (
        authorization.order_number,
        authorization.amount_minor,
        authorization.currency,
        authorization.payment_method,
    )


def _find_repeat(
    row: SandboxAuthorization, kind: OperationKind, key: str, *, amount_minor: int | None = None
) -> SandboxOperation | None:
    """Return the first answer under the key.

    Raises: PaymentKeyReused if the key was used with another request.
    """
    operation = _operations().filter(key=key).first()
    if operation is None:
        return None
    is_same = operation.authorization_id == row.pk and operation.kind == kind
    if not is_same or amount_minor not in (None, operation.amount_minor):
        raise PaymentKeyReused(key)
    return operation


def _refuse(asked: str, row: SandboxAuthorization) -> GatewayConflict:
    return GatewayConflict(
        f"The sandbox cannot {asked} authorisation {row.key}: it is {row.state}, {row.refunded} of it refunded; "
        f"nothing happened. Look at it in the ledger.",
        key=row.key,
        code=f"authorization_{row.state}",
    )


def _require_no_failure(asked: str, row: SandboxAuthorization) -> None:
    if row.is_failing:
        raise GatewayUnavailable(
            f"The sandbox fails every {asked} of authorisation {row.key}; nothing happened. "
            f"Clear the failure in the ledger or with manage.py sandbox_clear, then try again.",
            key=row.key,
        )


def _move(row: SandboxAuthorization, state: str) -> None:
    row.state = state
    row.changed_at = timezone.now()
    row.save(using=_database(), update_fields=("state", "refunded_minor", "changed_at"))


def _answer(
    row: SandboxAuthorization, kind: OperationKind, key: str, *, amount_minor: int = 0, code: str = ""
) -> SandboxOperation:
    outcome = LedgerOutcome.DECLINED if code else LedgerOutcome.SUCCEEDED
    return _operations().create(
        authorization=row, key=key, kind=kind, amount_minor=amount_minor, outcome=outcome, code=code
    )


def _count_call(operation: SandboxOperation) -> SandboxOperation:
    """Count the call, under the lock of the authorization."""
    operation.calls += 1
    operation.lost_answers += _is_answer_lost(operation)
    operation.last_called_at = timezone.now()
    operation.save(using=_database(), update_fields=("calls", "lost_answers", "last_called_at"))
    return operation


def _is_answer_lost(operation: SandboxOperation) -> bool:
    loses = _get_behaviour(operation.authorization.payment_method).loses
    return operation.calls <= loses.get(OperationKind(operation.kind), 0)


def _get_answer(operation: SandboxOperation) -> Answer:
    if operation.outcome == LedgerOutcome.DECLINED:
        return Declined(code=operation.code)
    return Approved(reference=operation.reference)
