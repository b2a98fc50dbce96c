"""Sagas in every state an operator can find them in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import count

from sagas import (
    Compensatable,
    InProgress,
    Misconfigured,
    OutcomeUnknown,
    Parallel,
    Pivot,
    Retriable,
    RetryLater,
    SagaDefinition,
    StepContext,
)
from sagas.core.definition import registry
from sagas.core.states import Direction
from sagas.engine import advance
from sagas.models import Saga
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.testing import drain, faults
from sagas.testing.drain import look, read

BACK = Direction.COMPENSATION
BOSS = Actor(name="boss", is_trusted=True)
REASON = "Because the test says so."


class SoldOut(Exception):
    """Refusal: no seat is left."""


class CardDeclined(Exception):
    """Refusal: insufficient funds."""


class TooLate(Exception):
    """Refusal: too late to undo, or to undo it again."""


@dataclass(frozen=True, kw_only=True)
class TripInput:
    """Order number."""

    order_number: str
    """Its number."""


def do(step: StepContext[TripInput]) -> dict[str, str]:
    """Shape: ``{"made": step name}``."""
    return {"made": step.step}


def undo(step: StepContext[TripInput]) -> None:
    """Undo nothing: the tests only read the engine's rows."""


class TripSaga(SagaDefinition):
    """Saga that books a journey."""

    book_hotel = Compensatable(do, undo, participant="inventory")
    book_flight = Compensatable(
        do, undo, participant="shipping", external=True, refuses_on=[SoldOut], compensation_refuses_on=[TooLate]
    )
    pay = Pivot(do, participant="payments", external=True, refuses_on=[CardDeclined])
    send_tickets = Retriable(do, refuses_on=[TooLate])

    class Meta:
        name = "trip"
        version = 3
        input = TripInput
        deadline = timedelta(hours=1)


class TourSaga(SagaDefinition):
    """Saga that books many things in parallel."""

    open_file = Compensatable(do, undo)
    bookings = Parallel(
        book_bus=Compensatable(do, undo), book_boat=Compensatable(do, undo, external=True, refuses_on=[SoldOut])
    )
    close_file = Compensatable(do, undo)

    class Meta:
        name = "tour"
        input = TripInput


_numbers = count(1)


def start(definition: type[SagaDefinition] = TripSaga, **keys: str) -> Saga:
    """Start a saga that no worker has claimed."""
    number = keys.get("order") or f"ORD-{next(_numbers):05}"
    return advance.start(definition, TripInput(order_number=number), business_keys={"order": number, **keys})


def make_refused(
    step: str,
    error: Exception,
    *,
    times: int = 1,
    direction: Direction = Direction.ACTION,
    patience: timedelta | None = None,
    definition: type[SagaDefinition] = TripSaga,
    **keys: str,
) -> Saga:
    """Return a saga in which a step raised an error.

    direction: of the step; a compensation follows a declined payment. patience: to drain the saga with; without it
    there is only one look.
    """
    saga = start(definition, **keys)
    with faults() as fault:
        if direction is BACK:
            fault.refuse("pay", CardDeclined("No money."))
        fault.refuse(step, error, direction=direction, times=times)
        if patience is None:
            look(saga.pk)
        else:
            drain(saga, patience=patience)
    return read(saga.pk)


def make_pending() -> Saga:
    """Return a saga that no worker has claimed."""
    return start()


def make_running() -> Saga:
    """Return a saga whose first step is in progress."""
    saga = start()
    with faults() as fault:
        fault.crash_before("book_hotel")
        look(saga.pk)
    return read(saga.pk)


def make_waiting_for_retry() -> Saga:
    """Return a saga whose first step failed and waits an hour."""
    return make_refused("book_hotel", RetryLater("The hotel does not answer.", after=3000))


def make_waiting_for_answer() -> Saga:
    """Return a saga whose flight search is in progress."""
    return make_refused("book_flight", InProgress("Still looking.", poll_after=3000))


