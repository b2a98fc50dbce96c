"""The path of every operator action: done once or not at all, and a repeat makes it done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from payments import services as payments
from payments.exceptions import PaymentStateConflict
from sagas import OperationRefused, OutcomeUnknown, operations
from sagas.actors import Actor
from sagas.context import step_key
from sagas.operations import Operation, OperationResult
from sagas.states import Direction
from sagas.testing import faults

from .checkouts import CANCELLED, CANCELLED_WORLD, DECLINED, NOT_SERVED
from .enumeration import Path
from .shop import (
    COMPLETED,
    ON_HAND,
    QUANTITY,
    UNTOUCHED,
    Shopper,
    World,
    advance,
    fetch,
    find_problems,
    finish,
    make_shopper,
)

OPERATOR = Actor(name="operator", is_trusted=True)
REASON = "Looked it up at the provider."


@dataclass(kw_only=True)
class Case:
    """Hold a saga that somebody is about to act on."""

    shopper: Shopper
    revision: int
    """Of the saga, before the action."""
    history: int
    """Number of its last history row, before the action."""


def make_path(
    operation: Operation,
    *worlds: World,
    before: Callable[[Shopper], object],
    shopper: Callable[[], Shopper] = make_shopper,
    then: Callable[[Shopper], object] = lambda _shopper: None,
    **arguments: Any,
) -> Path[Case]:
    """Describe one action. ``before``: brings the saga to where it is allowed. ``then``: what people do after it."""

    def prepare() -> Case:
        placed = shopper().place()
        before(placed)
        revision, history = read_marks(placed)
        return Case(shopper=placed, revision=revision, history=history)

    def recover(case: Case) -> None:
        assert_done_whole_or_not_at_all(case, operation)
        refusal = ""
        try:
            act(case.shopper, operation, **arguments)
        except OperationRefused as refused:
            refusal = str(refused)
        assert not refusal or count_acts(case.shopper, operation) == 1, f"refused, and not done: {refusal}"
        then(case.shopper)
        finish(case.shopper.saga_id)

    return Path(
        name=f"operator: {operation.value}",
        prepare=prepare,
        run=lambda case: act(case.shopper, operation, **arguments),
        recover=recover,
        judge=lambda case: find_problems(case.shopper, *worlds),
        least=6,
    )


def act(shopper: Shopper, operation: Operation, **arguments: Any) -> OperationResult:
    """Do something to the saga, as a person does."""
    assert shopper.saga_id is not None
    return operations.perform_operation(operation, shopper.saga_id, actor=OPERATOR, reason=REASON, **arguments)


def read_marks(shopper: Shopper) -> tuple[int, int]:
    """Return revision and history number of the saga."""
    statement = "SELECT revision, history_count FROM sagas_saga WHERE id = %s"
    ((revision, history),) = fetch("default", statement, shopper.saga_id)
    return revision, history


def count_acts(shopper: Shopper, operation: Operation) -> int:
    """Count how often the history tells of the action."""
    statement = (
        "SELECT count(*) FROM sagas_sagahistory WHERE saga_id = %s AND what = 'operator_acted' AND to_state = %s"
    )
    ((count,),) = fetch("default", statement, shopper.saga_id, operation.value)
    return int(count)


def assert_done_whole_or_not_at_all(case: Case, operation: Operation) -> None:
    """Check that what is on disk after a death is the decision with its history, or nothing of either."""
    is_done = count_acts(case.shopper, operation) > 0
    revision, history = read_marks(case.shopper)
    assert is_done == (revision > case.revision) == (history > case.history), (
        f"{operation.value} is half done: revision {case.revision} > {revision}, history {case.history} > {history}"
    )


def wait_at_the_payment(shopper: Shopper) -> None:
    """Go on until the gateway cannot be reached: nothing happened there, and it is asked again later."""
    advance(shopper.saga_id)


def lose_the_payment(shopper: Shopper) -> None:
    """Leave the authorisation's outcome unknown, though it never happened."""
    with faults() as planted:
        planted.refuse("authorize_payment", OutcomeUnknown("The line went dead."))
        advance(shopper.saga_id)


