"""Carrier for development and tests: keeps a real ledger, misbehaves on request.

The postal code, in any country, selects its misbehaviour:

=========  ====================================================================
``00000``  not served: refused by quote and book
``00001``  booked, the first answer is lost, a repeat gets it
``00002``  booked, no answer ever; a cancel works
``00003``  the connection is refused at book, nothing happens
``00004``  booked; the first answer to its first cancel is lost, a repeat gets it
=========  ====================================================================

A lost answer raises at once, without a real time-out. A real carrier keeps its ledger elsewhere: if the shop's
transaction rolls back, the parcel stays booked. So this ledger is committed autonomously. Lock order: the booking row,
then its requests.
"""

from collections.abc import Callable
from dataclasses import asdict

from django.db import router
from django.db.models import QuerySet
from django.utils import timezone

from sagas.participants.autonomous_transaction import commit_autonomously
from shipping.exceptions import CarrierAnswerLost, CarrierKeyClosed, CarrierUnavailable, ShipmentKeyReused
from shipping.states import OperationKind

from .base import NOT_SERVED, Address, Answer, Done, Quote, Refused
from .ledger import BookingState, RequestOutcome, SandboxBooking, SandboxRequest

NOT_SERVED_CODES = frozenset({"00000"})
UNREACHABLE_CODES = frozenset({"00003"})
ALWAYS = float("inf")
# Number of first answers that are lost, by postal code and kind of request.
LOST_ANSWERS = {
    ("00001", OperationKind.BOOK): 1,
    ("00002", OperationKind.BOOK): ALWAYS,
    ("00004", OperationKind.CANCEL): 1,
}
FLAT_RATE = Quote(amount_minor=490, currency="EUR", transit_days=3)


class SandboxCarrier:
    """Simulated carrier."""

    def quote(self, *, postal_code: str, country: str) -> Quote | Refused:
        return Refused(code=NOT_SERVED) if postal_code in NOT_SERVED_CODES else FLAT_RATE

    def book(self, *, key: str, order_number: str, address: Address) -> Answer:
        if address.postal_code in UNREACHABLE_CODES:
            raise CarrierUnavailable(
                f"The sandbox carrier refused the connection for booking {key}; nothing happened, try again later.",
                key=key,
            )
        return _serve(lambda: _book(key, order_number, address))

    def cancel(self, *, key: str, booking_key: str) -> Answer:
        return _serve(lambda: _cancel(key, booking_key))


def _serve(work: Callable[[], SandboxRequest]) -> Answer:
    """Commit the changes of the ledger, then return the answer or lose it."""
    request = commit_autonomously(_database(), lambda: _count_call(work()))
    if _is_answer_lost(request):
        raise CarrierAnswerLost(
            f"The sandbox carrier's answer to {request.kind} {request.key} was lost; it may have happened, "
            f"ask again under the same key.",
            key=request.key,
        )
    if request.outcome == RequestOutcome.REFUSED:
        return Refused(code=request.code)
    return Done(reference=request.reference)


def _book(key: str, order_number: str, address: Address) -> SandboxRequest:
    code = NOT_SERVED if address.postal_code in NOT_SERVED_CODES else ""
    row = _lock_or_create(
        key,
        order_number=order_number,
        address=asdict(address),
        postal_code=address.postal_code,
        state=BookingState.REFUSED if code else BookingState.BOOKED,
    )
    if row.state == BookingState.CLOSED:
        raise CarrierKeyClosed(
            f"A cancel closed the key {key} before; nothing was booked. Use a new key for a new shipment.", key=key
        )
    if row.order_number != order_number or row.address != asdict(address):
        raise ShipmentKeyReused(key)
    return _find_repeat(row, OperationKind.BOOK, key) or _answer(row, OperationKind.BOOK, key, code=code)


def _cancel(key: str, booking_key: str) -> SandboxRequest:
    row = _lock_or_create(booking_key, state=BookingState.CLOSED)
    repeat = _find_repeat(row, OperationKind.CANCEL, key)
    if repeat is not None:
        return repeat
    if row.state == BookingState.BOOKED:
        row.state = BookingState.CANCELLED
        row.changed_at = timezone.now()
        row.save(using=_database(), update_fields=("state", "changed_at"))
    return _answer(row, OperationKind.CANCEL, key)


def _database() -> str:
    return router.db_for_write(SandboxBooking)


def _requests() -> QuerySet[SandboxRequest]:
    return SandboxRequest.objects.using(_database())


def _lock_or_create(key: str, **fields: object) -> SandboxBooking:
    """Lock the row with this key, created if missing; wait for a concurrent transaction that has the key."""
    rows = SandboxBooking.objects.using(_database())
    rows.bulk_create([SandboxBooking(key=key, **fields)], ignore_conflicts=True)
    return rows.select_for_update().get(key=key)


def _find_repeat(row: SandboxBooking, kind: OperationKind, key: str) -> SandboxRequest | None:
    """Return the first answer under the key.

    Raises: ShipmentKeyReused if the key was used with another request.
    """
    request = _requests().filter(key=key).first()
    if request is not None and (request.booking_id != row.pk or request.kind != kind):
        raise ShipmentKeyReused(key)
    return request


def _answer(row: SandboxBooking, kind: OperationKind, key: str, *, code: str = "") -> SandboxRequest:
    outcome = RequestOutcome.REFUSED if code else RequestOutcome.SUCCEEDED
    return _requests().create(booking=row, key=key, kind=kind, outcome=outcome, code=code)


def _count_call(request: SandboxRequest) -> SandboxRequest:
    """Count the call, under the lock of the booking."""
    request.calls += 1
    request.lost_answers += _is_answer_lost(request)
    request.last_called_at = timezone.now()
    request.save(using=_database(), update_fields=("calls", "lost_answers", "last_called_at"))
    return request


def _is_answer_lost(request: SandboxRequest) -> bool:
    return request.calls <= LOST_ANSWERS.get((request.booking.postal_code, OperationKind(request.kind)), 0)
