"""Customers with one order each, and the state of that order in the rows of every participant.

Every case has a customer, a product and stock that no other case touches, so that each count is exact.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import connections, router
from django.http import HttpResponse
from django.test import Client
from rest_framework.authtoken.models import Token

from inventory.models import StockItem
from inventory.services import ensure_stock
from orders import services
from orders.exceptions import CancelTooLate
from orders.models import Product
from orders.requests import Address, CheckoutRequest, LineRequest
from payments.models import Payment
from sagas import clock
from sagas.engine import advance as engine
from sagas.testing import find_violations
from sagas.testing.drain import look, pass_time, read
from shipping.models import Shipment

PRICE_MINOR, QUANTITY, ON_HAND = 790, 2, 10
TOTAL_MINOR = PRICE_MINOR * QUANTITY
KEY = "the-only-key"
# A saga that is still busy after this many tasks never ends; nothing waits longer.
MAX_LOOKS = 200
PATIENCE = timedelta(hours=2)

World = Mapping[str, Any]

# What every ending leaves in the ledgers, independent of the way there.
UNOPERATED: World = {
    "orders": 1, "sagas": 1, "attention": [], "holds": [], "effects left": [], "money": [], "captures": 0, "refunds": 0,
    "parcels": [], "reservations": [], "stock": (ON_HAND, 0, 0), "doubles": [], "acts": [], "violations": [],
}  # fmt: skip
COMPLETED: World = {
    **UNOPERATED, "saga": "completed", "order": "confirmed", "reason": "", "money": ["captured"], "captures": 1,
    "parcels": ["booked"], "reservations": ["shipped"], "stock": (ON_HAND - QUANTITY, 0, QUANTITY),
}  # fmt: skip


@dataclass(kw_only=True)
class Shopper:
    """One customer with one order."""

    name: str
    payment_method: str = "pm_card_visa"
    postal_code: str = "BA1 1AA"
    on_hand: int = ON_HAND
    """Units of the product."""
    user: User = field(init=False)
    token: str = field(init=False)
    number: str = ""
    """Of the order, once it is placed."""
    saga_id: UUID | None = None

    def __post_init__(self) -> None:
        self.user = User.objects.create(username=self.name)
        self.token = Token.objects.create(user=self.user).key
        Product.objects.create(sku=self.name, name="Tea", unit_price_minor=PRICE_MINOR, currency="EUR")
        ensure_stock(self.name, self.on_hand)

    def post(self) -> HttpResponse:
        """Send the checkout request; repeats are byte-identical."""
        address = {
            "name": "Ada", "line1": "Tea Lane 1", "city": "Bath", "postal_code": self.postal_code, "country": "GB",
        }  # fmt: skip
        body = {
            "lines": [{"sku": self.name, "quantity": QUANTITY}], "payment_method": self.payment_method,
            "shipping_address": address,
        }  # fmt: skip
        return self._send("/api/v1/checkout/", body, **{"Idempotency-Key": KEY})

    def post_cancel(self) -> HttpResponse:
        """Request over HTTP that the order be cancelled."""
        return self._send(f"/api/v1/orders/{self.number}/cancel/", {})

    def place(self) -> Shopper:
        """Place the order without HTTP, and run nothing yet."""
        address = Address(
            name="Ada", line1="Tea Lane 1", line2="", city="Bath", postal_code=self.postal_code, country="GB"
        )
        request = CheckoutRequest(
            lines=(LineRequest(sku=self.name, quantity=QUANTITY),),
            payment_method=self.payment_method,
            shipping_address=address,
        )
        order = services.place_order(customer=self.user, request=request)
        self.number, self.saga_id = order.number, order.saga_id
        return self

    def cancel(self) -> None:
        """Cancel the order unless it is too late."""
        try:
            services.request_cancel(number=self.number, user=self.user)
        except CancelTooLate:
            return

    def find_saga(self) -> UUID:
        """Find the one order, and return the id of its saga."""
        orders = fetch("default", "SELECT saga_id, number FROM orders_order WHERE owner_id = %s", self.user.pk)
        assert len(orders) == 1, f"{len(orders)} orders were placed"
        self.saga_id, self.number = orders[0]
        return orders[0][0]

    def _send(self, path: str, body: Mapping[str, Any], **headers: str) -> HttpResponse:
        sent = json.dumps(body).encode()
        return Client(raise_request_exception=False).post(
            path, sent, content_type="application/json", headers={"Authorization": f"Token {self.token}", **headers}
        )


_numbers = itertools.count(1)


def make_shopper(payment_method: str = "pm_card_visa", postal_code: str = "BA1 1AA", on_hand: int = ON_HAND) -> Shopper:
    """Create a new customer."""
    return Shopper(
        name=f"shopper-{next(_numbers)}", payment_method=payment_method, postal_code=postal_code, on_hand=on_hand
    )


def advance(saga_id: UUID | None, *, attempts: int | None = None) -> None:
    """Advance a saga as far as it goes now, or by this many attempts."""
    assert saga_id is not None
    looks = itertools.count()
    engine.advance(saga_id, worker="faults", should_stop=lambda: attempts is not None and next(looks) >= attempts)


def finish(saga_id: UUID | None) -> None:
    """Run workers and let time pass until nothing changes any more; the engine's clock stays there."""
    assert saga_id is not None
    ends_at = clock.read_now("default") + PATIENCE
    for _ in range(MAX_LOOKS):
        look(saga_id, worker="recovery")
        found = read(saga_id)
        if found.due_at is None or found.due_at > ends_at:
            return
        pass_time(until_due=found)
    raise AssertionError(f"Saga {saga_id} does not come to an end.")


