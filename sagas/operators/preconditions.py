"""Preconditions of operations on a saga: when each is possible, and why not (the table of rule S8).

Nothing is changed here. The same rules refuse an operation, make its preview, and decide which buttons a page shows.

Tx: inside the transaction that holds the snapshot.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum

from ..conf import get_settings
from ..core import planner
from ..core.history_events import HistoryEvent
from ..core.states import FORWARD_STATES, UNDOABLE_EFFECTS, AbortRequest, Attention, Hold, Kind, SagaState, StepState
from ..engine.store.snapshot import SagaSnapshot
from ..exceptions import BadRequest
from ..models import Saga, SagaHistory, SagaStep
from .presentation import badge_of_saga, badge_of_step
from .presentation.times import describe_moment


class Operation(StrEnum):
    """Operation of an operator on a saga."""

    RETRY = "retry"
    COMPENSATE = "compensate"
    SKIP = "skip"
    MARK_SUCCEEDED = "mark_succeeded"
    MARK_REFUSED = "mark_refused"
    MARK_COMPENSATED = "mark_compensated"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    ABANDON = "abandon"


# The names in URLs.
OPERATIONS_BY_CODE: Mapping[str, Operation] = {operation.value.replace("_", "-"): operation for operation in Operation}
PERMISSIONS: Mapping[Operation, str] = {
    Operation.RETRY: "retry_saga",
    Operation.COMPENSATE: "compensate_saga",
    Operation.SKIP: "override_saga",
    Operation.MARK_SUCCEEDED: "override_saga",
    Operation.MARK_REFUSED: "override_saga",
    Operation.MARK_COMPENSATED: "override_saga",
    Operation.PAUSE: "pause_saga",
    Operation.RESUME: "pause_saga",
    Operation.CANCEL: "cancel_saga",
    Operation.ABANDON: "abandon_saga",
}
STEP_REQUIRED = frozenset(
    {Operation.SKIP, Operation.MARK_SUCCEEDED, Operation.MARK_REFUSED, Operation.MARK_COMPENSATED}
)


def require_step(snapshot: SagaSnapshot, operation: Operation, step: str | None) -> None:
    """Check that a step is named if the operation needs one, and that the saga has it.

    Raises: BadRequest.
    """
    names = [row.name for row in snapshot.steps]
    if step is None and operation in STEP_REQUIRED:
        raise BadRequest(f"{operation.value} needs a step; this saga has: {', '.join(names)}.")
    if step is not None and step not in names:
        raise BadRequest(f"This saga has no step {step!r}; it has: {', '.join(names)}.")


def find_refusal(snapshot: SagaSnapshot, operation: Operation, step: str | None) -> str:
    """Return why an operation is not possible now, in a sentence; an empty string when it is possible."""
    state = SagaState(snapshot.saga.state)
    if not state.is_open:
        return f"The saga is {state.value}; no operation is possible any more."
    return CHECKS[operation](snapshot, step)


def find_repeat(snapshot: SagaSnapshot, operation: Operation, step: str | None) -> str:
    """Return a sentence if the operation was done already (a double click does nothing), else an empty string."""
    saga = snapshot.saga
    row = snapshot.step(step) if step else None
    if (
        operation is Operation.COMPENSATE
        and saga.state == SagaState.COMPENSATING
        and _cause_kind(snapshot) == "operator"
    ):
        return "The saga is already compensating."
    if operation is Operation.PAUSE and saga.hold == Hold.PAUSED:
        return "The saga is already paused."
    if operation is Operation.RESUME and _was_resumed(snapshot):
        return "The saga was already resumed."
    if operation is Operation.CANCEL and (
        saga.abort_request == AbortRequest.CANCEL or _cause_kind(snapshot) == "cancel"
    ):
        return "The saga was already asked to turn back."
    if operation is Operation.ABANDON and saga.state == SagaState.ABANDONED:
        return "The saga is already abandoned."
    if row is not None and row.is_assumed and row.hold is None and row.state == MARKED_STATES.get(operation):
        return f"{row.name} is already {_name_state(row, snapshot)}."
    return ""


def _was_resumed(snapshot: SagaSnapshot) -> bool:
    """Return whether the latest pause or resume operation was a resume; queries only sagas that were operated on."""
    saga = snapshot.saga
    if saga.hold == Hold.PAUSED or saga.operated_at is None or not SagaState(saga.state).is_open:
        return False
    acts = SagaHistory.objects.using(get_settings().database).filter(
        saga_id=saga.pk, what=HistoryEvent.OPERATOR_ACTED.value, to_state__in=[Operation.PAUSE, Operation.RESUME]
    )
    return acts.order_by("-number").values_list("to_state", flat=True).first() == Operation.RESUME


HELD_ACTIONS = (StepState.WAITING, StepState.REFUSED)  # states of a held action, besides an unknown outcome

MARKED_STATES: Mapping[Operation, StepState] = {
    Operation.SKIP: StepState.SKIPPED,
    Operation.MARK_SUCCEEDED: StepState.SUCCEEDED,
    Operation.MARK_REFUSED: StepState.REFUSED,
    Operation.MARK_COMPENSATED: StepState.COMPENSATED,
}


def steps_to_retry(snapshot: SagaSnapshot, step: str | None) -> list[str]:
    """Return the steps that *retry now* would make due: waiting, of unknown outcome, held, or between compensations."""
    return [row.name for row in snapshot.steps if (step is None or row.name == step) and _can_be_retried(snapshot, row)]


def describe(snapshot: SagaSnapshot) -> str:
    """Return where a saga stands, for history and stale forms: its display state and the steps in progress."""
    saga = snapshot.saga
    facts = [badge_of_saga(saga, snapshot.steps, snapshot.now).text]
    if saga.state == SagaState.COMPENSATING and (saga.hold or any(row.hold for row in snapshot.steps)):
        facts.append("compensating")  # the hold hides it
    if saga.abort_request:
        facts.append(f"asked to turn back: {saga.abort_request}")
    return "; ".join(
        [*facts, *(_describe_step(row, saga) for row in snapshot.steps if row.state not in AT_REST or row.hold)]
    )


AT_REST = (StepState.PENDING, StepState.SUCCEEDED, StepState.COMPENSATED)


def _describe_step(row: SagaStep, saga: Saga) -> str:
    text = f"{row.name} {badge_of_step(row, saga).text}"
    if row.due_at is None:
        return text
    used = f"{row.budget_used} attempt{'' if row.budget_used == 1 else 's'}"
    return f"{text}, due {describe_moment(row.due_at)}, {used} on this budget"


def _name_state(row: SagaStep, snapshot: SagaSnapshot) -> str:
    return badge_of_step(row, snapshot.saga).word


def _cause_kind(snapshot: SagaSnapshot) -> str:
    return str((snapshot.saga.cause or {}).get("kind", ""))


def _can_be_retried(snapshot: SagaSnapshot, row: SagaStep) -> bool:
    if row.is_live or (row.kind == Kind.PIVOT and row.state == StepState.REFUSED):
        return False
    if row.hold is not None:
        return True
    if snapshot.saga.state == SagaState.COMPENSATING:
        return bool(row.state == StepState.COMPENSATING)
    return row.state in (StepState.WAITING, StepState.UNKNOWN)


def _find_live(snapshot: SagaSnapshot, step: str | None) -> str:
    for row in snapshot.steps:
        if row.lease_until is not None and row.lease_until > snapshot.now and step in (None, row.name):
            until = describe_moment(row.lease_until)
            return f"{row.name} is running, until {until} at the latest; wait for its outcome."
    return ""


def _refuse_retry(snapshot: SagaSnapshot, step: str | None) -> str:
    if steps_to_retry(snapshot, step):
        return ""
    if live := _find_live(snapshot, step):
        return live
    if snapshot.saga.hold == Hold.PAUSED:
        return "The saga is paused; resume it."
    where = f"{step} is not waiting" if step else "No step is waiting"
    return f"{where} and no hold allows a retry."


def _refuse_compensate(snapshot: SagaSnapshot, _step: str | None) -> str:
    if snapshot.saga.state not in FORWARD_STATES:
        return f"The saga is already {snapshot.saga.state}."
    return _refuse_after_pivot(snapshot)


def _refuse_after_pivot(snapshot: SagaSnapshot) -> str:
    view = snapshot.view()
    if planner.is_pivot_passed(view):
        return "The pivot has succeeded: nothing is compensated after it. To undo it, start a separate saga."
    if not planner.is_pivot_open(view, snapshot.effects()):
        return "The pivot is live or its outcome is unknown; it must be settled first."
    return ""


def _refuse_skip(snapshot: SagaSnapshot, step: str | None) -> str:
    row = snapshot.step(step or "")
    if row.kind == Kind.PIVOT:
        return f"{row.name} is the pivot and cannot be skipped."
    if live := _find_live(snapshot, step):
        return live
    if snapshot.saga.state not in FORWARD_STATES:
        return "The saga is compensating; no step can be skipped."
    if row.state == StepState.PENDING:
        return ""
    if row.state == StepState.REFUSED and row.hold == Hold.CONTRACT_VIOLATION:
        return ""
    if row.state == StepState.WAITING and snapshot.effects()[row.name] not in UNDOABLE_EFFECTS:
        return ""
    state = _name_state(row, snapshot)
    return f"{row.name} is {state} and may have had an effect; only a step without one can be skipped."


def _refuse_mark(snapshot: SagaSnapshot, step: str | None) -> str:
    row = snapshot.step(step or "")
    if live := _find_live(snapshot, step):
        return live
    if row.state == StepState.UNKNOWN or (row.hold is not None and row.state in HELD_ACTIONS):
        return ""
    return f"{row.name} is {_name_state(row, snapshot)}; only a step of unknown outcome, or a held one, can be marked."


def _refuse_mark_succeeded(snapshot: SagaSnapshot, step: str | None) -> str:
    row = snapshot.step(step or "")
    if row.kind == Kind.PIVOT and snapshot.saga.state not in FORWARD_STATES:
        return f"{row.name} is the pivot, and the saga is compensating: abandon it, or mark {row.name} refused."
    return _refuse_mark(snapshot, step)


def _refuse_mark_refused(snapshot: SagaSnapshot, step: str | None) -> str:
    row = snapshot.step(step or "")
    if row.kind == Kind.RETRIABLE and row.state == StepState.REFUSED:
        return f"{row.name} was already refused; retry it, skip it, or mark it succeeded."
    return _refuse_mark(snapshot, step)


def _refuse_mark_compensated(snapshot: SagaSnapshot, step: str | None) -> str:
    row = snapshot.step(step or "")
    if live := _find_live(snapshot, step):
        return live
    is_failing = row.hold is not None or row.attention == Attention.COMPENSATION_FAILING
    if row.state == StepState.COMPENSATING and is_failing:
        return ""
    state = _name_state(row, snapshot)
    return f"{row.name} is {state}; only a compensation that keeps failing or was refused can be marked."


def _refuse_pause(snapshot: SagaSnapshot, _step: str | None) -> str:
    return "The saga is already paused." if snapshot.saga.hold == Hold.PAUSED else ""


def _refuse_resume(snapshot: SagaSnapshot, _step: str | None) -> str:
    return "" if snapshot.saga.hold == Hold.PAUSED else "The saga is not paused."


def _refuse_cancel(snapshot: SagaSnapshot, _step: str | None) -> str:
    if snapshot.saga.state not in FORWARD_STATES:
        return f"The saga is already {snapshot.saga.state}."
    if planner.is_pivot_passed(snapshot.view()):
        return "Too late: the pivot has succeeded."
    return ""


def _refuse_abandon(snapshot: SagaSnapshot, _step: str | None) -> str:
    return _find_live(snapshot, None)


CHECKS: Mapping[Operation, Callable[[SagaSnapshot, str | None], str]] = {
    Operation.RETRY: _refuse_retry,
    Operation.COMPENSATE: _refuse_compensate,
    Operation.SKIP: _refuse_skip,
    Operation.MARK_SUCCEEDED: _refuse_mark_succeeded,
    Operation.MARK_REFUSED: _refuse_mark_refused,
    Operation.MARK_COMPENSATED: _refuse_mark_compensated,
    Operation.PAUSE: _refuse_pause,
    Operation.RESUME: _refuse_resume,
    Operation.CANCEL: _refuse_cancel,
    Operation.ABANDON: _refuse_abandon,
}
