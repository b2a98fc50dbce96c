"""Situations in which an operator acts: waiting, held, compensating, or with a live attempt."""

from contextlib import suppress
from typing import Any, Protocol
from uuid import UUID

from inventory.exceptions import ReservationStateConflict
from payments import services as payments
from payments.exceptions import PaymentStateConflict
from sagas import OutcomeUnknown
from sagas.core.definition.context import step_key
from sagas.core.states import Direction
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.operators.operations import Operation, OperationResult
from sagas.testing import SimulatedCrash, faults
from sagas.testing.drain import pass_time, read

from .shop import Shopper, advance, finish

OPERATOR = Actor(name="operator", is_trusted=True)
REASON = "Looked it up at the provider."


MANY = 1_000
"""More attempts than any budget has."""


class Subject(Protocol):
    """Owner of the saga that is operated on."""

    @property
    def saga_id(self) -> UUID | None:
        """Return the id of the saga."""


def act(shopper: Subject, operation: Operation, **arguments: Any) -> OperationResult:
    """Perform an operation."""
    assert shopper.saga_id is not None
    return operations.perform_operation(operation, shopper.saga_id, actor=OPERATOR, reason=REASON, **arguments)


def wait(shopper: Shopper) -> None:
    """Advance as far as possible now."""
    advance(shopper.saga_id)


def wait_at_the_payment(shopper: Shopper) -> None:
    """Advance until the gateway is unreachable: nothing happened there, and it is retried later."""
    advance(shopper.saga_id)


def lose_the_payment(shopper: Shopper) -> None:
    """Leave the authorisation's outcome unknown although it never happened."""
    with faults() as planted:
        planted.refuse("authorize_payment", OutcomeUnknown("The line went dead."))
        advance(shopper.saga_id)


def hold_the_capture(shopper: Shopper) -> None:
    """Spend the pivot's attempts on lost answers although it never happened, so that it is held."""
    with faults() as planted:
        planted.refuse("capture_payment", OutcomeUnknown("The line went dead."), times=MANY)
        finish(shopper.saga_id)


def lose_the_worker_of_the_payment(shopper: Shopper) -> None:
    """Leave a live attempt behind: the money is held, and the worker is dead."""
    with faults() as planted:
        planted.crash_after("authorize_payment")
        with suppress(SimulatedCrash):
            advance(shopper.saga_id)


def lose_the_void(shopper: Shopper, times: int = 1) -> None:
    """Compensate, and lose the answers of the void."""
    with faults() as planted:
        error = OutcomeUnknown("The line went dead.")
        planted.refuse("authorize_payment", error, direction=Direction.COMPENSATION, times=times)
        (finish if times == MANY else advance)(shopper.saga_id)


def hold_the_void(shopper: Shopper) -> None:
    """Compensate, and let the compensation of the payment be refused."""
    key = step_key(str(shopper.saga_id), "authorize_payment")
    with faults() as planted:
        conflict = PaymentStateConflict(asked="void", key=key, state="captured", advice="Ask the provider.")
        planted.refuse("authorize_payment", conflict, direction=Direction.COMPENSATION)
        finish(shopper.saga_id)


def release_by_hand(shopper: Shopper) -> None:
    """Release the money at the provider."""
    key = step_key(str(shopper.saga_id), "authorize_payment")
    payments.void(key=key, provider_key=f"{key}:by-hand")


def refuse_the_void(shopper: Shopper) -> None:
    """Let the compensation of the payment be refused, and release the money by hand."""
    hold_the_void(shopper)
    release_by_hand(shopper)


def fail_to_void(shopper: Shopper) -> None:
    """Spend all attempts of the compensation, and release the money by hand."""
    lose_the_void(shopper, MANY)
    release_by_hand(shopper)


def break_the_contract(shopper: Shopper) -> None:
    """Let a step after the pivot be refused, against its contract."""
    key = step_key(str(shopper.saga_id), "ship_stock")
    with faults() as planted:
        planted.refuse("ship_stock", ReservationStateConflict("It is gone.", key=key))
        finish(shopper.saga_id)


def pause(shopper: Shopper) -> None:
    """Pause the saga before its first step."""
    act(shopper, Operation.PAUSE)


def resume(shopper: Shopper) -> None:
    """Resume the saga."""
    act(shopper, Operation.RESUME)


def wait_until_due(shopper: Shopper) -> None:
    """Let time pass until the saga is due."""
    assert shopper.saga_id is not None
    pass_time(until_due=read(shopper.saga_id))


def pause_beside_a_live_attempt(shopper: Shopper) -> None:
    """Pause during a live attempt whose worker is lost, and wait until that is known."""
    lose_the_worker_of_the_payment(shopper)
    pause(shopper)
    wait_until_due(shopper)
    wait(shopper)


def pause_on_the_way_back(shopper: Shopper) -> None:
    """Pause between two attempts of a compensation."""
    lose_the_void(shopper)
    pause(shopper)
