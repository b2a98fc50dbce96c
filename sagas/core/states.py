"""States, kinds and reasons that the engine stores.

Pure: no Django import. The values are stored in the database and shown to operators, so they never change.
"""

from enum import StrEnum


class Kind(StrEnum):
    """Kind of a step: what may happen to it after it has succeeded."""

    COMPENSATABLE = "compensatable"  #: can be undone by its compensation
    PIVOT = "pivot"  #: the go-or-no-go step; nothing before it is undone once it succeeded
    RETRIABLE = "retriable"  #: after the pivot; must succeed in the end


class Coordination(StrEnum):
    """Style in which the steps of a saga are coordinated."""

    ORCHESTRATION = "orchestration"  #: the engine runs each step
    CHOREOGRAPHY = "choreography"  #: participants react to events; the tracker records them and commands nobody


class Direction(StrEnum):
    """Direction of an attempt: which of a step's two functions it executes."""

    ACTION = "action"
    COMPENSATION = "compensation"


class SagaState(StrEnum):
    """State of a saga (rule S0)."""

    PENDING = "pending"
    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    ABANDONED = "abandoned"

    @property
    def is_open(self) -> bool:
        """Return whether the saga still has work to do."""
        return self in OPEN_STATES


OPEN_STATES = frozenset({SagaState.PENDING, SagaState.RUNNING, SagaState.COMPENSATING})
FORWARD_STATES = frozenset({SagaState.PENDING, SagaState.RUNNING})
CLOSED_STATES = frozenset(SagaState) - OPEN_STATES


class StepState(StrEnum):
    """State of a step (rule S0)."""

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
    """Reason why a step waits."""

    RETRY = "retry"  #: the next attempt
    ANSWER = "answer"  #: the participant's answer; it is still working
    EVENT = "event"  #: an event that a participant owes


class Hold(StrEnum):
    """Reason why a saga or a step is blocked, usually until an operator acts."""

    PAUSED = "paused"
    OUTCOME_UNKNOWN = "outcome_unknown"
    COMPENSATION_REFUSED = "compensation_refused"
    CONTRACT_VIOLATION = "contract_violation"
    DEFINITION_MISSING = "definition_missing"
    MISCONFIGURED = "misconfigured"


class Attention(StrEnum):
    """Reason why operators should look, although work continues."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    COMPENSATION_FAILING = "compensation_failing"
    LATE_EFFECT = "late_effect"
    OVERDUE = "overdue"
    EVENT_OVERDUE = "event_overdue"  #: an owed event has not come within its limit
    TRACKER_LAGGING = "tracker_lagging"  #: the tracker is behind, so nobody is accused
    EVENT_FAILING = "event_failing"  #: an event of the saga is parked or dead, or waits too long for its beginning
    EVENT_UNEXPECTED = "event_unexpected"  #: an event contradicts one that was recorded before
    INTENT_FAILING = "intent_failing"  #: an external call of a participant is held or keeps failing


class AbortRequest(StrEnum):
    """Source of a request to abort the saga that has not been decided yet (rule S7)."""

    CANCEL = "cancel"
    DEADLINE = "deadline"


class Outcome(StrEnum):
    """Outcome of an attempt (rule S1)."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    RETRY = "retry"
    IN_PROGRESS = "in_progress"
    UNKNOWN = "unknown"
    MISCONFIGURED = "misconfigured"
    FENCED = "fenced"


class Effect(StrEnum):
    """Effect of an attempt, or of a whole step, on the world."""

    NONE = "none"
    MAYBE = "maybe"
    YES = "yes"
    REMOVED = "removed"


UNDOABLE_EFFECTS = frozenset({Effect.YES, Effect.MAYBE})
