"""One order's events in every order and twice: whatever comes when, the ledgers end as they must.

Each participant in turn gets its events in every permutation that can happen, the others as they come. Each event
comes three times: again with its own id, and again with another one, as from a sender that repeats itself.
"""

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from orders import services
from orders.exceptions import CancelTooLate
from orders.models import Order
from sagas import clock
from sagas.events import catalogue, inbox
from sagas.events.cloudevents import read_message, to_message
from sagas.events.inbox import Arrival
from sagas.intents import performing
from sagas.models import InboxEvent, Intent, OutboxEvent
from tests.depth import IS_FULL

from . import shop
from .shop import PARTICIPANTS, SOLD_OUT, Ledgers
from .test_conformance import KEPT, cancelled

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.usefixtures("events")]

# Of all schedules, the default run takes each of these; full runs take all.
STRIDE = 1 if IS_FULL else 13
HANDLED = {
    "orders": ("PaymentCompleted", "StockReserved", "ShipmentQuoted", "ShipmentBooked", "StockShipped"),
    "payments": ("OrderCreated", "OrderCancelled"),
    "inventory": ("OrderCreated", "PaymentCompleted", "OrderConfirmed", "OrderCancelled"),
    "shipping": ("OrderCreated", "StockReserved", "OrderConfirmed", "OrderCancelled"),
}
Schedule = Mapping[str, Sequence[str]]


