"""Progress of a choreographed saga: what its recorded events make of its row and steps.

Everything follows from the set of recorded events, so their order and number do not matter. Changes a draft; the caller
writes it.

Tx: inside the transaction that holds the draft.
"""

import logging
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from ..core.history_events import HistoryEvent
from ..core.states import FORWARD_STATES, AbortRequest, Attention, Effect, SagaState, StepState, WaitingFor
from ..engine import effects_left, holds, saga_transitions
from ..engine.store.draft import SagaDraft
from ..models import Saga, SagaStep, TrackedEvent
from .definition import ChoreographyDefinition
from .owed import Debt, Rules, has_effect, judge_step, list_debts

logger = logging.getLogger(__name__)

UNDOING = frozenset({StepState.COMPENSATING, StepState.COMPENSATED})
ENDED = frozenset({StepState.SUCCEEDED, StepState.REFUSED, StepState.COMPENSATED})
EVENTS = {
    StepState.WAITING: HistoryEvent.EVENT_OWED,
    StepState.SUCCEEDED: HistoryEvent.STEP_SUCCEEDED,
    StepState.REFUSED: HistoryEvent.STEP_REFUSED,
    StepState.COMPENSATING: HistoryEvent.UNDOING_OWED,
    StepState.COMPENSATED: HistoryEvent.COMPENSATION_SUCCEEDED,
}


def apply(draft: SagaDraft, definition: type[ChoreographyDefinition], facts: Sequence[TrackedEvent]) -> None:
    """Move a saga and its steps to where the recorded events say that they are, and close it if nothing is owed."""
    saga, rules, seen = draft.saga, definition.rules(), {fact.type for fact in facts}
    debts = list_debts(rules, seen)
    if saga.state == SagaState.ABANDONED:
        _add_late_effects(draft, definition, seen)
        return
    if saga.state == SagaState.COMPENSATED and debts:
        saga_transitions.reopen(draft)
        draft.bump_revision()
        holds.raise_attention(draft, Attention.LATE_EFFECT)
    if not SagaState(saga.state).is_open:
        if rules.contradict(seen):
            facts_of = {"saga_id": str(saga.pk), "state": saga.state}
            logger.error("Events after the end of a saga contradict it.", extra=facts_of)
        return
    _decide(draft, rules, facts)
    for expected in definition.steps:
        _move(draft, draft.step(expected.name), judge_step(rules, expected.rule, seen))
    for step in draft.steps:
        step.is_assumed = any(fact.is_assumed for fact in facts if fact.type in _answers(rules, step.name))
    owed = [_describe(draft, definition, debt, facts) for debt in debts]
    set_owed(draft, owed if debts or saga.abort_request is None else [_describe_request(draft, definition)])
    if not debts and saga.pivot_passed_at is not None:
        saga_transitions.close(draft, SagaState.COMPLETED)
    elif not debts and saga.state == SagaState.COMPENSATING:
        saga_transitions.close(draft, SagaState.COMPENSATED)
    elif saga.owed_due_at is None and not saga.attention:
        # No silent limbo: a foreign participant does not send what would go on, and nothing limits the wait.
        holds.raise_attention(draft, Attention.EVENT_OVERDUE, reason="Nobody owes an event, and nothing is decided.")


def set_owed(draft: SagaDraft, owed: list[dict[str, Any]]) -> None:
    """Write what is owed onto the saga and its steps, and when it must be looked at next."""
    saga, by_step = draft.saga, {debt["step"]: debt for debt in reversed(owed)}
    saga.owed = owed
    for step in draft.steps:
        is_waiting = step.state in (StepState.WAITING, StepState.COMPENSATING) and step.name in by_step
        step.due_at = moment_of(by_step[step.name]["due_at"]) if is_waiting else None
    if not any(moment_of(debt["due_at"]) <= draft.now for debt in owed):
        for attention in (Attention.EVENT_OVERDUE, Attention.TRACKER_LAGGING):
            holds.drop_attention(draft, attention, reason="Nothing owed is over its limit any more.")
    saga.owed_due_at = find_due(draft)


def find_due(draft: SagaDraft) -> datetime | None:
    """Return when the sweep must look at a saga: a limit or the deadline, unless an operator was told of it already."""
    saga = draft.saga
    if not SagaState(saga.state).is_open:
        return None
    dues = [moment_of(debt["due_at"]) for debt in saga.owed]
    times = [due for due in dues if due > draft.now or Attention.EVENT_OVERDUE not in saga.attention]
    if saga.deadline_at is not None and must_heed_deadline(saga):
        times.append(saga.deadline_at)
    return min(times, default=None)


def must_heed_deadline(saga: Saga) -> bool:
    """Return whether the deadline is still to be told once it passes: to who decides; after the pivot, to operators."""
    if saga.pivot_passed_at is not None:
        return Attention.OVERDUE not in saga.attention
    return saga.state in FORWARD_STATES and saga.abort_request is None


def moment_of(text: str) -> datetime:
    """Return a moment as it is stored in ``Saga.owed``."""
    return datetime.fromisoformat(text)


