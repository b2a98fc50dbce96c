"""Recommendation: the one operation that a saga's state asks for, and those that belong beside it."""

from collections.abc import Sequence

from ..core.states import Attention, Hold, SagaState
from ..models import Saga, SagaStep
from .preconditions import Operation
from .presentation.states import reasons_of

# A retry asks again under the same key, so it harms nothing, and these reasons end with its success.
ENDED_BY_RETRY = frozenset(
    {
        Hold.OUTCOME_UNKNOWN.value, Hold.COMPENSATION_REFUSED.value, Hold.CONTRACT_VIOLATION.value,
        Hold.MISCONFIGURED.value, Attention.COMPENSATION_FAILING.value, Attention.RETRIES_EXHAUSTED.value,
        Attention.INTENT_FAILING.value,
    }
)  # fmt: skip
AT_A_STEP = frozenset({Operation.MARK_SUCCEEDED, Operation.MARK_REFUSED, Operation.MARK_COMPENSATED, Operation.SKIP})


def recommend_operation(saga: Saga, steps: Sequence[SagaStep]) -> Operation | None:
    """Return the operation that would let a saga continue; None if it continues by itself, or is over."""
    if not SagaState(saga.state).is_open:
        return None
    reasons = reasons_of(saga, steps)
    if Hold.PAUSED.value in reasons:
        return Operation.RESUME
    return Operation.RETRY if ENDED_BY_RETRY.intersection(reasons) else None


def belongs_beside(operation: Operation, saga: Saga, step: SagaStep | None) -> bool:
    """Return whether an operation stands beside the recommended one rather than under *More*.

    ``step``: the one it is for. Marks and skips of a step in trouble do, retries, and the end of a wait for an event.
    """
    if operation is Operation.CANCEL:
        return Attention.EVENT_OVERDUE in saga.attention
    if operation in AT_A_STEP:
        return step is not None and (step.hold is not None or step.attention is not None)
    return operation in (Operation.RETRY, Operation.RESUME)
