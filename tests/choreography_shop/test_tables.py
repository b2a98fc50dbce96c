"""The tables of the choreographed checkout are total: every state is crossed with every event.

The expectations are written by hand, each from the shop's specification, in one notation: what is noted, which intent
is written, which event is published, and the state that follows. ``-`` is recorded and nothing else, ``!`` parks the
event for an operator, ``not yet`` waits for what it builds on.
"""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from inventory import reactions as inventory_reactions
from inventory import services as inventory
from inventory.events import StockFailed, StockReleased, StockReserved, StockShipped
from inventory.models import OrderStock, OrderStockState
from orders import reactions as orders_reactions
from orders.events import OrderCancelled, OrderConfirmed, OrderCreated
from orders.models import Order, OrderFacts, OrderStatus
from orders.reasons import Reason
from payments import reactions as payments_reactions
from payments.events import PaymentCompleted, PaymentFailed, PaymentRefunded
from payments.models import OrderPayment, OrderPaymentState
from sagas.events import ContractViolated, NotYet, catalogue
from sagas.events.declaration import type_of
from sagas.events.reactions import Table
from sagas.models import Intent, OutboxEvent
from shipping import reactions as shipping_reactions
from shipping.events import ShipmentBooked, ShipmentQuoted, ShipmentRefused
from shipping.models import OrderShipment, OrderShipmentState

from .orders_of_a_test import NUMBER, SKU, fill_stock, make_created, place

pytestmark = [pytest.mark.django_db(databases="__all__"), pytest.mark.usefixtures("events")]

ORDERS = """
          | PaymentCompleted | StockReserved | ShipmentQuoted | PaymentFailed               | StockFailed                 | ShipmentRefused             | PaymentRefunded | StockReleased | ShipmentBooked | StockShipped
pending   | paid             | reserved      | quoted         | OrderCancelled -> cancelled | OrderCancelled -> cancelled | OrderCancelled -> cancelled | !               | !             | !              | !
confirmed | -                | -             | -              | !                           | !                           | !                           | !               | !             | booked         | shipped
cancelled | paid             | reserved      | -              | -                           | -                           | -                           | refunded        | released      | !              | !
"""  # noqa: E501 - a table
PAYMENTS = """
           | OrderCreated              | OrderCancelled
none       | charge -> charging        | -> tombstone
tombstone  | PaymentFailed -> failed   | -
charging   | -                         | cancelled
completed  | -                         | refund -> refunding
failed     | -                         | -
refunding  | -                         | -
refunded   | -                         | -
"""
INVENTORY = """
           | OrderCreated | PaymentCompleted          | OrderConfirmed            | OrderCancelled
none       | -> known     | not yet                   | not yet                   | -> tombstone
known      | -            | StockReserved -> reserved | not yet                   | -> tombstone
tombstone  | -            | StockFailed -> failed     | !                         | -
reserved   | -            | -                         | StockShipped -> permanent | StockReleased -> released
failed     | -            | -                         | !                         | -
released   | -            | -                         | !                         | -
permanent  | -            | -                         | -                         | !
"""
SHIPPING = """
           | OrderCreated | StockReserved              | OrderConfirmed  | OrderCancelled
none       | -> known     | not yet                    | not yet         | -> tombstone
known      | -            | quote -> quoting           | not yet         | -> tombstone
quoting    | -            | -                          | not yet         | cancelled
quoted     | -            | -                          | book -> booking | -> cancelled
booking    | -            | -                          | -               | !
cancelled  | -            | -                          | !               | -
tombstone  | -            | ShipmentRefused -> refused | !               | -
refused    | -            | -                          | !               | -
booked     | -            | -                          | -               | !
"""
EVENTS = {
    type_of(found).name: found
    for found in (
        OrderCreated, OrderConfirmed, OrderCancelled, PaymentCompleted, PaymentFailed, PaymentRefunded, StockReserved,
        StockFailed, StockReleased, StockShipped, ShipmentQuoted, ShipmentRefused, ShipmentBooked,
    )
}  # fmt: skip


def read_table(text: str) -> dict[tuple[str, str], str]:
    """Return the expected cells by state and event."""
    head, *rows = [[cell.strip() for cell in line.split("|")] for line in text.strip("\n").splitlines()]
    return {(row[0], event): cell for row in rows for event, cell in zip(head[1:], row[1:], strict=True)}


def put_order(state: str) -> None:
    order = place()
    complete = dict.fromkeys(("paid_at", "reserved_at", "quoted_at"), timezone.now())
    if state == OrderStatus.CONFIRMED:
        order.status, order.closed_at = state, timezone.now()
        OrderFacts.objects.create(order=order, **complete)
    if state == OrderStatus.CANCELLED:
        order.status, order.closed_at, order.reason = state, timezone.now(), Reason.PAYMENT_DECLINED
    order.save()


def put_payment(state: str) -> None:
    if state != payments_reactions.NONE:
        OrderPayment.objects.create(order_number=NUMBER, state=state, key="key-1", amount_minor=2300, currency="EUR")


def put_stock(state: str) -> None:
    fill_stock()
    if state == inventory_reactions.NONE:
        return
    OrderStock.objects.create(order_number=NUMBER, state=state, lines=[{"sku": SKU, "quantity": 2}])
    if state in (OrderStockState.RESERVED, OrderStockState.RELEASED, OrderStockState.PERMANENT):
        inventory.reserve(key=NUMBER, order_number=NUMBER, lines=[inventory.Line(sku=SKU, quantity=2)])
    if state == OrderStockState.RELEASED:
        inventory.release(key=NUMBER)
    if state == OrderStockState.PERMANENT:
        inventory.ship(key=NUMBER)


