"""Paths of a checkout: request, way forward, way back, and the same with a customer who cancels."""

import json
from collections.abc import Callable
from functools import partial

from sagas.testing.drain import pass_time, read

from .enumeration import Path
from .shop import COMPLETED, UNOPERATED, Shopper, World, advance, fetch, find_problems, finish, make_shopper

CANCELLED_WORLD: World = {**UNOPERATED, "saga": "compensated", "order": "cancelled"}
DECLINED: World = {**CANCELLED_WORLD, "reason": "payment_declined"}
SOLD_OUT: World = {**CANCELLED_WORLD, "reason": "out_of_stock", "stock": (0, 0, 0)}
NOT_SERVED: World = {**CANCELLED_WORLD, "reason": "address_not_served"}
CANCELLED: World = {**CANCELLED_WORLD, "reason": "cancelled_by_customer", "acts": ["cancel"]}
CANCELLED_TOO_LATE: World = {**COMPLETED, "acts": ["cancel"]}


def make_path(
    name: str,
    *worlds: World,
    least: int,
    shopper: Callable[[], Shopper] = make_shopper,
    before: Callable[[Shopper], object] = lambda _shopper: None,
    run: Callable[[Shopper], object] = lambda shopper: advance(shopper.saga_id),
    then: Callable[[Shopper], object] = lambda _shopper: None,
) -> Path[Shopper]:
    """Describe a path over one placed order. ``before``: advances it to the start of the path. ``then``: operations
    after a crash, before recovery.
    """

    def prepare() -> Shopper:
        placed = shopper().place()
        before(placed)
        return placed

    def recover(placed: Shopper) -> None:
        then(placed)
        finish(placed.saga_id)

    return Path(
        name=name, prepare=prepare, run=run, recover=recover, least=least,
        judge=lambda placed: find_problems(placed, *worlds),
    )  # fmt: skip


def send_request(shopper: Shopper) -> None:
    """Send the checkout request; it is accepted, or the client is asked to repeat it."""
    response = shopper.post()
    assert response.status_code == 202 or (response.status_code == 503 and response["Retry-After"]), response.content


def repeat_request(shopper: Shopper) -> None:
    """Repeat the request, as a client without an answer does, and then run the saga."""
    response = shopper.post()
    assert response.status_code == 202, response.content
    assert json.loads(response.content)["number"] == response["Location"].split("/")[-2]
    finish(shopper.find_saga())
    assert json.loads(response.content)["number"] == shopper.number


def judge_request(shopper: Shopper) -> list[str]:
    """Check that there is exactly one order, one saga and one stored answer."""
    ((answers,),) = fetch(
        "default", "SELECT count(*) FROM orders_idempotencyrecord WHERE user_id = %s", shopper.user.pk
    )
    wrong = [] if answers == 1 else [f"{answers} answers are remembered, not 1"]
    return [*wrong, *find_problems(shopper, COMPLETED)]


def wait_for_retry(shopper: Shopper) -> None:
    """Advance until a step waits for a retry, and let that time pass."""
    advance(shopper.saga_id)
    pass_time(until_due=read(shopper.saga_id))


REQUEST: Path[Shopper] = Path(
    name="checkout request",
    prepare=make_shopper,
    run=send_request,
    recover=repeat_request,
    judge=judge_request,
    least=18,
)
FORWARD = make_path("checkout, forward", COMPLETED, least=120)
# Starts at the claim of the pivot, which is refused; everything is undone in reverse order.
BACKWARD = make_path(
    "checkout, backward", DECLINED, least=110, shopper=partial(make_shopper, "pm_card_capture_declined"),
    before=lambda shopper: advance(shopper.saga_id, attempts=3),
)  # fmt: skip
FORWARD_THEN_CANCELLED = make_path(
    "checkout, forward, then cancelled", COMPLETED, CANCELLED, CANCELLED_TOO_LATE, least=120, then=Shopper.cancel
)
BACKWARD_THEN_CANCELLED = make_path(
    "checkout, backward, then cancelled", DECLINED, CANCELLED,
    # Requested while the pivot might have happened, and void once it turned out to be refused.
    {**DECLINED, "acts": ["cancel"]}, least=110, then=Shopper.cancel,
    shopper=partial(make_shopper, "pm_card_capture_declined"),
    before=lambda shopper: advance(shopper.saga_id, attempts=3),
)  # fmt: skip


def once(shopper: Shopper) -> None:
    """Run one attempt."""
    advance(shopper.saga_id, attempts=1)


# One attempt each: refused steps, and steps that are retried because their first answer was lost.
REFUSED = (
    make_path(
        "reserve_stock refused", SOLD_OUT, least=10, run=once,
        shopper=lambda: make_shopper(on_hand=0),
    ),
    make_path(
        "authorize_payment refused", DECLINED, least=10, run=once, shopper=partial(make_shopper, "pm_card_declined"),
        before=lambda shopper: advance(shopper.saga_id, attempts=1),
    ),
    make_path(
        "book_shipment refused", NOT_SERVED, least=10, run=once, shopper=partial(make_shopper, postal_code="00000"),
        before=lambda shopper: advance(shopper.saga_id, attempts=2),
    ),
)  # fmt: skip
ATTEMPTS = (
    *REFUSED,
    make_path(
        "authorize_payment asked again", COMPLETED, least=10, run=once,
        shopper=partial(make_shopper, "pm_card_timeout_once"), before=wait_for_retry,
    ),
    make_path(
        "book_shipment asked again", COMPLETED, least=10, run=once,
        shopper=partial(make_shopper, postal_code="00001"), before=wait_for_retry,
    ),
    make_path(
        "capture_payment asked again", COMPLETED, least=10, run=once,
        shopper=partial(make_shopper, "pm_card_capture_timeout_once"), before=wait_for_retry,
    ),
    make_path(
        "cancel_shipment asked again", DECLINED, least=10, run=once,
        shopper=partial(make_shopper, "pm_card_capture_declined", "00004"), before=wait_for_retry,
    ),
)  # fmt: skip
