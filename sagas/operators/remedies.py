"""Remedies of one saga: which are offered now, and running one.

A remedy is a participant's own code. It runs without a lock or a transaction of the saga, in a thread of its own and
under a time limit. Every run is an operator's entry in the saga's history; nothing else of the saga changes, unless a
retry that the answer suggests was requested.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from ..bounded_call import call_within
from ..conf import get_settings
from ..core.definition import inputs
from ..core.definition.context import Results, StepContext
from ..core.definition.remedies import Remedy, RemedyAnswer, list_registered
from ..core.history_events import HistoryEvent
from ..core.json_values import as_stored
from ..core.states import Direction, SagaState, StepState
from ..engine.store.draft import SagaDraft
from ..engine.store.snapshot import SagaSnapshot
from ..exceptions import (
    BadRequest,
    InputRefused,
    OperationRefused,
    PermissionRefused,
    RemedyFailed,
    describe_error,
)
from ..models import SagaHistory, SagaStep
from ..models.history import OPERATOR_ACTED
from ..transactions import own_transaction
from . import preconditions
from .actor import Actor
from .audit.operator_log import REMEDY
from .operations import MAX_REASON_CHARS, OperationResult, check_revision, check_text, lock_saga, retry_now
from .preconditions import Operation
from .preview import LABELS, find_obstacle

PERMISSION = "remedy_saga"
MAX_ANSWER_CHARS = 1_000
MAX_ANSWER_BYTES = 8 * 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class OfferedRemedy:
    """Remedy that can be run on a step now."""

    remedy: Remedy
    """The remedy."""
    step: str
    """The stuck step."""
    direction: Direction
    """Whether its action or its compensation is stuck."""

    @property
    def label(self) -> str:
        """The text of its button, with the step."""
        return f"{self.remedy.label}: {self.step}"

    def as_dict(self) -> dict[str, Any]:
        """Return what an operator needs to know as JSON-able data."""
        shown = {name: getattr(self.remedy, name) for name in ("name", "label", "kind", "changes")}
        return {**shown, "step": self.step, "direction": self.direction.value}


@dataclass(frozen=True, kw_only=True)
class RemedyResult:
    """Answer of a remedy, with its secrets masked, and what can follow."""

    saga_id: UUID
    remedy: str
    """Name of the remedy."""
    step: str
    """The step it was run for."""
    label: str
    """What was run, in words."""
    text: str
    """The answer."""
    facts: Mapping[str, Any]
    """What the participant knows, by label."""
    evidence: str
    """Evidence for a mark."""
    result: dict[str, Any] | None
    """What the step would have returned; None: not known."""
    suggestion: Operation | None = None
    """The operation that should follow and is possible now."""
    refusals: tuple[str, ...] = ()
    """Why operations that the answer suggests are not possible."""
    retried: OperationResult | None = None
    """The retry that was requested with a repair, if it was done."""
    is_repeat: bool = False
    """Whether nothing was run because the same repair was run before."""

    @property
    def message(self) -> str:
        """The answer, what was done about it, and why other things were not."""
        done = [self.retried.message] if self.retried else self.refusals
        return " ".join([self.text, *done])

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name as JSON-able data."""
        retried = self.retried.as_dict() if self.retried else None
        return {**asdict(self), "saga_id": str(self.saga_id), "refusals": [*self.refusals], "retried": retried}


def list_remedies(saga_id: UUID, *, actor: Actor) -> list[OfferedRemedy]:
    """Return the remedies that an operator can run on a saga now.

    Raises: SagaNotFound; PermissionRefused.
    """
    actor.require(PERMISSION)
    return list_offered(SagaSnapshot.load(saga_id))


def list_offered(snapshot: SagaSnapshot) -> list[OfferedRemedy]:
    """Return the remedies for the stuck steps of an open saga whose definition the code has."""
    if snapshot.definition is None or not SagaState(snapshot.saga.state).is_open:
        return []
    registered = list_registered(snapshot.saga.definition)
    return [
        OfferedRemedy(remedy=remedy, step=row.name, direction=_direction_of(row))
        for row in snapshot.steps
        if _is_stuck(row)
        for remedy in registered
        if row.name in remedy.steps and remedy.during in (None, _direction_of(row))
    ]


