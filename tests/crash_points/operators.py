"""Paths of every operation: done once or not at all, and a repeat completes it.

Each operation runs in the states that it is meant for, and sends the revision that it was decided on, as the console
does, so that a repeat is recognised.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from sagas import SagaDefinition
from sagas.operators.operations import Operation, OperationResult
from sagas.testing import SimulatedCrash, faults

from .bare import BARE_COMPENSATED, read_bare, start_bare
from .checkouts import CANCELLED, CANCELLED_WORLD, DECLINED, NOT_SERVED
from .enumeration import Path
from .shop import (
    COMPLETED,
    ON_HAND,
    QUANTITY,
    UNOPERATED,
    Shopper,
    World,
    advance,
    describe_differences,
    fetch,
    find_problems,
    finish,
    make_shopper,
)
from .situations import (
    MANY,
    Subject,
    act,
    break_the_contract,
    fail_to_void,
    hold_the_capture,
    hold_the_void,
    lose_the_payment,
    lose_the_void,
    lose_the_worker_of_the_payment,
    pause,
    pause_beside_a_live_attempt,
    pause_on_the_way_back,
    refuse_the_void,
    resume,
    wait,
    wait_at_the_payment,
)


@dataclass(frozen=True, kw_only=True)
class Bare:
    """Subject without a shopper: a saga of unprotected participants."""

    saga_id: UUID | None


@dataclass(kw_only=True)
class Case:
    """Saga right before an operation."""

    shopper: Any
    revision: int
    """Revision of the saga before the operation."""
    history: int
    """Number of its last history row before the operation."""


def make_path(
    operation: Operation,
    *worlds: World,
    where: str = "",
    before: Callable[[Any], object] = lambda _shopper: None,
    shopper: Callable[[], Shopper] = make_shopper,
    place: Callable[[], Subject] | None = None,
    judge: Callable[[Any], list[str]] | None = None,
    then: Callable[[Any], object] = lambda _shopper: None,
    sends_revision: bool = True,
    **arguments: Any,
) -> Path[Case]:
    """Describe one operation.

    ``where``: the state, for the name of the path. ``before``: prepares the saga so that the operation is allowed.
    ``place``, ``judge``: for a saga that is no checkout. ``then``: later operations.
    """

    def prepare() -> Case:
        placed = place() if place is not None else shopper().place()
        before(placed)
        revision, history = read_marks(placed)
        return Case(shopper=placed, revision=revision, history=history)

    def perform(case: Case) -> OperationResult:
        return act(case.shopper, operation, **arguments, revision=case.revision if sends_revision else None)

    def recover(case: Case) -> None:
        done = count_operations(case.shopper, operation)
        assert_atomic(case, operation)
        result = perform(case)
        assert not sends_revision or result.is_repeat == bool(done), f"done {done} times before, now: {result}"
        then(case.shopper)
        finish(case.shopper.saga_id)

    return Path(
        name=f"operator: {operation.value}{', ' if where else ''}{where}",
        prepare=prepare,
        run=perform,
        recover=recover,
        judge=lambda case: judge(case.shopper) if judge is not None else find_problems(case.shopper, *worlds),
        least=6,
    )


def read_marks(shopper: Subject) -> tuple[int, int]:
    """Read revision and history number of the saga."""
    statement = "SELECT revision, history_count FROM sagas_saga WHERE id = %s"
    ((revision, history),) = fetch("default", statement, shopper.saga_id)
    return revision, history


def count_operations(shopper: Subject, operation: Operation) -> int:
    """Count the history entries of the operation."""
    statement = (
        "SELECT count(*) FROM sagas_sagahistory WHERE saga_id = %s AND what = 'operator_acted' AND to_state = %s"
    )
    ((count,),) = fetch("default", statement, shopper.saga_id, operation.value)
    return int(count)


def assert_atomic(case: Case, operation: Operation) -> None:
    """Check that a crash leaves either the decision with its history or neither."""
    is_done = count_operations(case.shopper, operation) > 0
    revision, history = read_marks(case.shopper)
    assert is_done == (revision > case.revision) == (history > case.history), (
        f"{operation.value} is half done: revision {case.revision} > {revision}, history {case.history} > {history}"
    )


TURNED_BACK: World = {**CANCELLED_WORLD, "reason": "cancelled_by_shop"}
RESUMED: World = {**COMPLETED, "acts": ["pause", "resume"]}
ABANDONED: World = {
    **UNOPERATED, "saga": "abandoned", "order": "pending", "reason": "", "reservations": ["reserved"],
    "stock": (ON_HAND - QUANTITY, QUANTITY, 0), "effects left": [("place_order", "yes"), ("reserve_stock", "yes")],
    "acts": ["abandon"],
}  # fmt: skip

PAUSED_IN_VAIN: World = {**NOT_SERVED, "acts": ["pause", "resume"]}
# The authorisation stands; the outcome of the capture is unknown.
ABANDONED_AT_THE_CAPTURE: World = {
    **ABANDONED, "money": ["held"], "parcels": ["booked"],
    "effects left": [
        ("authorize_payment", "yes"), ("book_shipment", "yes"), ("capture_payment", "maybe"), ("place_order", "yes"),
        ("reserve_stock", "yes"),
    ],
}  # fmt: skip
ABANDONED_AT_THE_VOID: World = {
    **ABANDONED, "money": ["held"],
    "effects left": [("authorize_payment", "yes"), ("place_order", "yes"), ("reserve_stock", "yes")],
}  # fmt: skip

unreachable = partial(make_shopper, "pm_card_unavailable")
not_served = partial(make_shopper, postal_code="00000")
unsure = partial(make_shopper, "pm_card_capture_timeout_once")


PATHS = (
    make_path(Operation.RETRY, {**COMPLETED, "acts": ["retry"]}, shopper=unsure, before=wait),
    make_path(
        Operation.COMPENSATE, {**TURNED_BACK, "acts": ["compensate"]}, shopper=unreachable, before=wait_at_the_payment
    ),
    make_path(
        Operation.SKIP,
        {**COMPLETED, "parcels": [], "acts": ["skip"]},
        shopper=partial(make_shopper, postal_code="00003"),
        before=wait,
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
        shopper=not_served,
        before=refuse_the_void,
        step="authorize_payment",
        evidence="The provider let go of it by hand.",
    ),
    make_path(Operation.PAUSE, RESUMED, then=resume),
    make_path(Operation.RESUME, RESUMED, before=pause),
    make_path(Operation.CANCEL, {**TURNED_BACK, "acts": ["cancel"]}, shopper=unreachable, before=wait_at_the_payment),
    make_path(Operation.ABANDON, ABANDONED, shopper=unreachable, before=wait_at_the_payment),
)
"""Each operation in its most common situation."""


SECOND_PATHS = (
    make_path(Operation.RETRY, {**COMPLETED, "acts": ["retry"]}, where="of a held pivot", before=hold_the_capture),
    make_path(Operation.COMPENSATE, {**TURNED_BACK, "acts": ["compensate"]}, where="before anything"),
    make_path(
        Operation.SKIP,
        {**COMPLETED, "parcels": [], "acts": ["skip"]},
        where="of a step to come",
        shopper=partial(make_shopper, "pm_card_timeout_once"),
        before=wait,
        step="book_shipment",
        result={"shipment": "by hand"},
    ),
    make_path(
        Operation.MARK_SUCCEEDED,
        {**COMPLETED, "acts": ["mark_succeeded"]},
        where="before it is asked again",
        shopper=partial(make_shopper, postal_code="00001"),
        before=wait,
        step="book_shipment",
        evidence="The carrier's page shows the booking.",
    ),
    make_path(
        Operation.MARK_REFUSED,
        {**DECLINED, "acts": ["mark_refused"]},
        where="of a held pivot",
        before=hold_the_capture,
        step="capture_payment",
        evidence="The provider's page shows no capture.",
    ),
    make_path(
        Operation.MARK_COMPENSATED,
        {**NOT_SERVED, "acts": ["mark_compensated"]},
        where="of a failing compensation",
        shopper=not_served,
        before=fail_to_void,
        step="authorize_payment",
        evidence="The provider let go of it by hand.",
    ),
    make_path(
        Operation.PAUSE, RESUMED, where="beside a live attempt", before=lose_the_worker_of_the_payment, then=resume
    ),
    make_path(Operation.RESUME, RESUMED, where="after a lost attempt", before=pause_beside_a_live_attempt),
    make_path(
        Operation.CANCEL, {**COMPLETED, "acts": ["cancel"]}, where="of an unknown pivot", shopper=unsure, before=wait
    ),
    make_path(Operation.ABANDON, ABANDONED_AT_THE_CAPTURE, where="at a held pivot", before=hold_the_capture),
)
"""Each operation in another situation, where it takes another path through the engine."""

FURTHER_PATHS = (
    # Requested again by an operator who did not see that it was done: a second decision, the same effect.
    make_path(
        Operation.RETRY,
        {**COMPLETED, "acts": ["retry"]},
        {**COMPLETED, "acts": ["retry", "retry"]},
        where="without a revision",
        shopper=unsure,
        before=wait,
        sends_revision=False,
    ),
    make_path(
        Operation.RETRY,
        {**NOT_SERVED, "acts": ["retry"]},
        where="of a failing compensation",
        shopper=not_served,
        before=partial(lose_the_void, times=MANY),
    ),
    make_path(
        Operation.COMPENSATE,
        {**TURNED_BACK, "acts": ["compensate"]},
        where="beside a live attempt",
        before=lose_the_worker_of_the_payment,
    ),
    make_path(
        Operation.SKIP,
        {**COMPLETED, "reservations": ["reserved"], "stock": (ON_HAND - QUANTITY, QUANTITY, 0), "acts": ["skip"]},
        where="of a broken contract",
        before=break_the_contract,
        step="ship_stock",
    ),
    make_path(
        Operation.PAUSE, PAUSED_IN_VAIN, where="on the way back", shopper=not_served, before=lose_the_void, then=resume
    ),
    make_path(
        Operation.RESUME, PAUSED_IN_VAIN, where="on the way back", shopper=not_served, before=pause_on_the_way_back
    ),
    make_path(
        Operation.CANCEL,
        {**TURNED_BACK, "acts": ["pause", "cancel", "resume"]},
        where="of a paused saga",
        before=pause,
        then=resume,
    ),
    make_path(
        Operation.ABANDON,
        ABANDONED_AT_THE_VOID,
        where="at a refused compensation",
        shopper=not_served,
        before=hold_the_void,
    ),
)
"""Further situations, in the full version."""


def make_group_path(definition: type[SagaDefinition]) -> Path[Case]:
    """Describe how a saga is made to compensate in the middle of a group: one step done, its sibling lost."""

    def stop_inside(bare: Bare) -> None:
        with faults() as planted:
            planted.crash_after("ask")
            with suppress(SimulatedCrash):
                advance(bare.saga_id)

    return make_path(
        Operation.COMPENSATE,
        where="inside a group",
        place=lambda: Bare(saga_id=start_bare(definition)),
        before=stop_inside,
        judge=lambda bare: describe_differences(read_bare(bare.saga_id), BARE_COMPENSATED),
    )


def prepare_cancel() -> Shopper:
    """Place an order that waits at its payment."""
    shopper = unreachable().place()
    wait_at_the_payment(shopper)
    return shopper


def request_cancel(shopper: Shopper) -> None:
    """Send the customer's cancel request."""
    response = shopper.post_cancel()
    assert response.status_code == 202 or (response.status_code == 503 and response["Retry-After"]), response.content


def repeat_cancel(shopper: Shopper) -> None:
    """Send it again, as a client without an answer does, and then run the saga."""
    response = shopper.post_cancel()
    assert response.status_code == 202, response.content
    finish(shopper.saga_id)


CANCEL_REQUEST: Path[Shopper] = Path(
    name="cancel request",
    prepare=prepare_cancel,
    run=request_cancel,
    recover=repeat_cancel,
    judge=lambda shopper: find_problems(shopper, CANCELLED),
    least=10,
)
