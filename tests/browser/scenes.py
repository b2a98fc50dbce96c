"""Scenes: sagas with a history, a night with trouble, bulks in every state."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from django.contrib.auth.models import User

from sagas import clock
from sagas.admin.ui.page_selection import ORCHESTRATION_TABS, Tab
from sagas.events import catalogue, dead_count
from sagas.models import InboxEvent, Saga, SagaBarrier, SagaBulk, SagaHistory, SagaWorker
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.operators.audit import access_log
from sagas.operators.bulk import freezing, runner
from sagas.operators.bulk.preconditions import Operation
from tests.admin import large_sagas, trips
from tests.events import world
from tests.events.world import Behaviour, Noticed, Paid
from tests.table_owner import as_table_owner

REASON = "The airline is open again, see ticket 42."
OPERATOR = Actor(name="operator", is_trusted=True)


def make_a_night() -> dict[str, Saga]:
    """Create one saga of each kind, several failures, and two operations. Returns: the sagas by kind."""
    sagas = {name: maker() for name, maker in trips.MAKERS.items()}
    for number in range(12):
        error = ConnectionError(f"No answer from 10.0.0.{number}:5432 after {number}.5 s; tried 'main' and 'spare'")
        trips.make_refused("book_hotel", error if number % 3 else RuntimeError("The lift is out of order."))
    for name in ("held_unknown", "compensation_failing", "retries_exhausted"):
        operations.pause(sagas[name].pk, actor=trips.BOSS, reason="Wait for the call of the bank, ticket 4711.")
        operations.resume(sagas[name].pk, actor=OPERATOR, reason=REASON)
    return sagas


def make_long_story() -> Saga:
    """Return a saga that was refused, and whose compensation failed often, then hourly."""
    saga = large_sagas.age(trips.make_compensation_failing(), timedelta(hours=200))
    hours = [(timedelta(hours=hour), timedelta(hours=hour, seconds=2)) for hour in range(1, 200)]
    large_sagas.add_attempts(saga, "book_flight", hours, direction="compensation")
    return saga


def make_marathon() -> Saga:
    """Return a saga of sixty steps."""
    return trips.drain(trips.start(large_sagas.MarathonSaga))


def make_crowd() -> Saga:
    """Return a saga with a group of twelve."""
    error = trips.RetryLater("Not at home.", after=3000)
    return trips.make_refused("ask_guest_7", error, definition=large_sagas.CrowdSaga)


def make_missing() -> Saga:
    """Return a saga whose version is missing from the code."""
    saga = trips.make_waiting_for_retry()
    Saga.objects.filter(pk=saga.pk).update(version=99, hold="definition_missing")
    return saga


STORIES: Mapping[str, Callable[[], Saga]] = {
    "failing": trips.make_compensation_failing,
    "unknown": trips.make_held_unknown,
    "completed": trips.make_completed,
    "long": make_long_story,
    "marathon": make_marathon,
    "crowd": make_crowd,
    "missing": make_missing,
}


# What each story adds to a view is seen in these; full runs see all views of all stories.
VIEWS: Mapping[str, Sequence[Tab]] = {
    "failing": ORCHESTRATION_TABS,
    "unknown": (Tab.GRAPH, Tab.HISTORY),
    "completed": (Tab.TIMELINE, Tab.STEPS),
    "long": (Tab.TIMELINE, Tab.HISTORY),
    "marathon": (Tab.GRAPH, Tab.TIMELINE),
    "crowd": (Tab.GRAPH, Tab.STEPS),
    "missing": (Tab.GRAPH, Tab.STEPS),
}


def make_workers_and_barriers(saga: Saga) -> None:
    """Create rows for the pages of workers, barriers and accesses: a worker that is gone, and one that stays."""
    for number, ahead in enumerate((timedelta(days=-1), timedelta(hours=1))):
        SagaWorker.objects.create(
            name=f"host-{number}:871/8",
            host=f"host-{number}",
            pid=871,
            started_at=saga.created_at,
            last_sweep_at=saga.created_at + ahead,
        )
        SagaBarrier.objects.create(
            key=f"{saga.pk}:step_{number}", direction="action", state="done", created_at=saga.created_at
        )
    access_log.log_access("operator", access_log.What.PAGE, saga_id=saga.pk)
    access_log.log_access("supervisor", access_log.What.EXPORT, detail="display=compensation_failing, started=24h")


def make_events(flow: Behaviour) -> InboxEvent:
    """Publish events that are handled, dead, held and parked. Returns: one that is dead."""
    dead_count.forget()
    world.send(Paid(order_id="ORD-5"), Noticed(text="The shelf is full."))
    for number in range(1, 4):
        key = f"ORD-{number}"
        flow.fails[key] = ValueError(
            f"No shelf takes the parcel of {key!r}, which is 2.4 m long and weighs {number} kg"
        )
        world.send(Paid(order_id=key))
    for _ in range(4):
        world.consume()
        clock.move(timedelta(seconds=2))
    world.send(Paid(order_id="ORD-1"))
    world.consume()
    alias = catalogue.database_of(world.CONSUMER)
    parked = InboxEvent.objects.using(alias).filter(key="ORD-5")
    parked.update(state="parked", error="No authority: TestPaid is sent by /shop/payments only.", handled_at=None)
    return InboxEvent.objects.using(alias).filter(state="dead").order_by("id")[0]


def tamper(saga: Saga) -> None:
    """Change the reasons of a saga's operations, as an owner of the table could."""
    with as_table_owner():
        SagaHistory.objects.filter(saga=saga, what="operator_acted").update(reason="nothing to see")


def freeze(sagas: list[Saga]) -> SagaBulk:
    """Freeze a set as the administrator."""
    return freezing.freeze_selected(Operation.CANCEL, [saga.pk for saga in sagas], actor=_administrator())


def start(sagas: list[Saga]) -> SagaBulk:
    """Freeze and confirm a set."""
    return freezing.start_bulk(freeze(sagas).pk, actor=_administrator(), reason=REASON)[0]


def run(found: SagaBulk) -> None:
    """Act as the workers for as long as it takes."""
    with clock.restored():
        while not freezing.find_bulk(found.pk).is_over:
            runner.advance(found.pk)
            clock.move(timedelta(seconds=10))


def _administrator() -> Actor:
    return Actor.of_user(User.objects.get(username="admin"))
