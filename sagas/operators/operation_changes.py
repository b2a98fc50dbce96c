"""Changes of each operation to a saga, and the engine's reaction before anything is claimed.

The same functions perform an operation, on a locked saga that is then written, and simulate it, on a draft that cannot
be written. They change rows in memory only.

Tx: inside the transaction that holds the unit of work, or none for a draft of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.history_events import HistoryEvent
from ..core.outcomes import Report
from ..core.states import AbortRequest, Direction, Effect, Hold, Kind, Outcome, StepState
from ..engine import claim, effects_left, holds, saga_transitions, step_transitions
from ..engine.store.draft import SagaDraft
from ..exceptions import BadRequest, OperationRefused
from ..models import SagaStep
from . import preconditions
from .preconditions import Operation


@dataclass(frozen=True, kw_only=True)
class OperationRequest:
    """Request of an operator, already checked."""

    operation: Operation
    """The requested operation."""
    step: str | None = None
    """The step it applies to; None: the whole saga."""
    actor: str = ""
    """Name of the operator, by value."""
    reason: str = ""
    """The operator's reason."""
    evidence: str = ""
    """The operator's evidence; only for operations that mark a step."""
    result: dict[str, Any] | None = None
    """Replacement for the step's own result; None: no replacement."""
    facts: Mapping[str, Any] | None = None
    """Further data of its history row, such as the revision that the decision was based on."""

    def find_step(self, draft: SagaDraft) -> SagaStep:
        """Return the row of its step.

        Raises: BadRequest when the request names no step.
        """
        if self.step is None:
            raise BadRequest("Name the step.")
        return draft.step(self.step)


@dataclass(frozen=True, kw_only=True)
class OperationChange:
    """Change that an operation has made to a draft."""

    message: str
    """One sentence for the operator."""
    wakeups: tuple[str, ...]
    """Queues to send wake-ups to after the commit."""


def apply(draft: SagaDraft, request: OperationRequest) -> OperationChange:
    """Change a saga as an operation does, and apply the engine's reaction: deadlines, abort requests, the end.

    Raises: OperationRefused when the operation is not possible now.
    """
    operation = request.operation
    if operation is not Operation.ABANDON:
        step_transitions.expire_leases(draft)
    if refusal := preconditions.find_refusal(draft, operation, request.step):
        raise OperationRefused(refusal)
    before = preconditions.describe(draft)
    message = CHANGES[operation](draft, request)
    draft.bump_revision()
    following = claim.claim_next(draft, queues=None, worker="", may_claim=False)
    data: dict[str, Any] = {
        "operation": operation.value, "before": before, "after": preconditions.describe(draft), "result": message,
        **(request.facts or {}),
    }  # fmt: skip
    if request.evidence:
        data["evidence"] = request.evidence
    draft.add_history(
        HistoryEvent.OPERATOR_ACTED,
        step=draft.step(request.step) if request.step else None,
        to_state=operation.value,
        actor=request.actor,
        reason=request.reason,
        data=data,
    )
    return OperationChange(message=message, wakeups=following.wakeups)


def settle_as_stated(draft: SagaDraft, row: SagaStep, *, happened: bool, request: OperationRequest) -> None:
    """Settle a step's action as an operator states, written as an attempt of its own, and move the saga accordingly."""
    outcome, effect = (Outcome.SUCCEEDED, Effect.YES) if happened else (Outcome.REFUSED, Effect.NONE)
    report = _assume(draft, row, Direction.ACTION, outcome, effect, request)
    step_transitions.settle_action(draft, row, report)


def _retry(draft: SagaDraft, request: OperationRequest) -> str:
    names = preconditions.steps_to_retry(draft, request.step)
    for name in names:
        step_transitions.ask_again(draft, draft.step(name), actor=request.actor, reason=request.reason)
    holds.clear_missing_definition(draft)
    blocked = f" The saga is still held: {draft.saga.hold}." if draft.saga.hold else ""
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} due now, with a fresh budget.{blocked}"


