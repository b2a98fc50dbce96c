"""Exhibits of the demo: one saga of each interesting kind, and how each gets to its end.

Imported late: Django must be set up before. Everything uses public interfaces: checkouts the REST API, engravings the
start of a saga by an app, and operators ``operations``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from sagas.core.definition import registry
from sagas.core.history_events import HistoryEvent
from sagas.core.states import Hold
from sagas.operators import operations
from sagas.operators.presentation.badges import SAGA_BADGES, in_words
from sagas.operators.presentation.states import DisplayState

from ..engraving.troubles import Trouble
from .checkouts import CUSTOMER, describe_checkout
from .client import ShopClient


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
class Intervention:
    """Operation of a user, performed once in one of the states."""

    username: str
    perform: Callable[..., object]
    states: frozenset[DisplayState]


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """Saga to look at.

    name: part of its key, so that a second run of the demo finds the saga of the first. title: what it shows, and what
    to do. origin: checkout or job that starts it. ends, hold: the state in which it stays; a hold means held.
    event: what its history must contain by then.
    """

    name: str
    title: str
    origin: Checkout | Engraving
    ends: DisplayState = DisplayState.HELD
    hold: Hold | None = None
    intervention: Intervention | None = None
    event: HistoryEvent | None = None

    @property
    def label(self) -> str:
        """State in which it stays, as the console shows it."""
        word = SAGA_BADGES[self.ends].word
        return f"{word}: {in_words(self.hold)}" if self.hold else word


def number_job(name: str) -> str:
    """Return the number of the job that leads to an exhibit."""
    return f"JOB-{name.upper()}"


TRYING = frozenset({DisplayState.RUNNING, DisplayState.WAITING_FOR_RETRY})
IS_HELD = frozenset({DisplayState.HELD})
IS_FAILING = frozenset({DisplayState.COMPENSATION_FAILING})

PAUSE = partial(operations.pause, reason="The provider expects to be back in an hour.")
CANCEL = partial(operations.cancel, reason="The customer called and no longer wants it.")
COMPENSATE = partial(operations.force_compensate, reason="Ordered by a tester in the wrong shop.")
MARK_SUCCEEDED = partial(
    operations.mark_succeeded,
    reason="The provider's dashboard shows the capture.",
    step="capture_payment",
    evidence="Provider's report of today, line 17: captured in full.",
)
MARK_COMPENSATED = partial(
    operations.mark_compensated,
    reason="We paid for the broken mug.",
    step="book_bench",
    evidence="The workshop's receipt of today: the bench is free again.",
)
SKIP = partial(operations.skip_step, reason="The customer collected the mug.", step="send_mug")
ABANDON = partial(operations.abandon, reason="The provider has closed the account; accounting refunds by transfer.")

RETRIED_TOGETHER = ("closed-1", "closed-2", "closed-3", "skipped")
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
        intervention=Intervention(username="operator", perform=CANCEL, states=frozenset({DisplayState.RUNNING})),
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
        intervention=Intervention(username="operator", perform=PAUSE, states=TRYING),
        hold=Hold.PAUSED,
    ),
    Exhibit(
        name="cancelled",
        title="cancelled by an operator while a step was being retried",
        origin=Checkout(payment_method="pm_card_unavailable"),
        intervention=Intervention(username="operator", perform=CANCEL, states=TRYING),
        ends=DisplayState.COMPENSATED,
    ),
    Exhibit(
        name="forced-back",
        title="force-compensated by an operator",
        origin=Checkout(payment_method="pm_card_unavailable"),
        intervention=Intervention(username="supervisor", perform=COMPENSATE, states=TRYING),
        ends=DisplayState.COMPENSATED,
    ),
    Exhibit(
        name="unknown-pivot",
        title="the outcome of the capture (the pivot) is unknown: look it up, then retry or mark it",
        origin=Checkout(payment_method="pm_card_capture_timeout"),
        hold=Hold.OUTCOME_UNKNOWN,
    ),
    Exhibit(
        name="marked",
        title="the same, after an operator looked it up and marked it: the saga completed",
        origin=Checkout(payment_method="pm_card_capture_timeout"),
        intervention=Intervention(username="supervisor", perform=MARK_SUCCEEDED, states=IS_HELD),
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
        intervention=Intervention(username="admin", perform=ABANDON, states=IS_FAILING),
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
        hold=Hold.MISCONFIGURED,
    ),
    Exhibit(
        name="no-version",
        title="no worker has its version of the definition: manage.py workshop_deploy simulates the deployment",
        origin=Engraving(trouble=Trouble.NONE, version=2),
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
        hold=Hold.CONTRACT_VIOLATION,
    ),
    Exhibit(
        name="skipped",
        title="the same, after an operator skipped the step",
        origin=Engraving(trouble=Trouble.SENT_BACK),
        intervention=Intervention(username="supervisor", perform=SKIP, states=IS_HELD),
        ends=DisplayState.COMPLETED,
    ),
    Exhibit(
        name="spoilt",
        title="the workshop refuses to compensate: fix the job and retry, or mark the step as compensated",
        origin=Engraving(trouble=Trouble.SPOILT),
        hold=Hold.COMPENSATION_REFUSED,
    ),
    Exhibit(
        name="settled",
        title="the same, after an operator settled it with the workshop and marked it",
        origin=Engraving(trouble=Trouble.SPOILT),
        intervention=Intervention(username="admin", perform=MARK_COMPENSATED, states=IS_HELD),
        ends=DisplayState.COMPENSATED,
    ),
)
