"""Let a person act on a saga: every action is one function here, called alike by admin, command line and API (rule S8).

Each takes an actor, a reason and the revision the decision was made on; checks the permission itself; is refused
with the facts when it is
not possible or not current; and writes history with before and after. ``sagas.plans`` tells beforehand what an
action would do.

Tx: each opens its own transaction; rings are sent after its commit.
Locks: the saga row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.db import OperationalError

from . import claims, doorbell, effects_left, holds, moves, rules
from .actors import Actor
from .conf import get_settings
from .databases import SERIALIZATION_SQLSTATE, sqlstate_of
from .exceptions import BadRequest, InputRefused, OperationRefused, StaleRevision
from .history_events import HistoryEvent
from .inputs import refuse_secrets
from .json_values import require_storable, require_text
from .models import SagaHistory, SagaStep
from .outcomes import Report
from .rules import Operation
from .states import AbortRequest, Direction, Effect, Hold, Kind, Outcome, StepState
from .transactions import own_transaction
from .unit_of_work import SagaUnitOfWork
from .visible import count_visible

__all__ = [
    "Actor",
    "Operation",
    "OperationResult",
    "abandon",
    "cancel",
    "check_result",
    "check_text",
    "force_compensate",
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
    """Say what an action did."""

    saga_id: UUID
    operation: Operation
    state: str
    """The saga's state afterwards."""
    revision: int
    """The saga's revision afterwards."""
    message: str
    """One sentence for the person who acted."""
    is_repeat: bool = False
    """Whether nothing was done because it was done already."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name as JSON-able data."""
        return {**asdict(self), "saga_id": str(self.saga_id), "operation": self.operation.value}


def retry_now(
    saga_id: UUID, *, actor: Actor, reason: str, revision: int | None = None, step: str | None = None
) -> OperationResult:
    """Make waiting or held steps due now, with a fresh budget; of one step, or of all that wait or are held."""

    def act(work: SagaUnitOfWork, _target: SagaStep | None) -> str:
        names = rules.retriable_steps(work, step)
        for name in names:
            moves.ask_again(work, work.step(name), actor=actor.name, reason=reason)
        holds.clear_missing_definition(work)
        blocked = f" The saga is still held: {work.saga.hold}." if work.saga.hold else ""
        return f"Due now, with a fresh budget: {', '.join(names)}.{blocked}"

    return _operate(Operation.RETRY, saga_id, actor, reason, revision, act, step=step)


def force_compensate(saga_id: UUID, *, actor: Actor, reason: str, revision: int | None = None) -> OperationResult:
    """Make a saga turn back; what is live finishes first."""

    def act(work: SagaUnitOfWork, _target: SagaStep | None) -> str:
        cause = {"kind": "operator", "actor": actor.name, "reason": reason}
        moves.turn_back(work, cause, actor=actor.name, reason=reason)
        return "The saga compensates."

    return _operate(Operation.COMPENSATE, saga_id, actor, reason, revision, act)


def skip_step(
    saga_id: UUID,
    *,
    actor: Actor,
    reason: str,
    step: str,
    revision: int | None = None,
    result: Mapping[str, Any] | None = None,
) -> OperationResult:
    """Let the saga go on without a step; ``result`` stands in where later steps need one."""

    def act(work: SagaUnitOfWork, target: SagaStep | None) -> str:
        row = _require(target)
        before = row.state
        holds.clear_hold(work, row, actor=actor.name, reason=reason)
        holds.set_attention(work, row, None)
        row.skip()
        row.result, row.is_assumed = check_result(result), True
        row.due_at, row.waiting_for, row.finished_at = None, None, work.now
        work.bump_revision()
        work.add_history(
            HistoryEvent.STEP_SKIPPED, step=row, from_state=before, to_state=row.state, actor=actor.name, reason=reason
        )
        return f"{row.name} is skipped."

    return _operate(Operation.SKIP, saga_id, actor, reason, revision, act, step=step)


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
    """Say, with evidence, that a step happened."""
    checked = check_text(evidence, "The evidence")

    def act(work: SagaUnitOfWork, target: SagaStep | None) -> str:
        row = _require(target)
        report = _assumed(Outcome.SUCCEEDED, Effect.YES, checked, check_result(result))
        _assume(work, row, Direction.ACTION, report, actor)
        moves.settle_action(work, row, report)
        return f"{row.name} counts as succeeded."

    return _operate(Operation.MARK_SUCCEEDED, saga_id, actor, reason, revision, act, step=step, evidence=checked)