def run_remedy(
    saga_id: UUID,
    name: str,
    *,
    actor: Actor,
    step: str | None = None,
    reason: str = "",
    revision: int | None = None,
    retries: bool = False,
) -> RemedyResult:
    """Run a remedy and record who ran it and what it answered.

    ``step`` may be left out if the remedy is offered for one step only. A repair needs a reason; its entry is written
    before it runs, so that no change at a participant is without one. ``retries``: retry the step at once if the answer
    suggests it, for the same reason.

    Raises: PermissionRefused; BadRequest; StaleRevision; OperationRefused when it is not offered now; RemedyFailed;
        SagaNotFound.
    Tx: should not be inside one, which would keep the saga's row locked while a repair runs.
    """
    actor.require(PERMISSION)
    snapshot = SagaSnapshot.load(saga_id)
    offered = find_offered(snapshot, name, step)
    is_repair = offered.remedy.is_repair
    given = check_text(reason, "The reason") if reason or is_repair or retries else ""
    if is_repair:
        repeated = _begin_repair(snapshot, offered, actor, given, revision)
        if repeated is not None:
            return repeated
    else:
        check_revision(snapshot, revision)
    before = preconditions.describe(snapshot)
    answer = _call(snapshot, offered, actor, given, before)
    _record(saga_id, offered, actor, given, {"before": before, "result": answer.text, "facts": answer.facts})
    found = _suggest(answer, offered, actor, saga_id)
    if retries and found.suggestion is Operation.RETRY:
        return _retry(found, actor, given)
    return found


def _is_stuck(row: SagaStep) -> bool:
    if row.state == StepState.COMPENSATING:
        return row.hold is not None or row.attention is not None or not row.is_live
    return row.hold is not None or row.state in (StepState.WAITING, StepState.UNKNOWN)


def _direction_of(row: SagaStep) -> Direction:
    return Direction.COMPENSATION if row.state == StepState.COMPENSATING else Direction.ACTION


def find_offered(snapshot: SagaSnapshot, name: str, step: str | None) -> OfferedRemedy:
    """Return an offered remedy.

    Raises: BadRequest for an unknown name or step, or without the step where there are several; OperationRefused.
    """
    registered = {remedy.name: remedy for remedy in list_registered(snapshot.saga.definition)}
    if name not in registered:
        known = ", ".join(registered) or "none"
        raise BadRequest(f"{snapshot.saga.definition} has no remedy {name!r}; it has: {known}.")
    if step is not None and step not in registered[name].steps:
        raise BadRequest(f"Remedy {name!r} is not for step {step!r}; it is for: {', '.join(registered[name].steps)}.")
    found = [one for one in list_offered(snapshot) if one.remedy.name == name and step in (None, one.step)]
    if len(found) > 1:
        raise BadRequest(f"Name the step of remedy {name!r}: {', '.join(one.step for one in found)}.")
    if not found:
        now = preconditions.describe(snapshot)
        raise OperationRefused(f"Remedy {name!r} is for a step that is stuck; the saga is {now}.")
    return found[0]


def _begin_repair(
    snapshot: SagaSnapshot, offered: OfferedRemedy, actor: Actor, reason: str, revision: int | None
) -> RemedyResult | None:
    """Record under the saga's lock that a repair begins; open forms become stale.

    Returns: None, or the result of a repeat that must not run.
    Raises: StaleRevision; OperationRefused.
    """
    with own_transaction(get_settings().database, joins=True):
        work = lock_saga(snapshot.saga.pk)
        if _was_run(offered, actor, work.saga.pk, revision):
            return _describe(RemedyAnswer(text="Already run, and only once."), offered, work.saga.pk, is_repeat=True)
        check_revision(work, revision)
        if offered not in list_offered(work):
            raise OperationRefused(f"{offered.label}: no longer needed; the saga is {preconditions.describe(work)}.")
        now = preconditions.describe(work)
        data = {"before": now, "after": now, "result": "Begun.", "revision": revision}
        _add_entry(work, offered, actor, reason, data)
        work.bump_revision()
        work.write()
    return None


def _was_run(offered: OfferedRemedy, actor: Actor, saga_id: UUID, revision: int | None) -> bool:
    """Return whether the same operator began the same repair on the same revision: a double click."""
    if revision is None:
        return False
    rows = SagaHistory.objects.using(get_settings().database).filter(
        saga_id=saga_id, what=OPERATOR_ACTED, to_state=REMEDY, step=offered.step, actor=actor.name
    )
    return rows.filter(data__revision=revision, data__remedy=offered.remedy.name).exists()


def _call(snapshot: SagaSnapshot, offered: OfferedRemedy, actor: Actor, reason: str, before: str) -> RemedyAnswer:
    """Return the answer with its secrets masked; record a failure.

    Raises: RemedyFailed.
    """
    remedy = offered.remedy
    timeout = remedy.timeout or get_settings().timeout
    facts = {"saga_id": str(snapshot.saga.pk), "step": offered.step, "remedy": remedy.name}
    try:
        context = _make_context(snapshot, offered, timeout)
        return _mask(call_within(timeout, partial(remedy.function, context)), offered)
    except Exception as error:
        logger.warning("Remedy failed.", extra=facts, exc_info=error)
        shown = get_settings().redactor.redact_text(describe_error(error))[:MAX_ANSWER_CHARS]
        failed = {"before": before, "result": f"Failed: {type(error).__name__}."}
        _record(snapshot.saga.pk, offered, actor, reason, failed)
        changed = " The participant may have changed; running it again is safe." if remedy.is_repair else ""
        raise RemedyFailed(f"{offered.label} failed. {shown} Nothing of the saga has changed.{changed}") from error


