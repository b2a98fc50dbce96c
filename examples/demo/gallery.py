"""Leave one saga of each interesting kind behind, for whoever opens the demo's console.

Imported late: Django must be set up before. Nothing here waits: ``Gallery.go_on`` does what can be done by now, and the
demo calls it again and again while it looks after its processes.
"""

from __future__ import annotations

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
from sagas.operators.bulk import selection
from sagas.operators.preconditions import Operation
from sagas.operators.presentation.states import CLOSED, DisplayState, judge_saga, reasons_of

from .checkouts import CUSTOMER
from .client import ShopClient
from .showcase import EXHIBITS, RETRIED_TOGETHER, Exhibit, number_job

PATIENCE_LOOKS = 240  # about two minutes, as often as the demo looks after its processes


@dataclass
class Visit:
    """An exhibit on its way to its end."""

    exhibit: Exhibit
    saga_id: UUID
    is_to_act: bool
    looks: int = 0


@dataclass
class Gallery:
    """Bring the exhibits to where they are worth a look.

    client: of the shop. say: tells a line of each that has arrived. end: tells that all have.
    """

    client: ShopClient
    say: Callable[[str], None]
    end: Callable[[], None]
    visits: list[Visit] | None = None
    bulk_id: UUID | None = None
    is_over: bool = False

    def go_on(self) -> None:
        """Do what can be done by now. Never raises: a server that is away is met at the next call."""
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
        is_to_act = exhibit.act is not None and not has_in_history(saga_id, HistoryEvent.OPERATOR_ACTED)
        return Visit(exhibit=exhibit, saga_id=saga_id, is_to_act=is_to_act)

    def _has_arrived(self, visit: Visit) -> bool:
        visit.looks += 1
        exhibit, (shown, hold) = visit.exhibit, read_state(visit.saga_id)
        if visit.is_to_act and shown in exhibit.acts_in:
            visit.is_to_act = not self._act(visit)
            return False
        has_told = exhibit.tells is None or has_in_history(visit.saga_id, exhibit.tells)
        if not visit.is_to_act and (shown, hold) == (exhibit.ends, exhibit.hold) and has_told:
            self.say(f"  {visit.saga_id}  {exhibit.label:30}  {exhibit.title}")
            return True
        # A visitor has taken it elsewhere, or the demo was stopped before its person could act.
        return (shown in CLOSED.values() and has_told) or visit.looks > PATIENCE_LOOKS

    def _act(self, visit: Visit) -> bool:
        """Act for the exhibit's person; False when the saga does not allow it just now."""
        try:
            visit.exhibit.act(visit.saga_id, find_actor(visit.exhibit.person))  # type: ignore[misc]
        except OperationRefused:
            return False
        return True

    def _has_acted_on_many(self) -> bool:
        """Let the supervisor retry once, in one bulk, engravings that wait for a retry and one that is over."""
        bulks = SagaBulk.objects.using(get_settings().database)
        if self.bulk_id is None:
            if bulks.exists():
                return True
            numbers = [number_job(name) for name in RETRIED_TOGETHER]
            jobs = SagaKey.objects.using(get_settings().database).filter(name="job", value__in=numbers)
            chosen = list(jobs.values_list("saga_id", flat=True))
            actor = find_actor("supervisor")
            self.bulk_id = selection.freeze_selected(Operation.RETRY, chosen, actor=actor).pk
            selection.start_bulk(self.bulk_id, actor=actor, reason="A neighbour says that the workshop is open again.")
        if not bulks.get(pk=self.bulk_id).is_over:
            return False
        self.say(f"  {self.bulk_id}  {'bulk':30}  a retry of four sagas at once: three waited, one was over")
        return True


def has_in_history(saga_id: UUID, what: HistoryEvent) -> bool:
    """Tell whether a saga's history holds an entry of this kind."""
    using = get_settings().database
    return SagaHistory.objects.using(using).filter(saga_id=saga_id, what=what.value).exists()


def find_actor(username: str) -> Actor:
    """Return one of the demo's people as an actor, whose permissions count."""
    return Actor.of_user(get_user_model()._default_manager.get(username=username))


def read_state(saga_id: UUID) -> tuple[DisplayState, Hold | None]:
    """Read what the console shows of a saga, and the hold behind it."""
    using = get_settings().database
    saga = Saga.objects.using(using).get(pk=saga_id)
    steps = list(saga.steps.all())
    holds = [Hold(reason) for reason in reasons_of(saga, steps) if reason in set(Hold)]
    return judge_saga(saga, steps, clock.read_now(using)), holds[0] if holds else None