def mark_refused(
    saga_id: UUID, *, actor: Actor, reason: str, step: str, evidence: str, revision: int | None = None
) -> OperationResult:
    """Say, with evidence, that a step did not happen and will not; before or at the pivot the saga compensates."""
    checked = check_text(evidence, "The evidence")

    def act(work: SagaUnitOfWork, target: SagaStep | None) -> str:
        row = _require(target)
        report = _assumed(Outcome.REFUSED, Effect.NONE, checked, None)
        _assume(work, row, Direction.ACTION, report, actor)
        moves.settle_action(work, row, report)
        return f"{row.name} counts as refused."

    return _operate(Operation.MARK_REFUSED, saga_id, actor, reason, revision, act, step=step, evidence=checked)


def mark_compensated(
    saga_id: UUID, *, actor: Actor, reason: str, step: str, evidence: str, revision: int | None = None
) -> OperationResult:
    """Say, with evidence, that a step's effect is undone."""
    checked = check_text(evidence, "The evidence")

    def act(work: SagaUnitOfWork, target: SagaStep | None) -> str:
        row = _require(target)
        report = _assumed(Outcome.SUCCEEDED, Effect.YES, checked, None)
        _assume(work, row, Direction.COMPENSATION, report, actor)
        moves.settle_compensation(work, row, report)
        return f"{row.name} counts as compensated."

    return _operate(Operation.MARK_COMPENSATED, saga_id, actor, reason, revision, act, step=step, evidence=checked)


def pause(saga_id: UUID, *, actor: Actor, reason: str, revision: int | None = None) -> OperationResult:
    """Hold a saga: what is live finishes and is recorded, nothing follows."""

    def act(work: SagaUnitOfWork, _target: SagaStep | None) -> str:
        holds.set_hold(work, None, Hold.PAUSED, actor=actor.name, reason=reason)
        return "The saga is paused."

    return _operate(Operation.PAUSE, saga_id, actor, reason, revision, act)


def resume(saga_id: UUID, *, actor: Actor, reason: str, revision: int | None = None) -> OperationResult:
    """End a pause."""

    def act(work: SagaUnitOfWork, _target: SagaStep | None) -> str:
        holds.clear_hold(work, None, actor=actor.name, reason=reason)
        return "The saga goes on."

    return _operate(Operation.RESUME, saga_id, actor, reason, revision, act)


def cancel(saga_id: UUID, *, actor: Actor, reason: str, revision: int | None = None) -> OperationResult:
    """Ask the saga to turn back: at once, or remembered until it is known whether the pivot happened (rule S7)."""

    def act(work: SagaUnitOfWork, _target: SagaStep | None) -> str:
        moves.request_abort(work, AbortRequest.CANCEL, actor=actor.name, reason=reason)
        for row in work.steps:
            # A pivot of unknown outcome stays held: the request is remembered until somebody knows.
            if row.kind != Kind.PIVOT or row.state == StepState.WAITING:
                holds.clear_hold(work, row, actor=actor.name, reason=reason)
        return "The saga is asked to turn back."

    return _operate(Operation.CANCEL, saga_id, actor, reason, revision, act)


def abandon(saga_id: UUID, *, actor: Actor, reason: str, revision: int | None = None) -> OperationResult:
    """Give a saga up; the list of effects that it leaves behind is stored."""

    def act(work: SagaUnitOfWork, _target: SagaStep | None) -> str:
        moves.give_up_leases(work)
        left = effects_left.list_effects(work)
        moves.abandon(work, left, actor=actor.name, reason=reason)
        names = ", ".join(effect["step"] for effect in left)
        return f"The saga is abandoned; left behind: {names or 'nothing'}."

    return _operate(Operation.ABANDON, saga_id, actor, reason, revision, act)


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
    act: Callable[[SagaUnitOfWork, SagaStep | None], str],
    *,
    step: str | None = None,
    evidence: str = "",
) -> OperationResult:
    """Do one action under the saga's lock: check, act, tell, settle, write, ring."""
    actor.require(rules.PERMISSIONS[operation])
    checked = check_text(reason, "The reason")
    with own_transaction(get_settings().database, joins=True):
        work = _lock(saga_id)
        rules.require_step(work, operation, step)
        if repeat := rules.find_repeat(work, operation, step):
            return _result(work, operation, repeat, is_repeat=True)
        if _was_done(work, operation, actor, revision, step):
            return _result(work, operation, "Done already.", is_repeat=True)
        _check_revision(work, revision)
        if operation is not Operation.ABANDON:
            moves.expire_leases(work)
        if refusal := rules.find_refusal(work, operation, step):
            raise OperationRefused(refusal)
        before = rules.describe(work)
        message = act(work, work.step(step) if step else None)
        work.bump_revision()
        following = claims.claim_next(work, queues=None, worker="", may_claim=False)
        data: dict[str, Any] = {
            "operation": operation.value, "before": before, "after": rules.describe(work), "revision": revision,
            "result": message,
        }  # fmt: skip
        if evidence:
            data["evidence"] = evidence
        if actor.bulk is not None:
            data["bulk"] = str(actor.bulk)
        target = work.step(step) if step else None
        work.add_history(
            HistoryEvent.OPERATOR_ACTED,
            step=target,
            to_state=operation.value,
            actor=actor.name,
            reason=checked,
            data=data,
        )
        work.write()
        doorbell.ring_after_commit(saga_id, following.rings)
        return _result(work, operation, message)


