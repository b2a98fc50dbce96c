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

from sagas import clock, operations
from sagas.actors import Actor
from sagas.conf import get_settings
from sagas.display.states import CLOSED, DisplayState, judge_saga
from sagas.exceptions import OperationRefused
from sagas.journal import What
from sagas.models import Saga, SagaHistory

from .checkouts import CUSTOMER, describe_checkout
from .client import ShopClient

PATIENCE_LOOKS = 240  # about two minutes, as often as the demo looks after its processes

Act = Callable[[UUID, Actor], object]


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """One saga to look at.

    name: part of its idempotency key, so that a second start of the demo finds the saga of the first. title: what it
    shows. payment_method, postal_code: what leads there. act: what the administrator does, once, when the saga shows
    one of the states ``acts_in``. ends: the state in which it stays.
    """

    name: str
    title: str
    payment_method: str
    ends: DisplayState
    postal_code: str = "H91 E2V4"
    act: Act | None = None
    acts_in: frozenset[DisplayState] = frozenset()


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

    client: of the shop. say: tells a line of each that has arrived.
    """

    client: ShopClient
    say: Callable[[str], None]
    visits: list[Visit] | None = None

    def go_on(self) -> None:
        """Do what can be done by now. Never raises: a server that is away is met at the next call."""
        try:
            if self.visits is None:
                self.visits = self._place_all()
            self.visits = [visit for visit in self.visits if not self._has_arrived(visit)]
        except (DatabaseError, OSError, RuntimeError):
            return

    def _place_all(self) -> list[Visit]:
        customer = self.client.log_in(*CUSTOMER)
        return [self._place(customer, exhibit) for exhibit in EXHIBITS]

    def _place(self, customer: ShopClient, exhibit: Exhibit) -> Visit:
        """Place one, or find the one that an earlier start of the demo has placed."""
        body = describe_checkout("TEA-EARL-GREY", 1, exhibit.payment_method, postal_code=exhibit.postal_code)
        answer = customer.check_out(body, key=f"demo-gallery-{exhibit.name}")
        if answer.status != 202:
            raise RuntimeError(f"The checkout '{exhibit.title}' was answered {answer.status}: {answer.body}")
        saga_id = UUID(answer.body["saga"]["id"])
        is_to_act = exhibit.act is not None and not has_been_touched(saga_id)
        return Visit(exhibit=exhibit, saga_id=saga_id, is_to_act=is_to_act)

    def _has_arrived(self, visit: Visit) -> bool:
        visit.looks += 1
        exhibit, shown = visit.exhibit, read_display_state(visit.saga_id)
        if visit.is_to_act and shown in exhibit.acts_in:
            visit.is_to_act = not self._act(visit)
            return False
        if not visit.is_to_act and shown is exhibit.ends:
            self.say(f"  {visit.saga_id}  {shown.value.replace('_', ' '):21}  {exhibit.title}")
            return True
        # A visitor has taken it elsewhere, or the demo was stopped before its person could act.
        return shown in CLOSED.values() or visit.looks > PATIENCE_LOOKS

    def _act(self, visit: Visit) -> bool:
        """Act for the administrator; False when the saga does not allow it just now."""
        account = get_user_model().objects.get(username="admin")
        try:
            visit.exhibit.act(visit.saga_id, Actor.of_user(account))  # type: ignore[misc]
        except OperationRefused:
            return False
        return True


def has_been_touched(saga_id: UUID) -> bool:
    """Tell whether a person has acted on a saga."""
    using = get_settings().database
    return SagaHistory.objects.using(using).filter(saga_id=saga_id, what=What.OPERATOR_ACTED.value).exists()


def read_display_state(saga_id: UUID) -> DisplayState:
    """Read what the console shows of a saga."""
    using = get_settings().database
    saga = Saga.objects.using(using).get(pk=saga_id)
    return judge_saga(saga, list(saga.steps.all()), clock.read_now(using))


def _pause(saga_id: UUID, actor: Actor) -> object:
    return operations.pause(saga_id, actor=actor, reason="The provider says that it is back in an hour.")


def _cancel(saga_id: UUID, actor: Actor) -> object:
    return operations.cancel(saga_id, actor=actor, reason="The customer called: she does not want it any more.")


def _compensate(saga_id: UUID, actor: Actor) -> object:
    return operations.force_compensate(saga_id, actor=actor, reason="Ordered by a tester in the wrong shop.")


def _mark_succeeded(saga_id: UUID, actor: Actor) -> object:
    return operations.mark_succeeded(
        saga_id,
        actor=actor,
        reason="The provider's dashboard shows the capture.",
        step="capture_payment",
        evidence="Provider's report of today, line 17: captured in full.",
    )


def _abandon(saga_id: UUID, actor: Actor) -> object:
    return operations.abandon(
        saga_id, actor=actor, reason="The provider has closed the account; accounting refunds by transfer."
    )


TRYING = frozenset({DisplayState.RUNNING, DisplayState.WAITING_FOR_RETRY})

EXHIBITS = (
    Exhibit(
        name="pivot-declined",
        title="the capture, the pivot, was declined: everything before it is undone",
        payment_method="pm_card_capture_declined",
        ends=DisplayState.COMPENSATED,
    ),
    Exhibit(
        name="no-answer",
        title="the authorisation was never answered: the money that was held is set free",
        payment_method="pm_card_timeout",
        ends=DisplayState.COMPENSATED,
    ),
    Exhibit(
        name="unavailable",
        title="the provider could not be reached until the attempts were spent",
        payment_method="pm_card_unavailable",
        ends=DisplayState.COMPENSATED,
    ),
    Exhibit(
        name="paused",
        title="paused by a person: resume it, and see it go on",
        payment_method="pm_card_unavailable",
        acts_in=TRYING,
        act=_pause,
        ends=DisplayState.HELD,
    ),
    Exhibit(
        name="cancelled",
        title="cancelled by a person while a step was being tried again",
        payment_method="pm_card_unavailable",
        acts_in=TRYING,
        act=_cancel,
        ends=DisplayState.COMPENSATED,
    ),
    Exhibit(
        name="forced-back",
        title="force-compensated by a person",
        payment_method="pm_card_unavailable",
        acts_in=TRYING,
        act=_compensate,
        ends=DisplayState.COMPENSATED,
    ),
    Exhibit(
        name="unknown-pivot",
        title="nobody knows whether the capture, the pivot, happened: look it up, then mark it",
        payment_method="pm_card_capture_timeout",
        ends=DisplayState.HELD,
    ),
    Exhibit(
        name="marked",
        title="the same, after a person looked it up and marked it: the rest went on",
        payment_method="pm_card_capture_timeout",
        acts_in=frozenset({DisplayState.HELD}),
        act=_mark_succeeded,
        ends=DisplayState.COMPLETED,
    ),
    Exhibit(
        name="void-fails",
        title="a compensation keeps failing: clear the failure in the sandbox ledger, then retry",
        payment_method="pm_card_refund_fails",
        postal_code="00000",
        ends=DisplayState.COMPENSATION_FAILING,
    ),
    Exhibit(
        name="abandoned",
        title="the same, given up by a person: what it leaves behind is listed",
        payment_method="pm_card_refund_fails",
        postal_code="00000",
        acts_in=frozenset({DisplayState.COMPENSATION_FAILING}),
        act=_abandon,
        ends=DisplayState.ABANDONED,
    ),
)