def put_shipment(state: str) -> None:
    address = {"name": "Ada", "line1": "1 Tea Street", "city": "London", "postal_code": "N1", "country": "GB"}
    if state != shipping_reactions.NONE:
        OrderShipment.objects.create(order_number=NUMBER, state=state, address=address)


def look_at_order() -> tuple[str, set[str]]:
    facts = OrderFacts.objects.filter(order__number=NUMBER).values().first() or {}
    noted = {name.removesuffix("_at") for name, value in facts.items() if name.endswith("_at") and value}
    return Order.objects.get(number=NUMBER).status, noted


def look_at(model: Any) -> Callable[[], tuple[str, set[str]]]:
    def look() -> tuple[str, set[str]]:
        row = model.objects.filter(order_number=NUMBER).first()
        if row is None:
            return "none", set()
        return row.state, {"cancelled"} if getattr(row, "is_cancelled", False) else set()

    return look


PARTICIPANTS: dict[str, tuple[Table, str, Callable[[str], None], Callable[[], tuple[str, set[str]]]]] = {
    "orders": (orders_reactions.TABLE, ORDERS, put_order, look_at_order),
    "payments": (payments_reactions.TABLE, PAYMENTS, put_payment, look_at(OrderPayment)),
    "inventory": (inventory_reactions.TABLE, INVENTORY, put_stock, look_at(OrderStock)),
    "shipping": (shipping_reactions.TABLE, SHIPPING, put_shipment, look_at(OrderShipment)),
}
CELLS = [
    (participant, state, event, expected)
    for participant, (_, text, _, _) in PARTICIPANTS.items()
    for (state, event), expected in read_table(text).items()
]


def make_event(name: str) -> Any:
    return make_created() if name == "OrderCreated" else EVENTS[name](order_id=NUMBER)


def handle(participant: str, name: str) -> str:
    """Run the handler, and describe what it did, in the notation of the tables."""
    _, _, _, look = PARTICIPANTS[participant]
    alias = catalogue.database_of(participant)
    state, noted = look()
    try:
        catalogue.handlers_of(participant)[name].function(make_event(name))
    except NotYet:
        return "not yet"
    except ContractViolated:
        return "!"
    new_state, new_noted = look()
    done = sorted(new_noted - noted)
    done += Intent.objects.using(alias).order_by("created_at").values_list("definition", flat=True)
    done += OutboxEvent.objects.using(alias).order_by("id").values_list("type", flat=True)
    done = [what.rpartition(".")[2] for what in done]
    if new_state != state:
        done += ["->", new_state]
    return " ".join(done) or "-"


@pytest.mark.parametrize(("participant", "state", "event", "expected"), CELLS)
def test_cell(participant: str, state: str, event: str, expected: str) -> None:
    PARTICIPANTS[participant][2](state)
    assert handle(participant, event) == expected


@pytest.mark.parametrize("participant", PARTICIPANTS)
def test_table_is_total(participant: str, capsys: pytest.CaptureFixture[str]) -> None:
    table, text, _, _ = PARTICIPANTS[participant]
    cells = read_table(text)
    handled = set(catalogue.handlers_of(participant)) & set(EVENTS)  # not those of other tests
    states = {
        "orders": set(OrderStatus.values), "payments": {"none", *OrderPaymentState.values},
        "inventory": {"none", *OrderStockState.values}, "shipping": {"none", *OrderShipmentState.values},
    }[participant]  # fmt: skip
    assert {event for _, event in cells} == handled
    assert {state for state, _ in cells} == states
    assert len(cells) == len(states) * len(handled)
    assert {(str(state), type_of(event).name) for state, row in table.items() for event in row} == set(cells)
    with capsys.disabled():
        sys.stdout.write(f"\n{participant}: {len(states)} states x {len(handled)} events = {len(cells)} cells{text}")


@pytest.mark.parametrize("last", ["PaymentCompleted", "StockReserved", "ShipmentQuoted"])
def test_third_fact_confirms_whichever_it_is(last: str) -> None:
    put_order("pending")
    first = [name for name in ("PaymentCompleted", "StockReserved", "ShipmentQuoted") if name != last]
    assert [handle("orders", name) for name in first] == [COLUMN_OF[name] for name in first]
    assert handle("orders", last) == f"{COLUMN_OF[last]} OrderConfirmed -> confirmed"


COLUMN_OF = {"PaymentCompleted": "paid", "StockReserved": "reserved", "ShipmentQuoted": "quoted"}


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (PaymentFailed(order_id=NUMBER), Reason.PAYMENT_DECLINED),
        (PaymentFailed(order_id=NUMBER, reason="unavailable"), Reason.TEMPORARILY_UNAVAILABLE),
        (StockFailed(order_id=NUMBER), Reason.OUT_OF_STOCK),
        (ShipmentRefused(order_id=NUMBER), Reason.ADDRESS_NOT_SERVED),
    ],
)
def test_customer_is_told_why(event: Any, reason: Reason) -> None:
    put_order("pending")
    orders_reactions.follow(event)
    order = Order.objects.get(number=NUMBER)
    assert (order.status, order.reason) == (OrderStatus.CANCELLED, reason)
    assert OutboxEvent.objects.get().data == {"orderId": NUMBER, "reason": reason.value}


@pytest.mark.parametrize("event", [name for name in EVENTS if not name.startswith("Order")])
def test_unknown_order_is_not_yet_there(event: str) -> None:
    with pytest.raises(NotYet, match="no choreographed order ORD-1"):
        orders_reactions.follow(make_event(event))
