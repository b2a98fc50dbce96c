"""Exhibits of the demo: one saga of each interesting kind, and how each gets to its end.

Imported late: Django must be set up before. Everything uses public interfaces: checkouts the REST API, engravings the
start of a saga by an app, and operators ``operations``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from sagas.core.definition import registry
from sagas.core.history_events import HistoryEvent
from sagas.core.states import Hold
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.operators.presentation.badges import SAGA_BADGES, in_words
from sagas.operators.presentation.states import DisplayState

from ..engraving.troubles import Trouble
from .checkouts import CUSTOMER, describe_checkout
from .client import ShopClient

Act = Callable[[UUID, Actor], object]


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """Checkout that leads to an exhibit; its card and its postal code select what goes wrong."""

    payment_method: str
    postal_code: str = "H91 E2V4"

    def place(self, customer: ShopClient, name: str) -> UUID:
        """Place the checkout, or find the one that an earlier run of the demo placed.

        Raises: RuntimeError if the endpoint did not accept it.
        """
        body = describe_checkout("TEA-EARL-GREY", 1, self.payment_method, postal_code=self.postal_code)
        answer = customer.check_out(body, key=f"demo-gallery-{name}")
        if answer.status != 202:
            raise RuntimeError(f"The checkout '{name}' returned {answer.status}: {answer.body}")
        return UUID(answer.body["saga"]["id"])


@dataclass(frozen=True, kw_only=True)
class Engraving:
    """Job for the workshop that leads to an exhibit; only the demo has the workshop installed."""

    trouble: Trouble
    definition: str = "engraving"
    version: int = 1

    def place(self, _customer: ShopClient, name: str) -> UUID:
        """Place the job, or find the one that an earlier run of the demo placed."""
        from ..engraving import tomorrow  # noqa: F401 - registers its version here, but in no worker
        from ..engraving.services import place_job

        definition = registry.get(self.definition, self.version)
        return place_job(definition, number=number_job(name), trouble=self.trouble, customer=CUSTOMER[0])


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """Saga to look at.

    name: part of its key, so that a second run of the demo finds the saga of the first. title: what it shows, and what
    to do. origin: checkout or job that starts it. ends, hold: the state in which it stays. username, act: user and
    operation, performed once in one of the states ``acts_in``. event: what its history must contain by then.
    """

    name: str
    title: str
    origin: Checkout | Engraving
    ends: DisplayState
    hold: Hold | None = None
    username: str = ""
    act: Act | None = None
    acts_in: frozenset[DisplayState] = frozenset()
    event: HistoryEvent | None = None

    @property
    def label(self) -> str:
        """State in which it stays, as the console shows it."""
        word = SAGA_BADGES[self.ends].word
        return f"{word}: {in_words(self.hold)}" if self.hold else word


def number_job(name: str) -> str:
    """Return the number of the job that leads to an exhibit."""
    return f"JOB-{name.upper()}"


def _pause(saga_id: UUID, actor: Actor) -> object:
    return operations.pause(saga_id, actor=actor, reason="The provider expects to be back in an hour.")


def _cancel(saga_id: UUID, actor: Actor) -> object:
    return operations.cancel(saga_id, actor=actor, reason="The customer called and no longer wants it.")


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


def _mark_compensated(saga_id: UUID, actor: Actor) -> object:
    return operations.mark_compensated(
        saga_id,
        actor=actor,
        reason="We paid for the broken mug.",
        step="book_bench",
        evidence="The workshop's receipt of today: the bench is free again.",
    )


def _skip(saga_id: UUID, actor: Actor) -> object:
    return operations.skip_step(saga_id, actor=actor, reason="The customer collected the mug.", step="send_mug")


def _abandon(saga_id: UUID, actor: Actor) -> object:
    return operations.abandon(
        saga_id, actor=actor, reason="The provider has closed the account; accounting refunds by transfer."
    )


RETRIED_TOGETHER = ("closed-1", "closed-2", "closed-3", "skipped")
TRYING = frozenset({DisplayState.RUNNING, DisplayState.WAITING_FOR_RETRY})
IS_LIVE = frozenset({DisplayState.RUNNING})
IS_HELD = frozenset({DisplayState.HELD})

EXHIBITS = (
    # First, because its deadline is near; then the one that a worker holds until its lease is lost.
    Exhibit(
        name="overdue",
        title="its deadline passed after the pivot, so it must complete: fix the job, then retry",
        origin=Engraving(trouble=Trouble.COURIER_TOMORROW, definition="express_engraving"),
        ends=DisplayState.OVERDUE,
        event=HistoryEvent.PIVOT_PASSED,
    ),
    Exhibit(
        name="late-effect",
        title="a late answer arrived after compensation: its effect was compensated, too",
        origin=Engraving(trouble=Trouble.SLOW),
        acts_in=IS_LIVE,
        username="operator",
        act=_cancel,
        ends=DisplayState.COMPENSATED,
        event=HistoryEvent.SAGA_REOPENED,
    ),
    Exhibit(
        name="pivot-declined",
        title="the capture (the pivot) was declined: all earlier steps were compensated",
        origin=Checkout(payment_method="pm_card_capture_declined"),
        ends=DisplayState.COMPENSATED,
    ),
    Exhibit(
        name="no-answer",
        title="the authorisation was never answered: the held money was released",
        origin=Checkout(payment_method="pm_card_timeout"),
        ends=DisplayState.COMPENSATED,
    ),
    Exhibit(
        name="unavailable",
        title="the provider was unavailable in every attempt",
        origin=Checkout(payment_method="pm_card_unavailable"),
        ends=DisplayState.COMPENSATED,
    ),
    Exhibit(
        name="paused",
        title="paused by an operator: resume it to continue",
        origin=Checkout(payment_method="pm_card_unavailable"),
        acts_in=TRYING,
        username="operator",
        act=_pause,
        ends=DisplayState.HELD,
        hold=Hold.PAUSED,
    ),
    Exhibit(
        name="cancelled",
        title="cancelled by an operator while a step was being retried",
        origin=Checkout(payment_method="pm_card_unavailable"),
        acts_in=TRYING,
        username="operator",
        act=_cancel,
        ends=DisplayState.COMPENSATED,
    ),
    Exhibit(
        name="forced-back",
        title="force-compensated by an operator",
        origin=Checkout(payment_method="pm_card_unavailable"),
        acts_in=TRYING,
        username="supervisor",
        act=_compensate,
        ends=DisplayState.COMPENSATED,
    ),
    Exhibit(
        name="unknown-pivot",
        title="the outcome of the capture (the pivot) is unknown: look it up, then retry or mark it",
        origin=Checkout(payment_method="pm_card_capture_timeout"),
        ends=DisplayState.HELD,
        hold=Hold.OUTCOME_UNKNOWN,
    ),
    Exhibit(
        name="marked",
        title="the same, after an operator looked it up and marked it: the saga completed",
        origin=Checkout(payment_method="pm_card_capture_timeout"),
        acts_in=IS_HELD,
        username="supervisor",
        act=_mark_succeeded,
        ends=DisplayState.COMPLETED,
    ),
    Exhibit(
        name="void-fails",
        title="a compensation keeps failing: clear the failure in the sandbox ledger, then retry",
        origin=Checkout(payment_method="pm_card_refund_fails", postal_code="00000"),
        ends=DisplayState.COMPENSATION_FAILING,
    ),
    Exhibit(
        name="abandoned",
        title="the same, abandoned by an operator: the remaining effects are listed",
        origin=Checkout(payment_method="pm_card_refund_fails", postal_code="00000"),
        acts_in=frozenset({DisplayState.COMPENSATION_FAILING}),
        username="admin",
        act=_abandon,
        ends=DisplayState.ABANDONED,
    ),
    *(
        Exhibit(
            name=f"closed-{number}",
            title="the workshop is closed for an hour; three such sagas form one failure group",
            origin=Engraving(trouble=Trouble.CLOSED),
            ends=DisplayState.WAITING_FOR_RETRY,
        )
        for number in (1, 2, 3)
    ),
    Exhibit(
        name="busy",
        title="the workshop is still working on it, and is polled",
        origin=Engraving(trouble=Trouble.BUSY),
        ends=DisplayState.WAITING_FOR_ANSWER,
    ),
    Exhibit(
        name="silent",
        title="a step may have taken effect, and is retried under the same key",
        origin=Engraving(trouble=Trouble.SILENT),
        ends=DisplayState.OUTCOME_UNKNOWN,
    ),
    Exhibit(
        name="no-account",
        title="the shop has no account at the workshop: fix the job, then retry",
        origin=Engraving(trouble=Trouble.NO_ACCOUNT),
        ends=DisplayState.HELD,
        hold=Hold.MISCONFIGURED,
    ),
    Exhibit(
        name="no-version",
        title="no worker has its version of the definition: manage.py workshop_deploy simulates the deployment",
        origin=Engraving(trouble=Trouble.NONE, version=2),
        ends=DisplayState.HELD,
        hold=Hold.DEFINITION_MISSING,
    ),
    Exhibit(
        name="no-courier",
        title="a step that must succeed has used up its attempts, and is still retried: fix the job, then retry",
        origin=Engraving(trouble=Trouble.NO_COURIER),
        ends=DisplayState.RETRIES_EXHAUSTED,
    ),
    Exhibit(
        name="too-late",
        title="its deadline passed before the pivot: it was compensated",
        origin=Engraving(trouble=Trouble.BUSY, definition="express_engraving"),
        ends=DisplayState.COMPENSATED,
    ),
    Exhibit(
        name="sent-back",
        title="a step that must not be refused was refused: fix the job and retry, or skip the step",
        origin=Engraving(trouble=Trouble.SENT_BACK),
        ends=DisplayState.HELD,
        hold=Hold.CONTRACT_VIOLATION,
    ),
    Exhibit(
        name="skipped",
        title="the same, after an operator skipped the step",
        origin=Engraving(trouble=Trouble.SENT_BACK),
        acts_in=IS_HELD,
        username="supervisor",
        act=_skip,
        ends=DisplayState.COMPLETED,
    ),
    Exhibit(
        name="spoilt",
        title="the workshop refuses to compensate: fix the job and retry, or mark the step as compensated",
        origin=Engraving(trouble=Trouble.SPOILT),
        ends=DisplayState.HELD,
        hold=Hold.COMPENSATION_REFUSED,
    ),
    Exhibit(
        name="settled",
        title="the same, after an operator settled it with the workshop and marked it",
        origin=Engraving(trouble=Trouble.SPOILT),
        acts_in=IS_HELD,
        username="admin",
        act=_mark_compensated,
        ends=DisplayState.COMPENSATED,
    ),
)
