"""Operations of operators on one saga, called alike by admin, command line and API (rule S8).

Each function takes an actor, a reason and the revision that the decision was based on. It checks the permission,
refuses with the facts if the operation is impossible or the revision is stale, and writes history with before and
after. ``operation_changes`` defines what changes; ``sagas.operators.preview`` runs it on a draft.

Tx: each opens its own transaction; wake-ups are sent after its commit.
Locks: the saga row.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.db import OperationalError

from ..conf import get_settings
from ..core.definition.inputs import refuse_secrets
from ..core.history_events import HistoryEvent
from ..core.json_values import require_storable, require_text
from ..core.visible import count_visible
from ..databases import SERIALIZATION_SQLSTATE, sqlstate_of
from ..engine.notify import wakeup_sending
from ..engine.store.snapshot import SagaSnapshot
from ..engine.store.unit_of_work import SagaUnitOfWork
from ..exceptions import BadRequest, InputRefused, StaleRevision, TransactionConflict
from ..models import SagaHistory
from ..transactions import own_transaction
from . import choreographed_changes, preconditions
from .actor import Actor
from .operation_changes import OperationRequest, apply
from .preconditions import Operation
from .presentation import judge_saga

__all__ = [
    "Actor",
    "Operation",
    "OperationResult",
    "abandon",
    "cancel",
    "check_result",
    "check_revision",
    "check_text",
    "force_compensate",
    "lock_saga",
    "mark_compensated",
    "mark_refused",
    "mark_succeeded",
    "measure_text",
    "pause",
    "perform_operation",
    "resume",
    "retry_now",
    "skip_step",
]

MIN_REASON_CHARS, MAX_REASON_CHARS = 10, 500


@dataclass(frozen=True, kw_only=True)
class OperationResult:
    """Result of an operation."""

    saga_id: UUID
    operation: Operation
    state: str
    """The saga's state afterwards."""
    display_state: str
    """Its display state afterwards, as the console shows it."""
    revision: int
    """The saga's revision afterwards."""
    message: str
    """One sentence for the operator."""
    is_repeat: bool = False
    """Whether nothing was done because the operation had been done before."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name as JSON-able data."""
        return {**asdict(self), "saga_id": str(self.saga_id), "operation": self.operation.value}


def retry_now(
    saga_id: UUID, *, actor: Actor, reason: str, revision: int | None = None, step: str | None = None
) -> OperationResult:
    """Make waiting or held steps due now, with a fresh budget: one step, or all that wait or are held."""
    return _operate(Operation.RETRY, saga_id, actor, reason, revision, step=step)


def force_compensate(saga_id: UUID, *, actor: Actor, reason: str, revision: int | None = None) -> OperationResult:
    """Make a saga compensate; live attempts finish first."""
    return _operate(Operation.COMPENSATE, saga_id, actor, reason, revision)


def skip_step(
    saga_id: UUID,
    *,
    actor: Actor,
    reason: str,
    step: str,
    revision: int | None = None,
    result: Mapping[str, Any] | None = None,
) -> OperationResult:
    """Continue the saga without a step; ``result`` replaces its result where later steps need one."""
    return _operate(Operation.SKIP, saga_id, actor, reason, revision, step=step, result=result)


def mark_succeeded(
    saga_id: UUID,
    *,
    actor: Actor,
    reason: str,
    step: str,
    evidence: str,
    revision: int | None = None,
    result: Mapping[str, Any] | None = None,
) -> OperationResult:
    """Record, with evidence, that a step happened."""
    return _operate(
        Operation.MARK_SUCCEEDED, saga_id, actor, reason, revision, step=step, evidence=evidence, result=result
    )


def mark_refused(
    saga_id: UUID, *, actor: Actor, reason: str, step: str, evidence: str, revision: int | None = None
) -> OperationResult:
    """Record, with evidence, that a step did not and will not happen; before or at the pivot the saga compensates."""
    return _operate(Operation.MARK_REFUSED, saga_id, actor, reason, revision, step=step, evidence=evidence)


