"""Name every state, kind and reason that the engine stores.

Pure: no Django import. The values are written to the database and shown to people, so they never change.
"""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What may happen to a step after it was done."""

    COMPENSATABLE = "compensatable"  #: can be undone by its compensation
    PIVOT = "pivot"  #: the go-or-no-go step; nothing before it is undone once it succeeded
    RETRIABLE = "retriable"  #: after the pivot; must succeed in the end


class Direction(StrEnum):
    """Which of the two functions of a step an attempt runs."""

    ACTION = "action"
    COMPENSATION = "compensation"


class SagaState(StrEnum):
    """Where a saga stands (rule S0)."""

    PENDING = "pending"
    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    ABANDONED = "abandoned"

    @property
    def is_open(self) -> bool:
        """Tell whether the saga still has something to do."""
        return self in OPEN_STATES


OPEN_STATES = frozenset({SagaState.PENDING, SagaState.RUNNING, SagaState.COMPENSATING})
FORWARD_STATES = frozenset({SagaState.PENDING, SagaState.RUNNING})
CLOSED_STATES = frozenset(SagaState) - OPEN_STATES


class StepState(StrEnum):
    """Where a step stands (rule S0)."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    SKIPPED = "skipped"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"


PASSED_STATES = frozenset({StepState.SUCCEEDED, StepState.SKIPPED})


class WaitingFor(StrEnum):
    """Why a step waits."""

    RETRY = "retry"  #: the next attempt
    ANSWER = "answer"  #: the participant is still working on it


class Hold(StrEnum):
    """Why dispatch is blocked until somebody acts."""

    PAUSED = "paused"
    OUTCOME_UNKNOWN = "outcome_unknown"
    COMPENSATION_REFUSED = "compensation_refused"
    CONTRACT_VIOLATION = "contract_violation"
    DEFINITION_MISSING = "definition_missing"
    MISCONFIGURED = "misconfigured"


class Attention(StrEnum):
    """Why a person should look although work goes on."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    COMPENSATION_FAILING = "compensation_failing"
    LATE_EFFECT = "late_effect"
    OVERDUE = "overdue"


class AbortRequest(StrEnum):
    """Who wants the saga to turn back before it decided so itself (rule S7)."""

    CANCEL = "cancel"
    DEADLINE = "deadline"


class Outcome(StrEnum):
    """How an attempt ended (rule S1)."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    RETRY = "retry"
    IN_PROGRESS = "in_progress"
    UNKNOWN = "unknown"
    MISCONFIGURED = "misconfigured"
    FENCED = "fenced"


class Effect(StrEnum):
    """What an attempt, or a whole step, has done to the world."""

    NONE = "none"
    MAYBE = "maybe"
    YES = "yes"
    REMOVED = "removed"


UNDOABLE_EFFECTS = frozenset({Effect.YES, Effect.MAYBE})