def _make_context(snapshot: SagaSnapshot, offered: OfferedRemedy, timeout: timedelta) -> StepContext[Any]:
    row, is_back = snapshot.step(offered.step), offered.direction is Direction.COMPENSATION
    definition = snapshot.definition
    return StepContext(
        saga_id=snapshot.saga.pk,
        step=row.name,
        direction=offered.direction,
        input=inputs.load(definition.input, snapshot.saga.input) if definition is not None else None,
        results=Results({step.name: step.result for step in snapshot.steps if step.result is not None}),
        attempt=row.compensation_attempts if is_back else row.action_attempts,
        epoch=row.epoch,
        expires_at=time.monotonic() + timeout.total_seconds(),
    )


def _mask(answer: object, offered: OfferedRemedy) -> RemedyAnswer:
    """Return an answer as it may be shown and stored.

    Raises: InputRefused for anything but an answer, and for one that cannot be stored.
    """
    name = f"The answer of remedy {offered.remedy.name!r}"
    if not isinstance(answer, RemedyAnswer):
        raise InputRefused(f"{name} is a {type(answer).__name__}; return a RemedyAnswer.")
    settings = get_settings()
    given = {
        "text": answer.text, "facts": dict(answer.facts), "evidence": answer.evidence or answer.text,
        "result": None if answer.result is None else dict(answer.result),
    }  # fmt: skip
    shown = settings.redactor.redact_data(as_stored(given, name, MAX_ANSWER_BYTES))
    shown["text"], shown["evidence"] = shown["text"][:MAX_ANSWER_CHARS], shown["evidence"][:MAX_REASON_CHARS]
    return RemedyAnswer(**shown, suggests=tuple(answer.suggests))


def _record(saga_id: UUID, offered: OfferedRemedy, actor: Actor, reason: str, data: dict[str, Any]) -> None:
    """Write the entry of a run that has ended.

    Tx: opens one or joins the caller's. Locks: the saga row.
    """
    with own_transaction(get_settings().database, joins=True):
        work = lock_saga(saga_id)
        _add_entry(work, offered, actor, reason, {**data, "after": preconditions.describe(work)})
        work.write()


def _add_entry(work: SagaDraft, offered: OfferedRemedy, actor: Actor, reason: str, data: dict[str, Any]) -> None:
    work.add_history(
        HistoryEvent.OPERATOR_ACTED,
        step=work.step(offered.step),
        to_state=REMEDY,
        actor=actor.name,
        reason=reason,
        data={"remedy": offered.remedy.name, "label": offered.remedy.label, **data},
    )


def _suggest(answer: RemedyAnswer, offered: OfferedRemedy, actor: Actor, saga_id: UUID) -> RemedyResult:
    """Return the result, with the first suggested operation that the actor can perform on the saga as it is now."""
    snapshot = SagaSnapshot.load(saga_id)
    found = _describe(answer, offered, saga_id)
    refusals: list[str] = []
    for operation in map(Operation, answer.suggests):
        refusal = _find_refusal(snapshot, operation, offered.step, actor)
        if not refusal:
            return replace(found, suggestion=operation)
        refusals.append(f"{LABELS[operation]} is not possible: {refusal}")
    return replace(found, refusals=tuple(refusals))


def _find_refusal(snapshot: SagaSnapshot, operation: Operation, step: str, actor: Actor) -> str:
    try:
        actor.require(preconditions.PERMISSIONS[operation])
    except PermissionRefused as error:
        return str(error)
    return find_obstacle(snapshot, operation, step)


def _describe(answer: RemedyAnswer, offered: OfferedRemedy, saga_id: UUID, *, is_repeat: bool = False) -> RemedyResult:
    return RemedyResult(
        saga_id=saga_id,
        remedy=offered.remedy.name,
        step=offered.step,
        label=offered.label,
        text=answer.text,
        facts=answer.facts,
        evidence=answer.evidence,
        result=None if answer.result is None else dict(answer.result),
        is_repeat=is_repeat,
    )


def _retry(found: RemedyResult, actor: Actor, reason: str) -> RemedyResult:
    """Retry the step after a repair; a refusal is part of the result, because the repair is done."""
    try:
        retried = retry_now(found.saga_id, actor=actor, reason=reason, step=found.step)
    except OperationRefused as error:
        return replace(found, suggestion=None, refusals=(f"It was not retried: {error}",))
    return replace(found, suggestion=None, retried=retried)