def mark_compensated(
    saga_id: UUID, *, actor: Actor, reason: str, step: str, evidence: str, revision: int | None = None
) -> OperationResult:
    """Record, with evidence, that a step's effect is undone."""
    return _operate(Operation.MARK_COMPENSATED, saga_id, actor, reason, revision, step=step, evidence=evidence)


def pause(saga_id: UUID, *, actor: Actor, reason: str, revision: int | None = None) -> OperationResult:
    """Hold a saga: live attempts finish and are recorded, nothing else runs."""
    return _operate(Operation.PAUSE, saga_id, actor, reason, revision)


def resume(saga_id: UUID, *, actor: Actor, reason: str, revision: int | None = None) -> OperationResult:
    """End a pause."""
    return _operate(Operation.RESUME, saga_id, actor, reason, revision)


def cancel(saga_id: UUID, *, actor: Actor, reason: str, revision: int | None = None) -> OperationResult:
    """Ask the saga to turn back: at once, or once it is known whether the pivot happened (rule S7)."""
    return _operate(Operation.CANCEL, saga_id, actor, reason, revision)


def abandon(saga_id: UUID, *, actor: Actor, reason: str, revision: int | None = None) -> OperationResult:
    """Give a saga up and store the list of effects that it leaves behind."""
    return _operate(Operation.ABANDON, saga_id, actor, reason, revision)


def perform_operation(operation: Operation, saga_id: UUID, **arguments: Any) -> OperationResult:
    """Call the function of an operation, with the arguments it takes.

    Raises: OperationRefused and its kinds; SagaNotFound.
    """
    return FUNCTIONS[operation](saga_id, **arguments)


FUNCTIONS: Mapping[Operation, Callable[..., OperationResult]] = {
    Operation.RETRY: retry_now,
    Operation.COMPENSATE: force_compensate,
    Operation.SKIP: skip_step,
    Operation.MARK_SUCCEEDED: mark_succeeded,
    Operation.MARK_REFUSED: mark_refused,
    Operation.MARK_COMPENSATED: mark_compensated,
    Operation.PAUSE: pause,
    Operation.RESUME: resume,
    Operation.CANCEL: cancel,
    Operation.ABANDON: abandon,
}


def _operate(
    operation: Operation,
    saga_id: UUID,
    actor: Actor,
    reason: str,
    revision: int | None,
    *,
    step: str | None = None,
    evidence: str | None = None,
    result: Mapping[str, Any] | None = None,
) -> OperationResult:
    """Perform one operation under the saga's lock: check, change, write, send a wake-up."""
    actor.require(preconditions.PERMISSIONS[operation])
    facts: dict[str, Any] = {"revision": revision} | ({"bulk": str(actor.bulk)} if actor.bulk is not None else {})
    request = OperationRequest(
        operation=operation,
        step=step,
        actor=actor.name,
        reason=check_text(reason, "The reason"),
        evidence="" if evidence is None else check_text(evidence, "The evidence"),
        result=check_result(result),
        facts=facts,
    )
    with own_transaction(get_settings().database, joins=True):
        is_asked = choreographed_changes.ask_first(operation, saga_id)
        work = lock_saga(saga_id)
        preconditions.require_step(work, operation, step)
        if repeat := preconditions.find_repeat(work, operation, step):
            return _result(work, operation, repeat, is_repeat=True)
        if _was_done(work, operation, actor, revision, step):
            return _result(work, operation, "Already done.", is_repeat=True)
        check_revision(work, revision)
        if work.saga.is_choreographed:
            message = choreographed_changes.apply(work, request, is_asked=is_asked)
            work.write()
            return _result(work, operation, message)
        change = apply(work, request)
        work.write()
        wakeup_sending.send_after_commit(saga_id, change.wakeups)
        return _result(work, operation, change.message)


