"""Advice on a saga: what its reader can do about it, by the reader's own permissions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...core.states import Attention, Hold, SagaState
from ...models import Saga, SagaStep
from ..actor import Actor
from .states import DisplayState, reasons_of
from .times import describe_span

SLOW_AFTER = timedelta(seconds=30)  # several sweeps and wake-up intervals: a healthy worker claims due work earlier


@dataclass(frozen=True, kw_only=True)
class Option:
    """Operation that may be the right one."""

    when: str
    """Under which condition, as the beginning of a sentence."""
    do: str
    """What to do, as the end of the sentence."""
    permission: str
    """The permission that it needs."""

    def describe(self, reader: Actor) -> str:
        """Return the sentence; a reader without the permission is sent to a supervisor."""
        do = self.do if reader.may(self.permission) else f"ask a supervisor to {self.do}"
        return f"{self.when} {do}."


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What to do about one hold or state."""

    text: str = ""
    """What every reader can do or know."""
    options: tuple[Option, ...] = ()
    """Operations that may follow."""

    def describe(self, reader: Actor) -> str:
        """Return the advice for a reader."""
        options = (option.describe(reader) for option in self.options)
        return " ".join([*([self.text] if self.text else []), *options])


def list_advice(
    saga: Saga, steps: Sequence[SagaStep], state: DisplayState, now: datetime, reader: Actor
) -> Iterator[str]:
    """Yield what the reader can do, a piece of advice at a time; nothing if there is nothing to do."""
    if not SagaState(saga.state).is_open:
        if state is DisplayState.ABANDONED and saga.effects_left:
            yield "Clean up by hand what was left behind; participants know each effect by its step key."
        return
    holds = [reason for reason in reasons_of(saga, steps) if reason in HOLD_ADVICE]
    yield from (HOLD_ADVICE[hold].describe(reader) for hold in holds)
    troubles = [ATTENTION_ADVICE[reason] for reason in saga.attention if reason in ATTENTION_ADVICE]
    yield from (advice.describe(reader) for advice in troubles)
    if state in STATE_ADVICE and not (troubles and state is DisplayState.WAITING_FOR_EVENT):
        yield STATE_ADVICE[state].describe(reader)
    if not holds and saga.due_at is not None and now - saga.due_at > SLOW_AFTER:
        waited = describe_span(now - saga.due_at)
        yield f"It has been due, unclaimed, for {waited}: check that a worker serves queue {saga.queue}."


def _retry(when: str) -> Option:
    return Option(when=when, do="retry", permission="retry_saga")


def _override(when: str, do: str) -> Option:
    return Option(when=when, do=do, permission="override_saga")


HOLD_ADVICE: Mapping[str, Advice] = {
    Hold.PAUSED.value: Advice(
        options=(Option(when="When the reason for the pause is gone,", do="resume it", permission="pause_saga"),)
    ),
    Hold.OUTCOME_UNKNOWN.value: Advice(
        text="Check what the participant did under the step key.",
        options=(
            _retry("If it can be asked again,"),
            _override("If you know the outcome,", "mark the step as succeeded or refused, with the evidence"),
        ),
    ),
    Hold.COMPENSATION_REFUSED.value: Advice(
        text="The participant will not undo it.",
        options=(
            _override("Once it is settled there by hand,", "mark the step as compensated"),
            _retry("If the obstacle is removed instead,"),
        ),
    ),
    Hold.CONTRACT_VIOLATION.value: Advice(
        text=(
            "A participant broke its contract: it refused what it must not refuse, or had closed the step key. Settle"
            " it there."
        ),
        options=(
            _override("If its work was done by other means,", "skip the step"),
            _override("If you know the outcome,", "mark it"),
            _retry("If the participant can do it now,"),
        ),
    ),
    Hold.DEFINITION_MISSING.value: Advice(
        text="Deploy the code that has this version of the definition; the saga then continues by itself.",
        options=(Option(when="Only if that will never happen,", do="abandon it", permission="abandon_saga"),),
    ),
    Hold.MISCONFIGURED.value: Advice(text="Fix the configuration that the error names.", options=(_retry("Then"),)),
}
ATTENTION_ADVICE: Mapping[str, Advice] = {
    Attention.EVENT_OVERDUE.value: Advice(
        text="Check the consumer, the outbox and the external calls of the participant that owes it.",
        options=(
            Option(when="If it can no longer come,", do="cancel", permission="cancel_saga"),
            _override("If you know the answer and it can no longer come,", "mark the step, with the evidence"),
        ),
    ),
    Attention.TRACKER_LAGGING.value: Advice(text="Start the tracker's consumer: event_consume --participant sagas."),
    Attention.EVENT_FAILING.value: Advice(
        text="Fix what the error of the event says; then retry, replay or discard the event."
    ),
    Attention.EVENT_UNEXPECTED.value: Advice(text="Settle with the participants what really happened."),
    Attention.INTENT_FAILING.value: Advice(
        text="Check what the participant did under the key of the call.",
        options=(
            _retry("If it can be asked again,"),
            _override("If you know the outcome,", "mark the step as succeeded or refused, with the evidence"),
        ),
    ),
}
STATE_ADVICE: Mapping[DisplayState, Advice] = {
    DisplayState.COMPENSATION_FAILING: Advice(
        text="Fix what the error says keeps the participant from undoing it.",
        options=(
            _retry("Then"),
            _override("If it is already undone,", "mark the step as compensated, with the evidence"),
        ),
    ),
    DisplayState.RETRIES_EXHAUSTED: Advice(text="Fix the cause that the error names.", options=(_retry("Then"),)),
    DisplayState.OVERDUE: Advice(
        text="Check its current step.", options=(_retry("If what it waits for has been fixed,"),)
    ),
    DisplayState.OUTCOME_UNKNOWN: Advice(text="Nothing to do: it is asked again by itself until the answer is known."),
    DisplayState.WAITING_FOR_RETRY: Advice(
        text="Nothing to do: it is tried again by itself.", options=(_retry("If the cause is fixed,"),)
    ),
    DisplayState.WAITING_FOR_ANSWER: Advice(text="Nothing to do: it is asked again by itself."),
    DisplayState.WAITING_FOR_EVENT: Advice(text="Nothing to do: it goes on when the event comes."),
}
