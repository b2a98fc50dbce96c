"""Choreographed checkouts in the states that operators meet: on their way, late, dead, completed, undone."""

from collections.abc import Callable, Mapping
from datetime import timedelta

from sagas import clock
from sagas.choreography import sweeping
from sagas.events import catalogue, relay
from sagas.models import EventConsumer, InboxEvent, OutboxEvent, Saga

from . import shop

PAUSE = timedelta(seconds=2)


def place(**changes: str) -> Saga:
    """Place a choreographed order and return its saga."""
    shop.fill_shop()
    return shop.find_saga(shop.place("choreography", **changes))


def make_placed() -> Saga:
    """Return a saga whose first event is unsent."""
    return place()


def make_owed() -> Saga:
    """Return a saga that was paid, and whose stock is owed."""
    saga = place()
    go_on("payments", turns=3)
    return read(saga)


def make_late() -> Saga:
    """Return a saga whose stock is owed for longer than its limit."""
    saga = make_owed()
    clock.move(timedelta(minutes=6))
    see(catalogue.TRACKER)
    sweeping.sweep()
    return read(saga)


def make_dead() -> Saga:
    """Return a saga whose stock is owed because the event that asks for it is dead."""
    saga = make_owed()
    shop.consume("inventory")
    rows = InboxEvent.objects.using(catalogue.database_of("inventory"))
    rows.filter(type="PaymentCompleted", consumer="inventory").update(
        state="dead", handled_at=None, attempts=10, error_class="builtins.RuntimeError", error="The shelf is locked."
    )
    OutboxEvent.objects.using(rows.db).filter(type="StockReserved").delete()
    sweeping.sweep()
    return read(saga)


def make_completed() -> Saga:
    """Return a completed saga."""
    return _run(place())


def make_undone() -> Saga:
    """Return a saga whose payment was refunded because the product was sold out."""
    return _run(place(sku=shop.SOLD_OUT))


STORIES: Mapping[str, Callable[[], Saga]] = {
    "placed": make_placed,
    "owed": make_owed,
    "late": make_late,
    "dead": make_dead,
    "completed": make_completed,
    "undone": make_undone,
}


def go_on(*participants: str, turns: int = 1) -> None:
    """Let some participants and the tracker go on."""
    for _ in range(turns):
        for alias in catalogue.event_databases():
            relay.relay_all(alias)
        for label in (*participants, catalogue.TRACKER):
            shop.consume(label)
        shop.performing.perform_due()


def see(consumer: str) -> None:
    """Note that a consumer runs and has read everything."""
    using = catalogue.database_of(consumer)
    now = clock.read_now(using)
    EventConsumer.objects.using(using).update_or_create(
        consumer=consumer, name="host:1", defaults={"transport": "memory", "started_at": now, "seen_at": now, "lag": 0}
    )


def read(saga: Saga) -> Saga:
    """Return the saga as it is now."""
    return Saga.objects.get(pk=saga.pk)


def _run(saga: Saga) -> Saga:
    while shop.turn():
        clock.move(PAUSE)
    return read(saga)
