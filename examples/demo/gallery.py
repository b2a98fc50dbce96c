"""Gallery of one saga of each interesting kind, for users of the demo's console.

Imported late: Django must be set up before. Nothing here waits: ``Gallery.go_on`` does what is possible now, and the
demo calls it repeatedly while it supervises its processes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import Error as DatabaseError

from sagas import clock
from sagas.conf import get_settings
from sagas.core.history_events import HistoryEvent
from sagas.core.states import Hold
from sagas.exceptions import OperationRefused
from sagas.models import Saga, SagaBulk, SagaHistory, SagaKey
from sagas.operators.actor import Actor
from sagas.operators.bulk import freezing
from sagas.operators.preconditions import Operation
from sagas.operators.presentation.states import CLOSED, DisplayState, judge_saga, reasons_of

from .checkouts import CUSTOMER
from .client import ShopClient
from .showcase import EXHIBITS, RETRIED_TOGETHER, Exhibit, Intervention, number_job

PATIENCE_LOOKS = 240  # about two minutes at the demo's supervision interval


@dataclass
class Visit:
    """Exhibit on its way to its end."""

    exhibit: Exhibit
    saga_id: UUID
    is_to_act: bool
    looks: int = 0


@dataclass
class Gallery:
    """Exhibits and their progress to their ends.

    client: of the shop. say: reports a line for each exhibit at its end. end: reports that all are.
    """

    client: ShopClient
    say: Callable[[str], None]
    end: Callable[[], None]
    visits: list[Visit] | None = None
    bulk_id: UUID | None = None
    is_over: bool = False

    def go_on(self) -> None:
        """Do what is possible now. Errors of unavailable servers are ignored: the next call tries again."""
        try:
            if self.visits is None:
                self.visits = self._place_all()
            self.visits = [visit for visit in self.visits if not self._has_arrived(visit)]
            if not self.visits and not self.is_over:
                self.is_over = self._has_acted_on_many()
                if self.is_over:
                    self.end()
        except (DatabaseError, OSError, OperationRefused, RuntimeError):
            return

    def _place_all(self) -> list[Visit]:
        customer = self.client.log_in(*CUSTOMER)
        return [self._place(customer, exhibit) for exhibit in EXHIBITS]

    def _place(self, customer: ShopClient, exhibit: Exhibit) -> Visit:
        saga_id = exhibit.origin.place(customer, exhibit.name)
        is_to_act = exhibit.intervention is not None and not has_in_history(saga_id, HistoryEvent.OPERATOR_ACTED)
        return Visit(exhibit=exhibit, saga_id=saga_id, is_to_act=is_to_act)

    def _has_arrived(self, visit: Visit) -> bool:
        visit.looks += 1
        exhibit, (shown, hold) = visit.exhibit, read_state(visit.saga_id)
        if visit.is_to_act and exhibit.intervention and shown in exhibit.intervention.states:
            visit.is_to_act = not self._act(exhibit.intervention, visit.saga_id)
            return False
        has_event = exhibit.event is None or has_in_history(visit.saga_id, exhibit.event)
        if not visit.is_to_act and (shown, hold) == (exhibit.ends, exhibit.hold) and has_event:
            self.say(f"  {visit.saga_id}  {exhibit.label:30}  {exhibit.title}")
            return True
        # A user of the console has changed it, or the demo was stopped before its operation.
        return (shown in CLOSED.values() and has_event) or visit.looks > PATIENCE_LOOKS

    def _act(self, intervention: Intervention, saga_id: UUID) -> bool:
        """Perform the exhibit's operation; return False if the saga does not allow it now."""
        try:
            intervention.perform(saga_id, actor=find_actor(intervention.username))
        except OperationRefused:
            return False
        return True

    def _has_acted_on_many(self) -> bool:
        """Retry, once and in one bulk by the supervisor, engravings that wait for a retry and one that is closed."""
        bulks = SagaBulk.objects.using(get_settings().database)
        if self.bulk_id is None:
            if bulks.exists():
                return True
            numbers = [number_job(name) for name in RETRIED_TOGETHER]
            jobs = SagaKey.objects.using(get_settings().database).filter(name="job", value__in=numbers)
            chosen = list(jobs.values_list("saga_id", flat=True))
            actor = find_actor("supervisor")
            self.bulk_id = freezing.freeze_selected(Operation.RETRY, chosen, actor=actor).pk
            freezing.start_bulk(self.bulk_id, actor=actor, reason="The workshop is open again.")
        if not bulks.get(pk=self.bulk_id).is_over:
            return False
        self.say(f"  {self.bulk_id}  {'bulk':30}  one retry of four sagas: three were waiting, one was closed")
        return True


def has_in_history(saga_id: UUID, what: HistoryEvent) -> bool:
    """Return whether a saga's history has an entry of this kind."""
    using = get_settings().database
    return SagaHistory.objects.using(using).filter(saga_id=saga_id, what=what.value).exists()


def find_actor(username: str) -> Actor:
    """Return one of the demo's users as an actor, whose permissions are checked."""
    return Actor.of_user(get_user_model()._default_manager.get(username=username))


def read_state(saga_id: UUID) -> tuple[DisplayState, Hold | None]:
    """Return a saga's state as the console shows it, and the hold behind it."""
    using = get_settings().database
    saga = Saga.objects.using(using).get(pk=saga_id)
    steps = list(saga.steps.all())
    holds = [Hold(reason) for reason in reasons_of(saga, steps) if reason in set(Hold)]
    return judge_saga(saga, steps, clock.read_now(using)), holds[0] if holds else None
