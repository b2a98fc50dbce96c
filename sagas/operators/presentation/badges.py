"""Badges of display states: a word, an icon and a colour, so that none of them is the only signal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ...core.states import Attention
from ...models import Saga, SagaStep
from .states import DisplayState, StepDisplay, judge_saga, judge_step, reasons_of


class Tone(StrEnum):
    """Colours, by what they ask of the reader."""

    QUIET = "quiet"  #: nothing to note
    ACTIVE = "active"  #: work goes on
    WAITING = "waiting"  #: work goes on by itself, later
    BACK = "back"  #: compensating or compensated
    URGENT = "urgent"  #: an operator must act or look
    GOOD = "good"  #: went well


@dataclass(frozen=True, kw_only=True)
class Badge:
    """Badge of a display state."""

    word: str
    """The text."""
    icon: str
    """Name of the symbol in ``static/sagas/icons.svg``."""
    tone: Tone
    """The colour."""
    detail: str = ""
    """The reason, if there is one."""

    @property
    def css_class(self) -> str:
        """The classes of the element that shows it."""
        return f"saga-badge saga-tone-{self.tone}"

    @property
    def text(self) -> str:
        """The word and the reason together."""
        return f"{self.word}: {self.detail}" if self.detail else self.word


SAGA_BADGES: Mapping[DisplayState, Badge] = {
    DisplayState.HELD: Badge(word="held", icon="hand", tone=Tone.URGENT),
    DisplayState.COMPENSATION_FAILING: Badge(word="compensation failing", icon="warning", tone=Tone.URGENT),
    DisplayState.COMPENSATING: Badge(word="compensating", icon="back", tone=Tone.BACK),
    DisplayState.RETRIES_EXHAUSTED: Badge(word="retries exhausted", icon="warning", tone=Tone.URGENT),
    DisplayState.OVERDUE: Badge(word="overdue", icon="clock", tone=Tone.URGENT),
    DisplayState.RUNNING: Badge(word="running", icon="play", tone=Tone.ACTIVE),
    DisplayState.OUTCOME_UNKNOWN: Badge(word="outcome unknown, asking again", icon="question", tone=Tone.WAITING),
    DisplayState.WAITING_FOR_RETRY: Badge(word="waiting for a retry", icon="repeat", tone=Tone.WAITING),
    DisplayState.WAITING_FOR_ANSWER: Badge(word="waiting for an answer", icon="hourglass", tone=Tone.WAITING),
    DisplayState.WAITING_FOR_EVENT: Badge(word="waiting for an event", icon="hourglass", tone=Tone.WAITING),
    DisplayState.PENDING: Badge(word="pending", icon="circle", tone=Tone.QUIET),
    DisplayState.COMPLETED: Badge(word="completed", icon="check", tone=Tone.GOOD),
    DisplayState.COMPENSATED: Badge(word="compensated", icon="returned", tone=Tone.BACK),
    DisplayState.ABANDONED: Badge(word="abandoned", icon="cross", tone=Tone.QUIET),
}
STEP_BADGES: Mapping[StepDisplay, Badge] = {
    StepDisplay.NOT_STARTED: Badge(word="not started", icon="circle", tone=Tone.QUIET),
    StepDisplay.NEVER_RAN: Badge(word="never ran", icon="dash", tone=Tone.QUIET),
    StepDisplay.RUNNING: Badge(word="running", icon="play", tone=Tone.ACTIVE),
    StepDisplay.HELD: Badge(word="held", icon="hand", tone=Tone.URGENT),
    StepDisplay.WAITING_FOR_RETRY: Badge(word="waiting for a retry", icon="repeat", tone=Tone.WAITING),
    StepDisplay.WAITING_FOR_ANSWER: Badge(word="waiting for an answer", icon="hourglass", tone=Tone.WAITING),
    StepDisplay.WAITING_FOR_EVENT: Badge(word="waiting for an event", icon="hourglass", tone=Tone.WAITING),
    StepDisplay.OUTCOME_UNKNOWN: Badge(word="outcome unknown", icon="question", tone=Tone.WAITING),
    StepDisplay.RETRIES_EXHAUSTED: Badge(word="retries exhausted", icon="warning", tone=Tone.URGENT),
    StepDisplay.NOT_ASKED_AGAIN: Badge(word="not asked again", icon="dash", tone=Tone.QUIET),
    StepDisplay.SUCCEEDED: Badge(word="succeeded", icon="check", tone=Tone.GOOD),
    StepDisplay.REFUSED: Badge(word="refused", icon="cross", tone=Tone.BACK),
    StepDisplay.SKIPPED: Badge(word="skipped", icon="dash", tone=Tone.QUIET),
    StepDisplay.COMPENSATING: Badge(word="compensating", icon="back", tone=Tone.BACK),
    StepDisplay.COMPENSATION_WAITING: Badge(word="compensation waits", icon="repeat", tone=Tone.WAITING),
    StepDisplay.COMPENSATION_FAILING: Badge(word="compensation failing", icon="warning", tone=Tone.URGENT),
    StepDisplay.COMPENSATED: Badge(word="compensated", icon="returned", tone=Tone.BACK),
}


# An event does not come by itself any more, or for too long.
STUCK = frozenset({Attention.EVENT_OVERDUE.value, Attention.EVENT_FAILING.value, Attention.INTENT_FAILING.value})
LATE_EVENT = Badge(word="waiting for an event", icon="clock", tone=Tone.URGENT)


def badge_of_state(state: DisplayState) -> Badge:
    """Return the badge of a display state without details."""
    return SAGA_BADGES[state]


def badge_of_saga(saga: Saga, steps: Sequence[SagaStep], now: datetime) -> Badge:
    """Return the badge of a saga, with the reasons why an operator should look."""
    state = judge_saga(saga, steps, now)
    badge = SAGA_BADGES[state]
    others = [in_words(reason) for reason in reasons_of(saga, steps) if reason != state.value]
    if state is DisplayState.WAITING_FOR_EVENT and not STUCK.isdisjoint(saga.attention):
        badge = LATE_EVENT
    return Badge(word=badge.word, icon=badge.icon, tone=badge.tone, detail=", ".join(others))


def badge_of_step(step: SagaStep, saga: Saga) -> Badge:
    """Return the badge of a step, with its hold and whether an operator decided its state."""
    state = judge_step(step, saga)
    badge = STEP_BADGES[state]
    details = [in_words(step.hold)] if step.hold else []
    details += ["decided by an operator"] if step.is_assumed else []
    return Badge(word=badge.word, icon=badge.icon, tone=badge.tone, detail=", ".join(details))


def in_words(code: str) -> str:
    """Return a stored code as words."""
    return code.replace("_", " ")