def read_world(shopper: Shopper) -> World:
    """Read every ledger about a customer's order by SQL."""
    owner = shopper.user.pk
    orders = fetch("default", "SELECT number, status, reason, saga_id FROM orders_order WHERE owner_id = %s", owner)
    keys = fetch("default", "SELECT saga_id FROM sagas_sagakey WHERE name = 'customer' AND value = %s", shopper.name)
    if len(orders) != 1 or len(keys) != 1 or orders[0][3] != keys[0][0]:
        return {"orders": len(orders), "sagas": len(keys)}
    ((number, status, reason, saga_id),) = orders
    ((state, hold, attention, left),) = fetch(
        "default", "SELECT state, hold, attention::text, effects_left::text FROM sagas_saga WHERE id = %s", saga_id
    )
    holds = fetch("default", "SELECT name, hold FROM sagas_sagastep WHERE saga_id = %s AND hold IS NOT NULL", saga_id)
    acts = fetch(
        "default",
        "SELECT to_state FROM sagas_sagahistory WHERE saga_id = %s AND what = 'operator_acted' ORDER BY number",
        saga_id,
    )
    return {
        "orders": 1, "sagas": 1, "order": status, "reason": reason, "saga": state, "attention": json.loads(attention),
        "holds": sorted([("saga", hold)] * (hold is not None) + holds), "acts": [act for (act,) in acts],
        "effects left": sorted((row["step"], row["effect"]) for row in json.loads(left or "[]")),
        **_read_money(number), **_read_parcels(number), **_read_stock(number, shopper.name),
        "doubles": list(_find_doubles(number)),
        "violations": [*find_violations(saga_id), *_find_open_ends(saga_id, state)],
    }  # fmt: skip


def find_problems(shopper: Shopper, *allowed: World) -> list[str]:
    """Return how the ledgers differ from every allowed world; empty if all is well."""
    return describe_differences(read_world(shopper), *allowed)


def describe_differences(found: World, *allowed: World) -> list[str]:
    """Return the differences to the nearest allowed world."""
    return min((_compare(found, world) for world in allowed), key=len)


def fetch(alias: str, statement: str, *values: Any) -> list[Any]:
    """Read rows without the project's own code."""
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def _compare(found: World, wanted: World) -> list[str]:
    names = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    return [f"{name} is {found.get(name)}, not {wanted.get(name)}" for name in names]


def _read_money(number: str) -> World:
    alias = router.db_for_write(Payment)
    holdings = fetch(
        alias, "SELECT state FROM payments_sandboxauthorization WHERE order_number = %s AND state <> 'declined'", number
    )
    taken = fetch(
        alias,
        "SELECT o.kind, o.amount_minor FROM payments_sandboxoperation o JOIN payments_sandboxauthorization a"
        " ON a.id = o.authorization_id WHERE a.order_number = %s AND o.outcome = 'succeeded'",
        number,
    )
    amounts = {kind: [amount for found, amount in taken if found == kind] for kind in ("capture", "refund")}
    assert set(amounts["capture"]) <= {TOTAL_MINOR}
    return {
        "money": sorted(state for (state,) in holdings if state != "voided"),
        "captures": len(amounts["capture"]), "refunds": len(amounts["refund"]),
    }  # fmt: skip


def _read_parcels(number: str) -> World:
    statement = "SELECT state FROM shipping_sandboxbooking WHERE order_number = %s AND state = 'booked'"
    return {"parcels": [state for (state,) in fetch(router.db_for_write(Shipment), statement, number)]}


def _read_stock(number: str, sku: str) -> World:
    alias = router.db_for_write(StockItem)
    ((on_hand, reserved, shipped),) = fetch(
        alias, "SELECT on_hand, reserved, shipped FROM inventory_stockitem WHERE sku = %s", sku
    )
    statement = "SELECT state FROM inventory_reservation WHERE order_number = %s AND state <> 'released'"
    return {
        "stock": (on_hand, reserved, shipped),
        "reservations": [state for (state,) in fetch(alias, statement, number)],
    }


# More than one of these per order is a duplicate effect, whatever became of them.
SINGULAR = (
    (Payment, "authorisations", "SELECT count(*) FROM payments_sandboxauthorization WHERE order_number = %s"),
    (Shipment, "bookings", "SELECT count(*) FROM shipping_sandboxbooking WHERE order_number = %s"),
    (StockItem, "reservations", "SELECT count(*) FROM inventory_reservation WHERE order_number = %s"),
)


def _find_doubles(number: str) -> Iterator[str]:
    for model, what, statement in SINGULAR:
        ((count,),) = fetch(router.db_for_write(model), statement, number)
        if count > 1:
            yield f"{count} {what}"


def _find_open_ends(saga_id: UUID, state: str) -> Iterator[str]:
    """Yield what a closed saga left open: attempts without an end."""
    if state in ("completed", "compensated"):
        for name, direction, number in fetch(
            "default",
            "SELECT t.name, a.direction, a.number FROM sagas_sagaattempt a JOIN sagas_sagastep t ON t.id = a.step_id"
            " WHERE a.saga_id = %s AND a.ended_at IS NULL",
            saga_id,
        ):
            yield f"attempt {number} of {name} ({direction}) never ended"