def refuse_the_void(shopper: Shopper) -> None:
    """Let the compensation of the payment be refused, and let go of the money by hand."""
    key = step_key(str(shopper.saga_id), "authorize_payment")
    with faults() as planted:
        conflict = PaymentStateConflict(asked="void", key=key, state="captured", advice="Ask the provider.")
        planted.refuse("authorize_payment", conflict, direction=Direction.COMPENSATION)
        finish(shopper.saga_id)
    payments.void(key=key, provider_key=f"{key}:by-hand")


def pause(shopper: Shopper) -> None:
    """Pause the saga before anything is done for it."""
    act(shopper, Operation.PAUSE)


def resume(shopper: Shopper) -> None:
    """End the pause."""
    act(shopper, Operation.RESUME)


TURNED_BACK: World = {**CANCELLED_WORLD, "reason": "cancelled_by_shop"}
RESUMED: World = {**COMPLETED, "acts": ["pause", "resume"]}
ABANDONED: World = {
    **UNTOUCHED, "saga": "abandoned", "order": "pending", "reason": "", "reservations": ["reserved"],
    "stock": (ON_HAND - QUANTITY, QUANTITY, 0), "effects left": [("place_order", "yes"), ("reserve_stock", "yes")],
    "acts": ["abandon"],
}  # fmt: skip

unreachable = partial(make_shopper, "pm_card_unavailable")

PATHS = (
    make_path(
        Operation.RETRY,
        {**COMPLETED, "acts": ["retry"]},
        # Asked for again by somebody who did not see that it was done: a second decision, with the same effect.
        {**COMPLETED, "acts": ["retry", "retry"]},
        shopper=partial(make_shopper, "pm_card_capture_timeout_once"),
        before=lambda shopper: advance(shopper.saga_id),
    ),
    make_path(
        Operation.COMPENSATE,
        {**TURNED_BACK, "acts": ["compensate"]},
        shopper=unreachable,
        before=wait_at_the_payment,
    ),
    make_path(
        Operation.SKIP,
        {**COMPLETED, "parcels": [], "acts": ["skip"]},
        shopper=partial(make_shopper, postal_code="00003"),
        before=lambda shopper: advance(shopper.saga_id),
        step="book_shipment",
        result={"shipment": "by hand"},
    ),
    make_path(
        Operation.MARK_SUCCEEDED,
        {**COMPLETED, "acts": ["mark_succeeded"]},
        shopper=partial(make_shopper, "pm_card_capture_timeout"),
        before=lambda shopper: finish(shopper.saga_id),
        step="capture_payment",
        evidence="The provider's page shows the capture.",
    ),
    make_path(
        Operation.MARK_REFUSED,
        {**DECLINED, "acts": ["mark_refused"]},
        before=lose_the_payment,
        step="authorize_payment",
        evidence="The provider never saw the request.",
    ),
    make_path(
        Operation.MARK_COMPENSATED,
        {**NOT_SERVED, "acts": ["mark_compensated"]},
        shopper=partial(make_shopper, postal_code="00000"),
        before=refuse_the_void,
        step="authorize_payment",
        evidence="The provider let go of it by hand.",
    ),
    make_path(
        Operation.PAUSE,
        RESUMED,
        before=lambda _shopper: None,
        then=resume,
    ),
    make_path(Operation.RESUME, RESUMED, before=pause),
    make_path(
        Operation.CANCEL,
        {**TURNED_BACK, "acts": ["cancel"]},
        shopper=unreachable,
        before=wait_at_the_payment,
    ),
    make_path(Operation.ABANDON, ABANDONED, shopper=unreachable, before=wait_at_the_payment),
)


def prepare_cancel() -> Shopper:
    """Place an order that waits at its payment."""
    shopper = unreachable().place()
    wait_at_the_payment(shopper)
    return shopper


def ask_to_cancel(shopper: Shopper) -> None:
    """Send the customer's request to cancel."""
    response = shopper.post_cancel()
    assert response.status_code == 202 or (response.status_code == 503 and response["Retry-After"]), response.content


def ask_again(shopper: Shopper) -> None:
    """Send it again, as a client does that got no answer; then let the saga run."""
    response = shopper.post_cancel()
    assert response.status_code == 202, response.content
    finish(shopper.saga_id)


CANCEL_REQUEST: Path[Shopper] = Path(
    name="cancel request",
    prepare=prepare_cancel,
    run=ask_to_cancel,
    recover=ask_again,
    judge=lambda shopper: find_problems(shopper, CANCELLED),
    least=10,
)
