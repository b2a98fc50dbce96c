"""Transitions of a step: its attempt ends, its lease expires, it is retried, or it is compensated again.

Every function changes a draft; the caller writes it. ``planner`` and ``budgets`` decide what the end of an attempt
means; this module applies it to the step's row, and to the saga if it starts compensating.

Tx: inside the transaction that holds the draft.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from ..conf import get_settings
from ..core import budgets, outcomes, planner
from ..core.budgets import Budget
from ..core.definition.steps import Step
from ..core.history_events import HistoryEvent
from ..core.outcomes import Report
from ..core.planner import StepMove
from ..core.states import (
    FORWARD_STATES,
    Attention,
    Direction,
    Effect,
    Hold,
    Kind,
    Outcome,
    SagaState,
    StepState,
    WaitingFor,
)
from ..models import SagaStep
from ..participants.routing import runs_in_engine_database
from . import holds, saga_transitions
from .store.draft import SagaDraft

LAST_ERROR_CHARS = 300


def record(draft: SagaDraft, step: SagaStep, direction: Direction, report: Report) -> None:
    """Record the end of a step's live attempt: close it, end the lease, and move the step and, if need be, the saga."""
    token = step.lease_token
    if token is None:
        raise ValueError(f"Step {step.name} of saga {draft.saga.pk} has no live attempt to record.")
    draft.close_attempt(step, token, report, direction)
    step.lease_token = step.lease_until = None
    if not report.is_counted:
        step.budget_used = max(0, step.budget_used - 1)
    if direction is Direction.ACTION:
        _record_action(draft, step, report)
    else:
        must_verify = report.outcome is Outcome.SUCCEEDED and _must_verify(draft, step, token)
        _record_compensation(draft, step, report, must_verify=must_verify)


def settle_action(draft: SagaDraft, step: SagaStep, report: Report) -> None:
    """Apply a late answer, or an outcome that an operator states, to the action of a step without a live attempt."""
    holds.clear_hold(draft, step)
    if step.state == StepState.REFUSED and report.outcome is Outcome.SUCCEEDED:
        _reconsider(draft, step, reason="An operator says that it happened.")
    _record_action(draft, step, report)


def settle_compensation(draft: SagaDraft, step: SagaStep, report: Report, *, token: UUID | None = None) -> None:
    """Apply a success to a compensation that is not live: a late answer of ``token``, or an operator's statement."""
    must_verify = token is not None and _must_verify(draft, step, token)
    holds.clear_hold(draft, step)
    _record_compensation(draft, step, report, must_verify=must_verify)


def ask_again(draft: SagaDraft, step: SagaStep, *, actor: str, reason: str) -> None:
    """Make a step due now with a fresh budget, for an operator."""
    holds.clear_hold(draft, step, actor=actor, reason=reason)
    if step.state == StepState.REFUSED:
        _reconsider(draft, step, actor=actor, reason=reason)
    if step.state in (StepState.WAITING, StepState.UNKNOWN, StepState.COMPENSATING):
        step.due_at = draft.now
    step.budget_used, step.budget_started_at = 0, draft.now


def expire_leases(draft: SagaDraft) -> None:
    """Record every attempt with an expired lease as lost; without a definition, do nothing."""
    if draft.definition is None:
        return
    for step in draft.steps:
        if step.lease_until is None or step.lease_until > draft.now:
            continue
        direction = Direction.COMPENSATION if step.state == StepState.COMPENSATING else Direction.ACTION
        record(draft, step, direction, _describe_lost_worker(draft, step))


def give_up_leases(draft: SagaDraft) -> None:
    """End every lease without a retry, because the saga is about to be abandoned; late answers are only evidence."""
    for step in draft.steps:
        if step.lease_token is None:
            continue
        report = _describe_lost_worker(draft, step)
        direction = Direction.COMPENSATION if step.state == StepState.COMPENSATING else Direction.ACTION
        draft.close_attempt(step, step.lease_token, report, direction)
        before = step.state
        step.lease_token, step.lease_until, step.is_woken = None, None, False
        step.last_error = _last_error_of(report)
        if step.state == StepState.RUNNING:
            _change_state(step, StepState.UNKNOWN)
        what = HistoryEvent.STEP_UNKNOWN if step.state == StepState.UNKNOWN else HistoryEvent.COMPENSATION_WAITING
        draft.add_history(what, step=step, from_state=before, to_state=step.state, reason=step.last_error)