def _decide(draft: SagaDraft, rules: Rules, facts: Sequence[TrackedEvent]) -> None:
    """Begin, pass the pivot or turn back, and raise attention if the events contradict each other."""
    saga, seen = draft.saga, {fact.type for fact in facts}
    if facts and saga.state == SagaState.PENDING:
        saga.begin()
        draft.add_history(HistoryEvent.SAGA_RUNNING, from_state=SagaState.PENDING.value, to_state=saga.state)
    if saga.state in FORWARD_STATES and saga.pivot_passed_at is None:
        if rules.cancelled_by in seen:
            saga_transitions.turn_back(draft, _find_cause(draft, rules, facts))
        elif seen.issuperset(rules.pivot.success):
            saga.pivot_passed_at = draft.now
            draft.bump_revision()
            draft.add_history(HistoryEvent.PIVOT_PASSED, step=draft.step(rules.pivot.name))
            if saga.abort_request is not None:
                saga_transitions.drop_abort(draft)
    if rules.contradict(seen):
        holds.raise_attention(draft, Attention.EVENT_UNEXPECTED, reason="The recorded events contradict each other.")


def _find_cause(draft: SagaDraft, rules: Rules, facts: Sequence[TrackedEvent]) -> dict[str, Any]:
    """Return why the saga turns back: a request, the first refusal, or the decision of who cancelled."""
    saga = draft.saga
    if saga.abort_request is not None:
        return {"kind": saga.abort_request, "actor": saga.abort_actor, "reason": saga.abort_reason}
    step_of = {name: step.name for step in rules.steps for name in step.refusal}
    refusal = next((fact for fact in facts if fact.type in step_of), None)
    if refusal is not None:
        return {
            "kind": "refused",
            "step": step_of[refusal.type],
            "error_class": refusal.type,
            "message": refusal.source,
        }
    return {"kind": AbortRequest.CANCEL.value, "actor": rules.senders[rules.cancelled_by], "reason": rules.cancelled_by}


def _move(draft: SagaDraft, step: SagaStep, target: StepState) -> None:
    """Move a step, one legal transition after the other; a state that cannot be reached any more is left."""
    before = step.state
    while (move := _next_move(StepState(step.state), target)) is not None:
        getattr(step, move)()
    if step.state == before:
        return
    state = StepState(step.state)
    step.waiting_for = WaitingFor.EVENT.value if state is StepState.WAITING else None
    step.started_at = step.started_at or draft.now
    step.finished_at = draft.now if state in ENDED else None
    draft.bump_revision()
    draft.add_history(EVENTS[state], step=step, from_state=before, to_state=step.state)


def _next_move(state: StepState, target: StepState) -> str | None:
    """Return the transition that leads from a state towards another; None when it is reached, or out of reach."""
    if state is target or target is StepState.PENDING:
        return None
    if state is StepState.PENDING:
        return "await_event"
    if state is StepState.WAITING:
        return "refuse" if target is StepState.REFUSED else "succeed"
    if state is StepState.REFUSED and target is StepState.SUCCEEDED:
        return "reconsider"
    if state in (StepState.SUCCEEDED, StepState.REFUSED) and target in UNDOING:
        return "compensate"
    return "finish_compensating" if (state, target) == (StepState.COMPENSATING, StepState.COMPENSATED) else None


def _answers(rules: Rules, name: str) -> tuple[str, ...]:
    rule = next(step for step in rules.steps if step.name == name)
    return (*rule.success, *rule.refusal, *rule.undone)


def _describe(
    draft: SagaDraft, definition: type[ChoreographyDefinition], debt: Debt, facts: Sequence[TrackedEvent]
) -> dict[str, Any]:
    """Return a debt as it is stored: since when, until when, and the event because of which it is owed.

    It is owed since the engine's clock when the tracker recorded the last of its causes. Who starts a saga sends the
    event that begins it in the same transaction.
    """
    since, cause = draft.saga.created_at, ""
    for name in debt.causes:
        first = next((fact for fact in facts if fact.type == name), None)
        if first is not None and name == definition.begins_with:
            cause = cause or first.event_id
        elif first is not None and first.tracked_at >= since:
            since, cause = first.tracked_at, first.event_id
    limit: timedelta = definition.limit if debt.is_undoing else definition.step(debt.step).limit
    return {
        "step": debt.step, "by": debt.by, "types": list(debt.types), "causes": list(debt.causes), "cause": cause,
        "since": since.isoformat(), "due_at": (since + limit).isoformat(), "undoes": debt.is_undoing,
    }  # fmt: skip


def _describe_request(draft: SagaDraft, definition: type[ChoreographyDefinition]) -> dict[str, Any]:
    """Return what the deciding participant owes after it was asked to cancel, if nothing else is owed meanwhile."""
    pivot = definition.rules().pivot
    known = next((debt for debt in draft.saga.owed if debt["types"][0] == definition.cancelled_by), None)
    return known or {
        "step": pivot.name, "by": definition.decider(), "types": [definition.cancelled_by, *pivot.success],
        "causes": [definition.begins_with], "cause": "", "since": draft.now.isoformat(),
        "due_at": (draft.now + definition.limit).isoformat(), "undoes": False,
    }  # fmt: skip


def _add_late_effects(draft: SagaDraft, definition: type[ChoreographyDefinition], seen: Collection[str]) -> None:
    """Add effects that were reported after the saga was abandoned to those left behind."""
    saga = draft.saga
    known = {effect["step"] for effect in saga.effects_left or () if effect["effect"] == Effect.YES}
    for expected in definition.steps:
        if expected.name not in known and has_effect(expected.rule, seen):
            late = {**effects_left.describe(draft, draft.step(expected.name), Effect.YES), "late": True}
            others = [one for one in saga.effects_left or () if one["step"] != expected.name]
            saga.effects_left = [*others, late]
            draft.bump_revision()