def make_unknown() -> Saga:
    """Return a saga whose flight may have been booked and is asked for again."""
    saga = start()
    with faults() as fault:
        fault.lose_answer("book_flight")
        look(saga.pk)
    return read(saga.pk)


def make_held_unknown() -> Saga:
    """Return a saga whose payment may have happened and is not asked for again."""
    return make_refused("pay", OutcomeUnknown("The bank does not answer."), times=5, patience=timedelta(minutes=30))


def make_misconfigured() -> Saga:
    """Return a saga whose credentials are wrong."""
    return make_refused("book_flight", Misconfigured("The key of the airline is wrong."))


def make_paused() -> Saga:
    """Return a saga that an operator paused."""
    saga = start()
    operations.pause(saga.pk, actor=BOSS, reason=REASON)
    return read(saga.pk)


def make_definition_missing() -> Saga:
    """Return a saga whose definition was missing from the code when it was claimed."""
    saga = start()
    with registry.preserved():
        registry.forget("trip", 3)
        look(saga.pk)
    return read(saga.pk)


def make_contract_violation() -> Saga:
    """Return a saga whose last step refused although it must not."""
    return make_refused("send_tickets", TooLate("The printer is gone."))


def make_retries_exhausted() -> Saga:
    """Return a saga whose last step keeps failing, within its deadline."""
    return make_refused("send_tickets", RuntimeError("No paper."), times=99, patience=timedelta(minutes=3))


def make_overdue() -> Saga:
    """Return a saga whose payment is held beyond its deadline."""
    saga = start()
    Saga.objects.filter(pk=saga.pk).update(deadline_at=saga.created_at)
    with faults() as fault:
        fault.crash_before("book_hotel")
        Saga.objects.filter(pk=saga.pk).update(deadline_at=saga.created_at + timedelta(seconds=1))
        look(saga.pk)
    Saga.objects.filter(pk=saga.pk).update(deadline_at=saga.created_at)
    return read(saga.pk)


def make_compensating() -> Saga:
    """Return a saga that is compensating and waits to retry."""
    return make_refused("book_flight", RetryLater("Later.", after=3000), direction=BACK)


def make_compensation_failing() -> Saga:
    """Return a saga whose compensation has spent its budget."""
    return make_refused(
        "book_flight", RuntimeError("The airline is closed."), direction=BACK, times=10, patience=timedelta(minutes=30)
    )


def make_compensation_refused() -> Saga:
    """Return a saga whose compensation was refused."""
    return make_refused("book_flight", TooLate("The flight has left."), direction=BACK)


def make_completed() -> Saga:
    """Return a completed saga."""
    return drain(start())


def make_compensated() -> Saga:
    """Return a compensated saga."""
    saga = start()
    with faults() as fault:
        fault.refuse("book_flight", SoldOut("No seat."))
        drain(saga)
    return read(saga.pk)


def make_abandoned() -> Saga:
    """Return a saga that an operator abandoned."""
    saga = make_compensation_refused()
    operations.abandon(saga.pk, actor=BOSS, reason=REASON)
    return read(saga.pk)


MAKERS: Mapping[str, Callable[[], Saga]] = {
    "pending": make_pending,
    "running": make_running,
    "waiting_for_retry": make_waiting_for_retry,
    "waiting_for_answer": make_waiting_for_answer,
    "unknown": make_unknown,
    "held_unknown": make_held_unknown,
    "misconfigured": make_misconfigured,
    "paused": make_paused,
    "definition_missing": make_definition_missing,
    "contract_violation": make_contract_violation,
    "retries_exhausted": make_retries_exhausted,
    "overdue": make_overdue,
    "compensating": make_compensating,
    "compensation_failing": make_compensation_failing,
    "compensation_refused": make_compensation_refused,
    "completed": make_completed,
    "compensated": make_compensated,
    "abandoned": make_abandoned,
}