def reopen(draft: SagaDraft, step: SagaStep) -> None:
    """Compensate a step again, because a late effect showed after its compensation (rule S4)."""
    saga = draft.saga
    if step.state == StepState.COMPENSATED:
        step.reopen()
        step.epoch += 1
        step.budget_used, step.budget_started_at, step.due_at, step.finished_at = 0, draft.now, draft.now, None
        step.waiting_for = WaitingFor.RETRY.value
        draft.add_history(HistoryEvent.COMPENSATION_REOPENED, step=step, from_state="compensated", to_state=step.state)
    if saga.state == SagaState.COMPENSATED:
        saga_transitions.reopen(draft)
    if step.kind == Kind.PIVOT:
        text = "It happened although the saga was compensating, and a pivot cannot be undone."
        holds.set_hold(draft, step, Hold.CONTRACT_VIOLATION, reason=text)
    draft.bump_revision()
    holds.raise_attention(draft, Attention.LATE_EFFECT)


def _describe_lost_worker(draft: SagaDraft, step: SagaStep) -> Report:
    attempt = draft.find_attempt(step.lease_token) if step.lease_token else None
    is_rolled_back = False
    if draft.definition is not None:
        declared = _declared_step(draft, step)
        is_rolled_back = not declared.external and runs_in_engine_database(draft.definition, declared)
    return outcomes.lost_worker(is_rolled_back=is_rolled_back, worker=attempt.worker if attempt else "")


def _record_action(draft: SagaDraft, step: SagaStep, report: Report) -> None:
    state = SagaState(draft.saga.state)
    is_success = report.outcome is Outcome.SUCCEEDED
    effect = Effect.YES if is_success else draft.effects()[step.name]
    is_spent = not is_success and _is_spent(draft, step, Direction.ACTION, report)
    kind = Kind(step.kind)
    step.last_error = _last_error_of(report)
    move = planner.after_action(kind, report.outcome, effect=effect, is_budget_spent=is_spent, saga_state=state)
    if is_success:
        step.result = report.result
        if draft.definition is not None:
            draft.add_keys(draft.definition.step(step.name).read_keys(report.result))
    _apply(draft, step, Direction.ACTION, move, report, is_spent)
    if is_success and kind is Kind.PIVOT:
        draft.saga.pivot_passed_at = draft.now
        draft.bump_revision()
        draft.add_history(HistoryEvent.PIVOT_PASSED, step=step)
    if move.turns_back and state in FORWARD_STATES:
        is_refusal = report.outcome is Outcome.REFUSED
        cause = {
            "kind": "refused" if is_refusal else "budget_spent", "step": step.name, "error_class": report.error_class,
            "message": report.message,
        }  # fmt: skip
        saga_transitions.turn_back(draft, cause)


def _record_compensation(draft: SagaDraft, step: SagaStep, report: Report, *, must_verify: bool) -> None:
    is_success = report.outcome is Outcome.SUCCEEDED
    is_spent = not is_success and _is_spent(draft, step, Direction.COMPENSATION, report)
    step.last_error = _last_error_of(report)
    move = planner.after_compensation(report.outcome, is_budget_spent=is_spent, must_verify=must_verify)
    _apply(draft, step, Direction.COMPENSATION, move, report, is_spent)


def _last_error_of(report: Report) -> str:
    return f"{report.error_class}: {report.message}"[:LAST_ERROR_CHARS] if report.error_class else ""


ACTION_EVENTS = {
    StepState.SUCCEEDED: HistoryEvent.STEP_SUCCEEDED,
    StepState.REFUSED: HistoryEvent.STEP_REFUSED,
    StepState.WAITING: HistoryEvent.STEP_WAITING,
    StepState.UNKNOWN: HistoryEvent.STEP_UNKNOWN,
}