@dataclass(kw_only=True)
class Courier:
    """Delivery of one order's events: each participant gets them in its own order, as far as they can come so."""

    order: Order
    schedule: Schedule
    cancels_after: int | None = None
    """Number of deliveries after which the customer cancels; None: never."""
    delivered: set[tuple[str, str]] = field(default_factory=set)
    count: int = 0

    def run(self) -> None:
        """Deliver everything, perform every intent, and let every wait end."""
        with clock.restored():
            while True:
                self._cancel_if_due()
                if self._deliver_in_order() or performing.perform_due() or self._deliver_out_of_order():
                    continue
                due_at = shop.find_due()
                if due_at is None and (self.cancels_after is None or self.count > self.cancels_after):
                    return
                if due_at is None:
                    self.count = 1 + (self.cancels_after or 0)  # it was over before the customer thought of it
                    continue
                clock.move(max(due_at - clock.read_now("default"), shop.NO_TIME) + shop.A_MOMENT)
                self._retry()

    def _cancel_if_due(self) -> None:
        if self.cancels_after is not None and self.count >= self.cancels_after:
            self.cancels_after = None
            try:
                services.request_cancel(number=self.order.number, user=self.order.owner)
            except CancelTooLate:
                assert Order.objects.get(pk=self.order.pk).status == "confirmed"

    def _deliver_in_order(self) -> bool:
        """Deliver, to each participant, the first of its permutation that it does not have, if it can come."""
        moved = False
        for consumer in PARTICIPANTS:
            waiting = self._list_waiting(consumer)
            wanted = [name for name in self.schedule.get(consumer, ()) if not self._has(consumer, name)]
            found = [row for row in waiting if row.type == wanted[0]] if wanted else waiting
            if found or [row for row in waiting if row.type not in self.schedule.get(consumer, (row.type,))]:
                self._deliver(consumer, (found or waiting)[0])
                moved = True
        return moved

    def _deliver_out_of_order(self) -> bool:
        """Deliver one event that should have come later, because what should come before it never will."""
        for consumer in PARTICIPANTS:
            if waiting := self._list_waiting(consumer):
                self._deliver(consumer, waiting[0])
                return True
        return False

    def _list_waiting(self, consumer: str) -> list[OutboxEvent]:
        """Return what a participant handles and was not given, in the order of its permutation."""
        handled = catalogue.handlers_of(consumer)
        rows = [
            row
            for alias in catalogue.event_databases()
            for row in OutboxEvent.objects.using(alias).filter(key=self.order.number).order_by("id")
            if row.type in handled and (consumer, str(row.event_id)) not in self.delivered
        ]
        places = {name: place for place, name in enumerate(self.schedule.get(consumer, ()))}
        return sorted(rows, key=lambda row: places.get(row.type, len(places)))

    def _has(self, consumer: str, name: str) -> bool:
        rows = InboxEvent.objects.using(catalogue.database_of(consumer))
        return rows.filter(consumer=consumer, key=self.order.number, type=name).exists()

    def _deliver(self, consumer: str, row: OutboxEvent) -> None:
        event = read_message(to_message(row), max_bytes=1_000_000)
        handlers, alias = catalogue.handlers_of(consumer), catalogue.database_of(consumer)
        for copy in (event, event, replace(event, id=f"{event.id}-again")):
            inbox.handle(
                Arrival(
                    consumer=consumer, alias=alias, event=copy, handler=handlers[row.type], topic="checkout",
                    position="",
                )
            )  # fmt: skip
        inbox.handle_due(consumer, alias, handlers, should_stop=lambda: False)
        self.delivered.add((consumer, str(row.event_id)))
        self.count += 1

    def _retry(self) -> None:
        for consumer in PARTICIPANTS:
            handlers, alias = catalogue.handlers_of(consumer), catalogue.database_of(consumer)
            inbox.handle_due(consumer, alias, handlers, should_stop=lambda: False)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of checkout, and the ends that it may have."""

    ends: tuple[Ledgers, ...]
    given: dict[str, Any] = field(default_factory=dict)
    cancels_after: int | None = None


BY_CUSTOMER = (cancelled("cancelled_by_customer"), KEPT)
SCENARIOS = {
    "happy": Scenario(ends=(KEPT,)),
    "out of stock": Scenario(given={"sku": SOLD_OUT}, ends=(cancelled("out_of_stock"),)),
    "card declined": Scenario(given={"payment_method": "pm_card_declined"}, ends=(cancelled("payment_declined"),)),
    "address not served": Scenario(given={"postal_code": "00000"}, ends=(cancelled("address_not_served"),)),
    **{f"cancelled after {count}": Scenario(ends=BY_CUSTOMER, cancels_after=count) for count in (0, 2, 4, 6, 9, 12)},
}


def list_schedules() -> Iterator[Schedule]:
    """Yield every permutation of one participant's events, the others' as they come."""
    yield {}
    for consumer, names in HANDLED.items():
        for permutation in itertools.permutations(names):
            # Nothing is booked or shipped before the order is confirmed, which needs the first three.
            if consumer != "orders" or set(permutation[:3]) == set(names[:3]):
                yield {consumer: permutation}


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_order_of_events_ends_right(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    scenario, schedules = SCENARIOS[name], list(list_schedules())
    taken = schedules[list(SCENARIOS).index(name) % STRIDE :: STRIDE]
    shop.fill_shop()
    deliveries, ends = 0, set()
    for schedule in taken:
        order = shop.place("choreography", **scenario.given)
        courier = Courier(order=order, schedule=schedule, cancels_after=scenario.cancels_after)
        courier.run()
        found = shop.read_ledgers(order.number)
        assert found in scenario.ends, schedule
        saga = shop.find_saga(order)
        assert (saga.closed_at is not None, saga.owed, saga.attention) == (True, [], []), schedule
        deliveries, ends = deliveries + courier.count, ends | {found.status}
    assert shop.read_stock()[1] == 0
    for alias in catalogue.event_databases():
        assert set(InboxEvent.objects.using(alias).values_list("state", flat=True)) == {"handled"}
        assert not Intent.objects.using(alias).filter(closed_at=None).exists()
    with capsys.disabled():
        sys.stdout.write(
            f"\n{name}: {len(taken)} of {len(schedules)} permutations, {deliveries} deliveries, each three times;"
            f" ended {' or '.join(sorted(ends))}\n"
        )
