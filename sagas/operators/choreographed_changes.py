"""Changes of operations on choreographed sagas: requests to who decides, and ends of external calls that are stated.

Tx: inside a transaction of the engine's database. What acts on a participant's call commits there first, if that is
another database; repeated, it is refused with the facts.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from ..choreography import progress, sweeping, tracker
from ..choreography.calls import Call
from ..choreography.definition import find
from ..core.history_events import HistoryEvent
from ..core.states import AbortRequest
from ..databases import is_away, is_conflict
from ..engine import effects_left, saga_transitions
from ..engine.notify import wakeup_sending
from ..engine.store.draft import SagaDraft
from ..engine.store.snapshot import SagaSnapshot
from ..exceptions import OperationRefused, describe_error
from ..intents.unit_of_work import IntentUnitOfWork
from ..models import TrackedEvent
from ..transactions import own_transaction
from . import choreographed, operation_changes, preconditions
from .operation_changes import OperationRequest
from .preconditions import Operation


def ask_first(operation: Operation, saga_id: UUID) -> bool:
    """Ask who decides to cancel, before the saga is locked, because foreign code never runs under its lock.

    Returns: whether it was asked; nothing is asked for other operations, other sagas, or when cancelling is impossible.
    Raises: OperationRefused when it declines; then nothing of it stays.
    """
    if operation is not Operation.CANCEL:
        return False
    snapshot = SagaSnapshot.find(saga_id)
    if snapshot is None or not snapshot.saga.is_choreographed:
        return False
    definition = find(snapshot.saga.definition, snapshot.saga.version)
    if preconditions.find_repeat(snapshot, operation, None) or choreographed.find_refusal(snapshot, operation, None):
        return False
    if definition is None or definition.on_cancel is None:
        return False
    try:
        sweeping.ask_to_cancel(definition.on_cancel, snapshot.saga)
    except OperationRefused:
        raise
    except Exception as error:
        if is_away(error) or is_conflict(error):
            raise
        raise OperationRefused(f"{definition.decider()} did not accept the cancel: {describe_error(error)}") from error
    return True


def apply(draft: SagaDraft, request: OperationRequest, *, is_asked: bool) -> str:
    """Change a choreographed saga, or what it waits for, as an operation does.

    ``is_asked``: whether ``ask_first`` asked who decides.
    Returns: one sentence for the operator.
    Raises: OperationRefused when the operation is not possible now.
    """
    operation = request.operation
    if refusal := choreographed.find_refusal(draft, operation, request.step):
        raise OperationRefused(refusal)
    if operation is Operation.CANCEL and not is_asked:
        raise OperationRefused("The saga changed meanwhile, so nobody was asked. Try again.")
    before = preconditions.describe(draft)
    message = CHANGES[operation](draft, request)
    draft.bump_revision()
    data: dict[str, Any] = {
        "operation": operation.value, "before": before, "after": preconditions.describe(draft), "result": message,
        **(request.facts or {}), **({"evidence": request.evidence} if request.evidence else {}),
    }  # fmt: skip
    draft.add_history(
        HistoryEvent.OPERATOR_ACTED,
        step=draft.step(request.step) if request.step else None,
        to_state=operation.value,
        actor=request.actor,
        reason=request.reason,
        data=data,
    )
    return message


def _cancel(draft: SagaDraft, request: OperationRequest) -> str:
    saga_transitions.request_abort(draft, AbortRequest.CANCEL, actor=request.actor, reason=request.reason)
    definition = tracker.require_definition(draft.saga)
    progress.apply(draft, definition, tracker.list_facts(draft.saga))
    return f"{definition.decider()} was asked to cancel."


def _retry(draft: SagaDraft, request: OperationRequest) -> str:
    calls = [call for _, call in choreographed.list_calls_to_retry(draft, request.step)]
    for call in calls:
        _act_on(call, request)
    names = ", ".join(call.row.definition for call in calls)
    return f"{names} {'is' if len(calls) == 1 else 'are'} due now, with a fresh budget."


def _mark(draft: SagaDraft, request: OperationRequest) -> str:
    step, word = request.find_step(draft), request.operation.value.removeprefix("mark_")
    call = choreographed.find_call(draft, step.name)
    if call is not None:
        _act_on(call, request)
        return f"{call.row.definition} is marked as {word}; {call.row.participant} sends the event."
    definition, names = (
        tracker.require_definition(draft.saga),
        choreographed.list_paid(draft, request.operation, step.name),
    )
    for name in names:
        fact = TrackedEvent(
            saga_id=draft.saga.pk, type=name, event_id=f"{draft.saga.pk}:{draft.saga.history_count}:{name}",
            source=request.actor, tracked_at=draft.now, is_assumed=True,
        )  # fmt: skip
        fact.save(using=draft.saga._state.db)
        tracker.record(draft, definition, fact)
    return f"{step.name} is marked as {word}: {', '.join(names)} counts as recorded, and nothing is sent."


def _abandon(draft: SagaDraft, request: OperationRequest) -> str:
    left = effects_left.list_effects(draft)
    saga_transitions.abandon(draft, left, actor=request.actor, reason=request.reason)
    names = ", ".join(effect["step"] for effect in left)
    return f"The saga is abandoned; left behind: {names or 'nothing'}."


CHANGES: Mapping[Operation, Callable[[SagaDraft, OperationRequest], str]] = {
    Operation.CANCEL: _cancel,
    Operation.RETRY: _retry,
    Operation.MARK_SUCCEEDED: _mark,
    Operation.MARK_REFUSED: _mark,
    Operation.ABANDON: _abandon,
}
"""The change of each operation that is possible; each function returns one sentence for the operator."""


def _act_on(call: Call, request: OperationRequest) -> None:
    """Perform an operation on a participant's external call; the event of its end is published with it.

    Locks: the intent's row.
    """
    with own_transaction(call.alias, joins=True):
        intent = IntentUnitOfWork.lock_intent(call.alias, call.row.pk)
        change = operation_changes.apply(intent, replace(request, step=intent.steps[0].name))
        intent.write()
        for queue in change.wakeups:
            wakeup_sending.send_after_commit(intent.row.pk, [queue])
