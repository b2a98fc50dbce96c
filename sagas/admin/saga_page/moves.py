"""Words of the history's column *From → to*: those of the badges, which say more than the stored states."""

from collections.abc import Mapping

from ...core.history_events import HistoryEvent
from ...core.states import Outcome, StepState
from ...models import SagaHistory
from ...operators.preconditions import Operation
from ...operators.presentation import StepDisplay
from ...operators.presentation.badges import STEP_BADGES, in_words
from ...operators.preview import LABELS

# A waiting step, whose entry before is not on the page, is not told apart by what it waits for.
STEP_DISPLAYS: Mapping[str, StepDisplay] = {
    StepState.PENDING: StepDisplay.NOT_STARTED,
    StepState.UNKNOWN: StepDisplay.OUTCOME_UNKNOWN,
}


class Moves:
    """Moves of the entries of a history in order, with what each step was last said to be."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, str]] = {}  # stored state and word of each step

    def describe(self, entry: SagaHistory) -> str:
        """Return from where to where an entry moved its saga or step; a state that stays is named once."""
        state, word = self._last.get(entry.step, ("", ""))
        before = word if entry.step and entry.from_state == state else _describe_state(entry, entry.from_state)
        is_same = entry.what == HistoryEvent.STEP_WOKEN
        after = before if is_same else _describe_state(entry, entry.to_state, is_reached=True)
        if entry.step and entry.to_state in set(StepState):
            self._last[entry.step] = (entry.to_state, after)
        return " → ".join(dict.fromkeys(word for word in (before, after) if word))


def _describe_state(entry: SagaHistory, code: str, *, is_reached: bool = False) -> str:
    """Return a stored code in words; ``is_reached``: the entry moved there, so it says what the step waits for."""
    if entry.what == HistoryEvent.OPERATOR_ACTED and code in set(Operation):
        return LABELS[Operation(code)]
    if not entry.step:
        return in_words(code)
    if is_reached and code == StepState.WAITING:
        is_answer = entry.outcome == Outcome.IN_PROGRESS  # type: ignore[attr-defined]
        return STEP_BADGES[StepDisplay.WAITING_FOR_ANSWER if is_answer else StepDisplay.WAITING_FOR_RETRY].word
    if is_reached and code == StepState.COMPENSATING and entry.what != HistoryEvent.COMPENSATION_CLAIMED:
        return STEP_BADGES[StepDisplay.COMPENSATION_WAITING].word
    return STEP_BADGES[STEP_DISPLAYS[code]].word if code in STEP_DISPLAYS else in_words(code)