def _lock(saga_id: UUID) -> SagaUnitOfWork:
    """Lock the saga, as SagaUnitOfWork.lock does.

    Raises: OperationRefused when the caller's transaction is too strict to see what has become of it.
    """
    try:
        return SagaUnitOfWork.lock(saga_id)
    except OperationalError as error:
        if sqlstate_of(error) != SERIALIZATION_SQLSTATE:
            raise
        raise OperationRefused(
            f"Saga {saga_id} moved after this request's transaction began, so it was not acted on. Do it again."
        ) from error


def _result(work: SagaUnitOfWork, operation: Operation, message: str, *, is_repeat: bool = False) -> OperationResult:
    saga = work.saga
    return OperationResult(
        saga_id=saga.pk,
        operation=operation,
        state=saga.state,
        revision=saga.revision,
        message=message,
        is_repeat=is_repeat,
    )


def _was_done(work: SagaUnitOfWork, operation: Operation, actor: Actor, revision: int | None, step: str | None) -> bool:
    """Tell whether the same person did the same thing on the same revision: the second half of a double click."""
    if revision is None or revision == work.saga.revision:
        return False
    rows = SagaHistory.objects.using(get_settings().database).filter(
        saga_id=work.saga.pk, what=HistoryEvent.OPERATOR_ACTED.value, to_state=operation.value, step=step or ""
    )
    return rows.filter(actor=actor.name, data__revision=revision).exists()


def _check_revision(work: SagaUnitOfWork, revision: int | None) -> None:
    found = work.saga.revision
    if revision is not None and revision != found:
        raise StaleRevision(
            f"Saga {work.saga.pk} is at revision {found}, but the decision was made on {revision}: it is now"
            f" {rules.describe(work)}. Look again and decide anew.",
            expected=revision,
            found=found,
        )


def measure_text(text: str, what: str, *, least: int = MIN_REASON_CHARS) -> str:
    """Return a reason or evidence without the blanks around it; empty when nothing of it can be seen.

    Raises: BadRequest when too little of it can be seen, or when it is too long.
    """
    checked = text.strip() if isinstance(text, str) else ""
    visible = count_visible(checked)
    if visible < least:
        raise BadRequest(f"{what} needs {least} characters that can be seen, blanks not counted; it has {visible}.")
    if len(checked) > MAX_REASON_CHARS:
        raise BadRequest(f"{what} must have at most {MAX_REASON_CHARS} characters; it has {len(checked)}.")
    return checked if visible else ""


def check_text(text: str, what: str, *, least: int = MIN_REASON_CHARS) -> str:
    """Return a reason or evidence without the blanks around it and the secrets in it.

    Raises: BadRequest when it is too short, too long, or cannot be stored. What nobody can see does not make it longer.
    """
    checked = measure_text(text, what, least=least)
    try:
        require_text(checked, what)
    except InputRefused as error:
        raise BadRequest(str(error)) from error
    # A mask can be longer than what it stands for.
    return get_settings().redactor.redact_text(checked)[:MAX_REASON_CHARS]


def check_result(result: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a result that a person gives in place of a step.

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


def _require(step: SagaStep | None) -> SagaStep:
    if step is None:
        raise BadRequest("Name the step.")
    return step


def _assumed(outcome: Outcome, effect: Effect, evidence: str, result: dict[str, Any] | None) -> Report:
    return Report(outcome=outcome, effect=effect, result=result, settles=True, message=evidence)


def _assume(work: SagaUnitOfWork, step: SagaStep, direction: Direction, report: Report, actor: Actor) -> None:
    """Write a person's word as an attempt of its own, so that effects stay computed from attempts alone."""
    work.assume(step, direction, report, actor.name)
    step.is_assumed = True
    work.bump_revision()
