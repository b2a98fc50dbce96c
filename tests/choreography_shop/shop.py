"""A shop in this process: checkouts in both styles, run until nothing moves, and what they left in the ledgers."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Sum

from inventory import services as inventory
from inventory.models import ReservationLine, StockItem
from orders import services
from orders.models import Coordination, Order, Product
from orders.requests import Address, CheckoutRequest, LineRequest
from payments.models import SandboxAuthorization, SandboxOperation
from sagas import clock
from sagas.events import catalogue, relay
from sagas.events.consumer import ParticipantConsumer
from sagas.intents import performing
from sagas.models import InboxEvent, Intent, Saga
from sagas.testing import drain
from shipping.models import SandboxBooking

PARTICIPANTS = ("orders", "payments", "inventory", "shipping", catalogue.TRACKER)
PRICE_MINOR, ON_HAND = 1150, 1_000_000
NO_TIME, A_MOMENT = timedelta(), timedelta(milliseconds=1)
TEA, SOLD_OUT = "TEA-SENCHA", "SCONE-SOLD-OUT"


@dataclass(frozen=True, kw_only=True)
class Ledgers:
    """What one order left behind, by the books of provider, stock and carrier."""

    status: str
    """Of the order."""
    reason: str
    """What its customer is told."""
    net_minor: int = 0
    """Captured and not refunded."""
    open_authorizations: int = 0
    """Authorisations that still hold money."""
    reserved: int = 0
    """Units that are set aside."""
    shipped: int = 0
    """Units that left for good."""
    parcels: int = 0
    """Booked parcels."""


def fill_shop() -> None:
    """Put both products on the shelf, one of them sold out."""
    for sku, on_hand in ((TEA, ON_HAND), (SOLD_OUT, 0)):
        Product.objects.get_or_create(
            sku=sku, defaults={"name": sku, "unit_price_minor": PRICE_MINOR, "currency": "EUR"}
        )
        inventory.ensure_stock(sku, on_hand)


def place(style: str, *, sku: str = TEA, payment_method: str = "pm_card_visa", postal_code: str = "N1 1AA") -> Order:
    """Place an order for two units in one of the styles."""
    customer, _ = User.objects.get_or_create(username="customer")
    address = Address(name="Ada", line1="1 Tea Street", line2="", city="London", postal_code=postal_code, country="GB")
    request = CheckoutRequest(
        lines=(LineRequest(sku=sku, quantity=2),), payment_method=payment_method, shipping_address=address,
        coordination=Coordination(style),
    )  # fmt: skip
    return services.place_order(customer=customer, request=request)


def run(order: Order, *, until: Callable[[], bool] = lambda: False, patience: timedelta = timedelta(hours=2)) -> None:
    """Run an order until nothing moves any more within some time, or a condition holds."""
    if order.coordination == Coordination.ORCHESTRATION:
        drain(order.saga_id, patience=patience, until=lambda _saga: until())
        return
    with clock.restored():
        ends_at = clock.read_now("default") + patience
        while not until():
            if turn():
                continue
            due_at = find_due()
            if due_at is None or due_at > ends_at:
                return
            clock.move(max(due_at - clock.read_now("default"), NO_TIME) + A_MOMENT)


def find_due() -> datetime | None:
    """Return when something is tried again, if nothing else happens."""
    found = []
    for alias in catalogue.event_databases():
        for rows in (Intent.objects.using(alias), InboxEvent.objects.using(alias)):
            found += rows.exclude(due_at=None).order_by("due_at").values_list("due_at", flat=True)[:1]
    return min(found, default=None)


def turn() -> int:
    """Relay, consume and perform once what is there; return how much that was."""
    moved = sum(relay.relay_all(alias) for alias in catalogue.event_databases())
    for label in PARTICIPANTS:
        moved += consume(label)
    return moved + performing.perform_due()


def consume(label: str) -> int:
    """Let one participant handle what has arrived; return how much that was."""
    consumer = ParticipantConsumer(label, instance="test:1", should_stop=lambda: False)
    # Its loop without waiting for more, and without closing this thread's connections at its end.
    while not consumer._work(seconds=0.0):
        pass
    return consumer.tally.total + consumer.tally.retried


def read_ledgers(number: str) -> Ledgers:
    """Return what an order left behind."""
    order = Order.objects.get(number=number)
    money = SandboxAuthorization.objects.filter(order_number=number)
    captured = SandboxOperation.objects.filter(authorization__in=money, kind="capture", outcome="succeeded")
    lines = ReservationLine.objects.filter(reservation__order_number=number)
    return Ledgers(
        status=order.status,
        reason=order.reason,
        net_minor=_add_up(captured, "amount_minor") - _add_up(money, "refunded_minor"),
        open_authorizations=money.filter(state="held").count(),
        reserved=_add_up(lines.filter(reservation__state="reserved"), "quantity"),
        shipped=_add_up(lines.filter(reservation__state="shipped"), "quantity"),
        parcels=SandboxBooking.objects.filter(order_number=number, state="booked").count(),
    )


def read_stock(sku: str = TEA) -> tuple[int, int, int]:
    """Return how many units are on hand, reserved and shipped."""
    item = StockItem.objects.get(sku=sku)
    return item.on_hand, item.reserved, item.shipped


def find_saga(order: Order) -> Saga:
    """Return the saga of an order."""
    return Saga.objects.get(pk=order.saga_id)


def _add_up(rows: Any, column: str) -> int:
    return int(rows.aggregate(total=Sum(column, default=0))["total"])