def _compensate(draft: SagaDraft, request: OperationRequest) -> str:
    cause = {"kind": "operator", "actor": request.actor, "reason": request.reason}
    saga_transitions.turn_back(draft, cause, actor=request.actor, reason=request.reason)
    return "The saga compensates."


def _skip(draft: SagaDraft, request: OperationRequest) -> str:
    row = request.find_step(draft)
    before = row.state
    holds.clear_hold(draft, row, actor=request.actor, reason=request.reason)
    holds.set_attention(draft, row, None)
    row.skip()
    row.result, row.is_assumed = request.result, True
    row.due_at, row.waiting_for, row.finished_at = None, None, draft.now
    draft.bump_revision()
    draft.add_history(
        HistoryEvent.STEP_SKIPPED,
        step=row,
        from_state=before,
        to_state=row.state,
        actor=request.actor,
        reason=request.reason,
    )
    return f"{row.name} is skipped."


def _mark_succeeded(draft: SagaDraft, request: OperationRequest) -> str:
    row = request.find_step(draft)
    settle_as_stated(draft, row, happened=True, request=request)
    return f"{row.name} is marked as succeeded."


def _mark_refused(draft: SagaDraft, request: OperationRequest) -> str:
    row = request.find_step(draft)
    settle_as_stated(draft, row, happened=False, request=request)
    return f"{row.name} is marked as refused."


def _mark_compensated(draft: SagaDraft, request: OperationRequest) -> str:
    row = request.find_step(draft)
    report = _assume(draft, row, Direction.COMPENSATION, Outcome.SUCCEEDED, Effect.YES, request)
    step_transitions.settle_compensation(draft, row, report)
    return f"{row.name} is marked as compensated."


def _pause(draft: SagaDraft, request: OperationRequest) -> str:
    holds.set_hold(draft, None, Hold.PAUSED, actor=request.actor, reason=request.reason)
    return "The saga is paused."


def _resume(draft: SagaDraft, request: OperationRequest) -> str:
    holds.clear_hold(draft, None, actor=request.actor, reason=request.reason)
    return "The saga is resumed."


def _cancel(draft: SagaDraft, request: OperationRequest) -> str:
    saga_transitions.request_abort(draft, AbortRequest.CANCEL, actor=request.actor, reason=request.reason)
    for row in draft.steps:
        # A pivot of unknown outcome stays held: the request is kept until the outcome is known.
        if row.kind != Kind.PIVOT or row.state == StepState.WAITING:
            holds.clear_hold(draft, row, actor=request.actor, reason=request.reason)
    return "The saga is asked to turn back."


def _abandon(draft: SagaDraft, request: OperationRequest) -> str:
    step_transitions.give_up_leases(draft)
    left = effects_left.list_effects(draft)
    saga_transitions.abandon(draft, left, actor=request.actor, reason=request.reason)
    names = ", ".join(effect["step"] for effect in left)
    return f"The saga is abandoned; left behind: {names or 'nothing'}."


CHANGES: Mapping[Operation, Callable[[SagaDraft, OperationRequest], str]] = {
    Operation.RETRY: _retry,
    Operation.COMPENSATE: _compensate,
    Operation.SKIP: _skip,
    Operation.MARK_SUCCEEDED: _mark_succeeded,
    Operation.MARK_REFUSED: _mark_refused,
    Operation.MARK_COMPENSATED: _mark_compensated,
    Operation.PAUSE: _pause,
    Operation.RESUME: _resume,
    Operation.CANCEL: _cancel,
    Operation.ABANDON: _abandon,
}
"""The change of each operation; each function returns one sentence for the operator."""


def _assume(
    draft: SagaDraft, row: SagaStep, direction: Direction, outcome: Outcome, effect: Effect, request: OperationRequest
) -> Report:
    """Write an operator's statement as an attempt of its own, so that effects stay computed from attempts alone."""
    report = Report(
        outcome=outcome, effect=effect, result=request.result, covers_earlier=True, message=request.evidence
    )
    draft.assume(row, direction, report, request.actor)
    row.is_assumed = True
    draft.bump_revision()
    return report
