"""Flow of a choreographed saga: its events in the order of their causes, done, owed, late, dead or not due yet."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ...choreography.calls import OpenAnswers
from ...choreography.definition import ChoreographyDefinition
from ...choreography.deliveries import SagaEvent
from ...choreography.owed import Rules, StepRule
from ...core.states import SagaState
from ...models import InboxState, OutboxState, Saga
from .badges import Badge, Tone
from .debts import LATE, NOT_DUE, OWED
from .times import describe_span, describe_time

DONE = Badge(word="done", icon="check", tone=Tone.GOOD)
REFUSED = Badge(word="refused", icon="cross", tone=Tone.BACK)
BACK = Badge(word="turned back", icon="back", tone=Tone.BACK)
UNDONE = Badge(word="undone", icon="returned", tone=Tone.BACK)
STATED = Badge(word="stated", icon="hand", tone=Tone.GOOD)
UNSENT = Badge(word="unsent", icon="hourglass", tone=Tone.WAITING)
SENT = Badge(word="not recorded", icon="hourglass", tone=Tone.WAITING)
DEAD = Badge(word="dead", icon="warning", tone=Tone.URGENT)
EXPECTED = frozenset({OWED, LATE, DEAD, NOT_DUE})
STUCK = frozenset({InboxState.DEAD, InboxState.PARKED})


@dataclass(frozen=True, kw_only=True)
class Station:
    """One event of the flow, sent or expected."""

    type: str
    sender: str
    step: str
    """Empty: the event that begins or cancels the saga."""
    badge: Badge
    detail: str
    """When it was written, or for how long it has been owed."""
    causes: tuple[str, ...]
    """Events of the flow that it follows."""
    column: int
    """Its distance from the beginning."""
    event: SagaEvent | None
    """What is known of it; None if it was not sent, or no database that answered has it."""

    @property
    def is_expected(self) -> bool:
        """Whether it is still to come."""
        return self.badge in EXPECTED


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    type: str
    step: str
    causes: tuple[str, ...]
    sent: Badge
    """What it is once it is recorded."""
    is_ahead: bool
    """Whether it belongs to the way that is still to come."""


def list_stations(
    saga: Saga, definition: type[ChoreographyDefinition], answers: OpenAnswers, now: datetime
) -> list[Station]:
    """Return the stations of a saga in the order of the steps, each with its column."""
    return _Flow(saga, definition, answers, now).list_stations()


class _Flow:
    """One saga, its events and what is owed."""

    def __init__(
        self, saga: Saga, definition: type[ChoreographyDefinition], answers: OpenAnswers, now: datetime
    ) -> None:
        self.saga, self.definition, self.answers, self.now = saga, definition, answers, now
        self.rules: Rules = definition.rules()
        self.facts = {event.type: event for event in answers.events if event.fact is not None}
        self.debts: Mapping[str, dict[str, Any]] = {
            name: debt for debt in reversed(saga.owed) for name in debt["types"]
        }

    def list_stations(self) -> list[Station]:
        columns: dict[str, int] = {}
        found = []
        for one in self._list_candidates():
            causes = tuple(name for name in one.causes if name in columns)
            badge, detail = self._judge(one)
            columns[one.type] = max((columns[name] + 1 for name in causes), default=0)
            found.append(
                Station(
                    type=one.type, sender=self.rules.senders[one.type], step=one.step, badge=badge, detail=detail,
                    causes=causes, column=columns[one.type], event=self.answers.find_event(one.type),
                )
            )  # fmt: skip
        return found

    def _list_candidates(self) -> Iterator[_Candidate]:
        rules, saga = self.rules, self.saga
        yield _Candidate(type=rules.begins_with, step="", causes=(), sent=DONE, is_ahead=True)
        goes_on = SagaState(saga.state).is_open and saga.state != SagaState.COMPENSATING
        refusals = [name for name in rules.refusals if self._is_known(name)]
        for step in rules.steps:
            is_ahead = goes_on and not refusals
            for name in step.success:
                yield from self._show(name, step, step.after, DONE, is_ahead=is_ahead)
            for name in step.refusal:
                yield from self._show(name, step, step.after, REFUSED)
        causes = tuple(refusals) or tuple(name for name in self.facts if name != rules.cancelled_by)[-1:]
        debt = self.debts.get(rules.cancelled_by)
        is_owed = debt is not None and debt["types"][0] == rules.cancelled_by
        if is_owed or self._is_known(rules.cancelled_by):
            step_name = rules.pivot.name
            yield _Candidate(type=rules.cancelled_by, step=step_name, causes=causes, sent=BACK, is_ahead=False)
        for step in rules.steps:
            for name in step.undone:
                yield from self._show(name, step, (rules.cancelled_by,), UNDONE, may_be_owed=True)

    def _show(
        self,
        name: str,
        step: StepRule,
        causes: tuple[str, ...],
        sent: Badge,
        *,
        is_ahead: bool = False,
        may_be_owed: bool = False,
    ) -> Iterator[_Candidate]:
        """Yield an event if it is known, owed, or still to come."""
        is_owed = name in self.debts and (may_be_owed or name in step.success)
        if is_ahead or is_owed or self._is_known(name):
            yield _Candidate(type=name, step=step.name, causes=causes, sent=sent, is_ahead=is_ahead)

    def _is_known(self, name: str) -> bool:
        return name in self.facts or self.answers.find_event(name) is not None

    def _judge(self, one: _Candidate) -> tuple[Badge, str]:
        """Return the badge of an event, and when it was written or for how long it has been owed."""
        event = self.answers.find_event(one.type)
        if event is not None and event.fact is not None:
            return (STATED if event.fact.is_assumed else one.sent), describe_time(event.first_at)
        if event is not None:
            is_sent = event.sent is None or event.sent.state == OutboxState.SENT
            return (SENT if is_sent else UNSENT), describe_time(event.first_at)
        debt = self.debts.get(one.type)
        if debt is None:
            return NOT_DUE, ""
        span = describe_span(self.now - datetime.fromisoformat(debt["since"]))
        if self._is_stuck(debt):
            return DEAD, f"for {span}"
        return (LATE if datetime.fromisoformat(debt["due_at"]) <= self.now else OWED), f"for {span}"

    def _is_stuck(self, debt: dict[str, Any]) -> bool:
        cause = self.answers.find_event(debt["causes"][-1], debt["cause"])
        receipt = cause.find_receipt(debt["by"]) if cause is not None else None
        return receipt is not None and receipt.state in STUCK