def _apply(
    draft: SagaDraft, step: SagaStep, direction: Direction, move: StepMove, report: Report, is_spent: bool
) -> None:
    before = step.state
    _change_state(step, move.state)
    step.waiting_for = move.waiting_for.value if move.waiting_for else None
    step.due_at = _next_due(draft, step, direction, report, is_spent=is_spent) if move.is_asked_again else None
    step.is_woken = False
    is_over = move.state in (StepState.SUCCEEDED, StepState.REFUSED, StepState.COMPENSATED)
    step.finished_at = draft.now if is_over else None
    if is_over:
        # Open forms now show an outdated state of the step.
        draft.bump_revision()
    if direction is Direction.ACTION:
        what = ACTION_EVENTS[move.state]
    else:
        what = HistoryEvent.COMPENSATION_SUCCEEDED if is_over else HistoryEvent.COMPENSATION_WAITING
    data: dict[str, Any] = {"outcome": report.outcome.value}
    if step.due_at is not None:
        data["due_at"] = step.due_at.isoformat()
    draft.add_history(what, step=step, from_state=before, to_state=step.state, reason=step.last_error, data=data)
    if is_over or move.attention is not None or move.hold is Hold.COMPENSATION_REFUSED:
        holds.set_attention(draft, step, move.attention)
    if move.hold is not None:
        holds.set_hold(draft, step, move.hold, reason=step.last_error)


def _reconsider(draft: SagaDraft, step: SagaStep, *, actor: str | None = None, reason: str) -> None:
    """Reopen a refused step: it waits for a retry."""
    before = step.state
    step.reconsider()
    step.finished_at, step.waiting_for = None, WaitingFor.RETRY.value
    draft.add_history(
        HistoryEvent.STEP_WAITING, step=step, from_state=before, to_state=step.state, actor=actor, reason=reason
    )


def _change_state(step: SagaStep, state: StepState) -> None:
    if step.state == state:
        return
    transitions = {
        StepState.SUCCEEDED: step.succeed,
        StepState.REFUSED: step.refuse,
        StepState.WAITING: step.wait,
        StepState.UNKNOWN: step.lose_sight,
        StepState.COMPENSATED: step.finish_compensating,
    }
    transitions[state]()


def _is_spent(draft: SagaDraft, step: SagaStep, direction: Direction, report: Report) -> bool:
    return draft.definition is not None and budgets.is_spent(_budget_of(draft, step, direction), report)


def _next_due(draft: SagaDraft, step: SagaStep, direction: Direction, report: Report, *, is_spent: bool) -> datetime:
    """Return when the step runs again: now if it was woken during the attempt that ended."""
    if draft.definition is None:  # the next claim holds the step
        return draft.now
    if step.is_woken and report.outcome is not Outcome.SUCCEEDED:  # the verification of a success keeps its delay
        return draft.now
    delay = budgets.compute_delay(
        _budget_of(draft, step, direction),
        report,
        is_spent=is_spent,
        poll_after=get_settings().poll_after,
        verify_after=_declared_step(draft, step).verify_after,
    )
    return draft.now + delay


def _budget_of(draft: SagaDraft, step: SagaStep, direction: Direction) -> Budget:
    return Budget(
        policy=get_settings().policy(_declared_step(draft, step), direction),
        used=step.budget_used,
        made=step.action_attempts if direction is Direction.ACTION else step.compensation_attempts,
        started_at=step.budget_started_at,
        now=draft.now,
        facts={"saga_id": str(draft.saga.pk), "step": step.name},
    )


def _must_verify(draft: SagaDraft, step: SagaStep, token: UUID) -> bool:
    """Return whether the successful compensation of this token must run once more."""
    attempt = draft.find_attempt(token)
    if attempt is not None and attempt.epoch != step.epoch:
        return True  # the effect showed during the attempt, which may have missed it
    if attempt is None or draft.definition is None or _declared_step(draft, step).verify_after is None:
        return False
    actions = [action for action in draft.attempts_of(step, Direction.ACTION) if action.outcome == Outcome.SUCCEEDED]
    looks = [look for look in draft.attempts_of(step, Direction.COMPENSATION) if look.outcome == Outcome.SUCCEEDED]
    return budgets.must_verify(
        attempt.started_at,
        effect_seen_at=[action.ended_at for action in actions if action.ended_at is not None],
        has_looked=any(look.epoch == step.epoch for look in looks),
    )


def _declared_step(draft: SagaDraft, step: SagaStep) -> Step:
    """Return the declaration of a step row.

    Raises: ValueError when the code has no definition of the saga; callers check that first.
    """
    if draft.definition is None:
        raise ValueError(f"Saga {draft.saga.pk} has no definition in the code.")
    return draft.definition.step(step.name)
