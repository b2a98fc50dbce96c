"""Severity of sagas: which one an operator should see first."""

from collections.abc import Iterable
from enum import IntEnum

from .states import Attention, Hold, SagaState


class Severity(IntEnum):
    """Severity of a saga, the most severe first; open sagas come before closed ones."""

    OUTCOME_UNKNOWN = 10  #: it is not known whether a step happened, often whether money moved
    EFFECT_REMAINS = 20  #: an effect should be undone and is not
    CONTRACT_BROKEN = 30  #: a participant did what it must never do
    BLOCKED = 40  #: code or configuration is missing
    RETRIES_EXHAUSTED = 50  #: a step that must succeed keeps failing
    LATE = 60  #: past its deadline, or an effect came late
    PAUSED = 70  #: an operator stopped it
    OPEN = 80  #: no operator is needed
    CLOSED = 90


SEVERITIES = {
    Hold.OUTCOME_UNKNOWN: Severity.OUTCOME_UNKNOWN,
    Hold.COMPENSATION_REFUSED: Severity.EFFECT_REMAINS,
    Attention.COMPENSATION_FAILING: Severity.EFFECT_REMAINS,
    Hold.CONTRACT_VIOLATION: Severity.CONTRACT_BROKEN,
    Hold.DEFINITION_MISSING: Severity.BLOCKED,
    Hold.MISCONFIGURED: Severity.BLOCKED,
    Attention.RETRIES_EXHAUSTED: Severity.RETRIES_EXHAUSTED,
    Attention.OVERDUE: Severity.LATE,
    Attention.LATE_EFFECT: Severity.LATE,
    Attention.EVENT_UNEXPECTED: Severity.CONTRACT_BROKEN,
    Attention.EVENT_FAILING: Severity.RETRIES_EXHAUSTED,
    Attention.INTENT_FAILING: Severity.RETRIES_EXHAUSTED,
    Attention.EVENT_OVERDUE: Severity.LATE,
    Attention.TRACKER_LAGGING: Severity.LATE,
    Hold.PAUSED: Severity.PAUSED,
}
BY_CODE = {reason.value: severity for reason, severity in SEVERITIES.items()}


def judge_severity(state: str, reasons: Iterable[str]) -> Severity:
    """Return the severity of a saga in a state with these holds and reasons for attention."""
    if not SagaState(state).is_open:
        return Severity.CLOSED
    return min((BY_CODE[reason] for reason in reasons), default=Severity.OPEN)