def lock_saga(saga_id: UUID) -> SagaUnitOfWork:
    """Lock the saga, as SagaUnitOfWork.lock does.

    Raises: TransactionConflict when the caller's transaction is too strict to see the saga's latest state.
    """
    try:
        return SagaUnitOfWork.lock(saga_id)
    except OperationalError as error:
        if sqlstate_of(error) != SERIALIZATION_SQLSTATE:
            raise
        raise TransactionConflict(
            f"Saga {saga_id} changed after this request's transaction began, so nothing was done. Try again."
        ) from error


def _result(snapshot: SagaSnapshot, operation: Operation, message: str, *, is_repeat: bool = False) -> OperationResult:
    saga = snapshot.saga
    return OperationResult(
        saga_id=saga.pk,
        operation=operation,
        state=saga.state,
        display_state=judge_saga(saga, snapshot.steps, snapshot.now).value,
        revision=saga.revision,
        message=message,
        is_repeat=is_repeat,
    )


def _was_done(
    snapshot: SagaSnapshot, operation: Operation, actor: Actor, revision: int | None, step: str | None
) -> bool:
    """Return whether the same operator did the same on the same revision: the second half of a double click."""
    if revision is None or revision == snapshot.saga.revision:
        return False
    rows = SagaHistory.objects.using(get_settings().database).filter(
        saga_id=snapshot.saga.pk, what=HistoryEvent.OPERATOR_ACTED.value, to_state=operation.value, step=step or ""
    )
    return rows.filter(actor=actor.name, data__revision=revision).exists()


def check_revision(snapshot: SagaSnapshot, revision: int | None) -> None:
    """Check that a saga is at the revision that a decision was based on, if one is given.

    Raises: StaleRevision.
    """
    found = snapshot.saga.revision
    if revision is not None and revision != found:
        raise StaleRevision(
            f"Saga {snapshot.saga.pk} is at revision {found}, but the decision was based on {revision}: it is now"
            f" {preconditions.describe(snapshot)}. Check it and decide again.",
            expected=revision,
            found=found,
        )


def measure_text(text: str, what: str, *, least: int = MIN_REASON_CHARS, most: int = MAX_REASON_CHARS) -> str:
    """Return a reason, evidence or note without surrounding blanks; empty when nothing in it is visible.

    Raises: BadRequest when too few of its characters are visible, or when it is too long.
    """
    checked = text.strip() if isinstance(text, str) else ""
    visible = count_visible(checked)
    if visible < least:
        letters = "character" if least == 1 else "characters"
        raise BadRequest(f"{what} needs at least {least} visible {letters}, not counting blanks; it has {visible}.")
    if len(checked) > most:
        raise BadRequest(f"{what} must have at most {most} characters; it has {len(checked)}.")
    return checked if visible else ""


def check_text(text: str, what: str, *, least: int = MIN_REASON_CHARS, most: int = MAX_REASON_CHARS) -> str:
    """Return a reason, evidence or note without surrounding blanks and with secrets masked.

    Raises: BadRequest when it is too short, too long, or cannot be stored. Invisible characters do not count as length.
    """
    checked = measure_text(text, what, least=least, most=most)
    try:
        require_text(checked, what)
    except InputRefused as error:
        raise BadRequest(str(error)) from error
    # A mask can be longer than what it replaces.
    return get_settings().redactor.redact_text(checked)[:most]


def check_result(result: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a result that an operator gives in place of a step's own.

    Raises: BadRequest when it cannot be stored or looks like a secret.
    """
    if result is None:
        return None
    if not isinstance(result, Mapping):
        raise BadRequest("The result must be a JSON object, as the step would have returned it.")
    try:
        require_storable(dict(result), "The result", get_settings().result_max_bytes)
        refuse_secrets(dict(result), "The result", get_settings().redactor)
    except InputRefused as error:
        raise BadRequest(str(error)) from error
    return dict(result)
