"""Apply what the planner says to a locked saga: turn back, close, hold, record the end of an attempt.

Every function changes a journal and writes nothing; the caller writes it. The semantics live in ``planner``; here
they meet rows.

Tx: inside the transaction that holds the journal.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from . import budgets, closing, holds, outcomes, planner
from .conf import get_settings
from .journal import Journal, What
from .models import SagaStep
from .outcomes import Report
from .participants import runs_in_engine_database
from .planner import Plan, StepMove
from .states import (
    FORWARD_STATES,
    AbortRequest,
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

LAST_ERROR_CHARS = 300
MAX_ABORT_REASON_CHARS = 500  # what the column takes; a mask can be longer than what it stands for


def settle(journal: Journal) -> Plan:
    """Bring a saga to where only claims or waiting are left, and set when it is due next.

    Lost leases are closed, a passed deadline becomes an abort request, aborts are granted or dropped, a finished
    saga is closed.
    Returns: what may be claimed.
    """
    if not SagaState(journal.saga.state).is_open:
        journal.saga.due_at = None
        return Plan()
    if not _check_definition(journal):
        _notice_deadline(journal)
        journal.saga.due_at = _due_without_definition(journal)
        return Plan()
    expire_leases(journal)
    _notice_deadline(journal)
    plan = _decide(journal)
    if not plan.close:
        journal.saga.due_at = _due_at(journal, plan)
        _set_queues(journal, plan)
    return plan


def turn_back(journal: Journal, cause: dict[str, Any], *, actor: str | None = None, reason: str = "") -> None:
    """Make the saga compensate. The first cause stays, waits end, and holds of steps are void."""
    saga = journal.saga
    before = saga.state
    saga.turn_back()
    if saga.cause is None:
        saga.cause = {**get_settings().redactor.redact_data(cause), "at": journal.now.isoformat()}
    saga.abort_request = None
    journal.decide()
    journal.tell(
        What.SAGA_TURNED_BACK, from_state=before, to_state=saga.state, actor=actor, reason=reason, data={"cause": cause}
    )
    for step in journal.steps:
        holds.clear_hold(journal, step)
        if not step.is_live:
            step.due_at = None
            holds.set_attention(journal, step, None)


def close(journal: Journal, state: SagaState) -> None:
    """Close the saga as completed or compensated."""
    saga = journal.saga
    before = saga.state
    if state is SagaState.COMPLETED:
        saga.complete()
    else:
        saga.finish_compensating()
    saga.closed_at, saga.due_at, saga.abort_request = journal.now, None, None
    saga.queue, saga.other_queues = "", []
    closing.owe(journal)
    journal.decide()
    if saga.hold:
        journal.tell(What.HOLD_CLEARED, from_state=saga.hold, reason="The saga is over.")
        saga.hold = None
    for step in journal.steps:
        if not step.is_live:
            step.due_at = None
    if saga.attention:
        journal.tell(What.ATTENTION_CLEARED, reason="The saga is over.", data={"attention": saga.attention})
        saga.attention = []
        for step in journal.steps:
            step.attention = None
    what = What.SAGA_COMPLETED if state is SagaState.COMPLETED else What.SAGA_COMPENSATED
    journal.tell(what, from_state=before, to_state=saga.state)


def record(journal: Journal, step: SagaStep, direction: Direction, report: Report) -> None:
    """Record the end of the live attempt of a step: close it, end the lease, move the step and, if so, the saga."""
    token = step.lease_token
    if token is None:
        raise ValueError(f"Step {step.name} of saga {journal.saga.pk} has no live attempt to record.")
    journal.close_attempt(step, token, report, direction)
    step.lease_token = step.lease_until = None
    if not report.is_counted:
        step.budget_used = max(0, step.budget_used - 1)
    if direction is Direction.ACTION:
        _record_action(journal, step, report)
    else:
        must_verify = report.outcome is Outcome.SUCCEEDED and budgets.must_verify(journal, step, token)
        _record_compensation(journal, step, report, must_verify=must_verify)


def settle_action(journal: Journal, step: SagaStep, report: Report) -> None:
    """Apply a definite answer to a step that waits or whose outcome is unknown: a late one, or a person's word."""
    holds.clear_hold(journal, step)
    if step.state == StepState.REFUSED and report.outcome is Outcome.SUCCEEDED:
        _reconsider(journal, step, reason="A person says that it happened.")
    _record_action(journal, step, report)


def settle_compensation(journal: Journal, step: SagaStep, report: Report, *, token: UUID | None = None) -> None:
    """Apply a success to a step whose compensation is not live: the late answer of a token, or a person's word."""
    must_verify = token is not None and budgets.must_verify(journal, step, token)
    holds.clear_hold(journal, step)
    _record_compensation(journal, step, report, must_verify=must_verify)


def ask_again(journal: Journal, step: SagaStep, *, actor: str, reason: str) -> None:
    """Make a step due now with a fresh budget, because a person says so."""
    holds.clear_hold(journal, step, actor=actor, reason=reason)
    if step.state == StepState.REFUSED:
        _reconsider(journal, step, actor=actor, reason=reason)
    if step.state in (StepState.WAITING, StepState.UNKNOWN, StepState.COMPENSATING):
        step.due_at = journal.now
    step.budget_used, step.budget_started_at = 0, journal.now


def give_up_leases(journal: Journal) -> None:
    """End every lease without asking again: the saga is about to be abandoned, and an answer would be evidence only."""
    for step in journal.steps:
        if step.lease_token is None:
            continue
        report = _describe_lost_worker(journal, step)
        direction = Direction.COMPENSATION if step.state == StepState.COMPENSATING else Direction.ACTION
        journal.close_attempt(step, step.lease_token, report, direction)
        before = step.state
        step.lease_token, step.lease_until, step.is_woken = None, None, False
        step.last_error = _last_error_of(report)
        if step.state == StepState.RUNNING:
            _change_state(step, StepState.UNKNOWN)
        what = What.STEP_UNKNOWN if step.state == StepState.UNKNOWN else What.COMPENSATION_WAITING
        journal.tell(what, step=step, from_state=before, to_state=step.state, reason=step.last_error)


def abandon(journal: Journal, left: list[dict[str, Any]], *, actor: str, reason: str) -> None:
    """Give the saga up, with what it leaves behind. No lease may be left."""
    saga = journal.saga
    before = saga.state
    holds.clear_hold(journal, None, actor=actor, reason=reason)
    for step in journal.steps:
        holds.clear_hold(journal, step, actor=actor, reason=reason)
        holds.set_attention(journal, step, None)
        step.due_at = None
    saga.abandon()
    saga.effects_left = left
    saga.closed_at, saga.due_at, saga.abort_request = journal.now, None, None
    saga.queue, saga.other_queues = "", []
    closing.owe(journal)
    if saga.attention:
        journal.tell(What.ATTENTION_CLEARED, reason="The saga is over.", data={"attention": saga.attention})
        saga.attention = []
    journal.decide()
    journal.tell(
        What.SAGA_ABANDONED, from_state=before, to_state=saga.state, actor=actor, reason=reason, data={"left": left}
    )


def reopen(journal: Journal, step: SagaStep) -> None:
    """Compensate a step again, because an effect showed after it was compensated (rule S4)."""
    saga = journal.saga
    if step.state == StepState.COMPENSATED:
        step.reopen()
        step.epoch += 1
        step.budget_used, step.budget_started_at, step.due_at, step.finished_at = 0, journal.now, journal.now, None
        step.waiting_for = WaitingFor.RETRY.value
        journal.tell(What.COMPENSATION_REOPENED, step=step, from_state="compensated", to_state=step.state)
    if saga.state == SagaState.COMPENSATED:
        saga.reopen()
        saga.closed_at = None
        closing.forgive(journal)
        journal.tell(What.SAGA_REOPENED, from_state="compensated", to_state=saga.state)
    if step.kind == Kind.PIVOT:
        text = "It happened although the saga had turned back, and a pivot cannot be undone."
        holds.set_hold(journal, step, Hold.CONTRACT_VIOLATION, reason=text)
    journal.decide()
    holds.raise_attention(journal, Attention.LATE_EFFECT)


def request_abort(journal: Journal, request: AbortRequest, *, actor: str | None = None, reason: str = "") -> None:
    """Remember that the saga should turn back; ``settle`` grants or drops it."""
    saga = journal.saga
    shown = get_settings().redactor.redact_text(reason)[:MAX_ABORT_REASON_CHARS]
    saga.abort_request, saga.abort_actor, saga.abort_reason = request.value, actor or "", shown
    journal.decide()
    journal.tell(What.ABORT_REQUESTED, to_state=request.value, actor=actor, reason=reason)


def _check_definition(journal: Journal) -> bool:
    """Hold a saga whose definition the code does not have, and let it go on once the code is back (rule S10)."""
    saga = journal.saga
    if journal.definition is not None:
        holds.clear_missing_definition(journal)
        return True
    if saga.hold is None:
        text = f"The code has no saga definition {saga.definition!r} version {saga.version} with these steps."
        holds.set_hold(journal, None, Hold.DEFINITION_MISSING, reason=text)
    return False


def _due_without_definition(journal: Journal) -> datetime | None:
    """Return when to look whether the code is back. Leases stay: what a lost worker did depends on the definition."""
    saga, look_again = journal.saga, journal.now + get_settings().ring_interval
    times = [look_again] if saga.hold == Hold.DEFINITION_MISSING else []
    times += [max(step.lease_until, look_again) for step in journal.steps if step.lease_until is not None]
    if saga.state in FORWARD_STATES and saga.deadline_at and saga.deadline_at > journal.now:
        times.append(saga.deadline_at)
    return min(times, default=None)


def expire_leases(journal: Journal) -> None:
    """Record every attempt whose lease has ended as lost; without a definition they stay."""
    if journal.definition is None:
        return
    for step in journal.steps:
        if step.lease_until is None or step.lease_until > journal.now:
            continue
        direction = Direction.COMPENSATION if step.state == StepState.COMPENSATING else Direction.ACTION
        record(journal, step, direction, _describe_lost_worker(journal, step))


def _describe_lost_worker(journal: Journal, step: SagaStep) -> Report:
    attempt = journal.find_attempt(step.lease_token) if step.lease_token else None
    is_rolled_back = False
    if journal.definition is not None:
        declared = budgets.declared_step(journal, step)
        is_rolled_back = not declared.external and runs_in_engine_database(journal.definition, declared)
    return outcomes.lost_worker(is_rolled_back=is_rolled_back, worker=attempt.worker if attempt else "")


def _notice_deadline(journal: Journal) -> None:
    saga = journal.saga
    if saga.deadline_at is None or saga.deadline_at > journal.now or saga.state not in FORWARD_STATES:
        return
    if planner.is_pivot_passed(journal.view()):
        holds.raise_attention(journal, Attention.OVERDUE)
        return
    if saga.hold is not None or any(step.hold for step in journal.steps):
        holds.raise_attention(journal, Attention.OVERDUE)
    if saga.abort_request is None:
        request_abort(journal, AbortRequest.DEADLINE, reason="The saga's deadline has passed.")


def _decide(journal: Journal) -> Plan:
    """Apply decisions until the plan holds none."""
    while True:
        view = journal.view()
        effects = journal.effects() if planner.needs_effects(view) else {}
        plan = planner.plan(view, effects, journal.now)
        if plan.turn_back:
            saga = journal.saga
            cause = {"kind": saga.abort_request, "actor": saga.abort_actor, "reason": saga.abort_reason}
            turn_back(journal, cause, actor=saga.abort_actor or None, reason=saga.abort_reason)
        elif plan.drop_abort:
            _drop_abort(journal)
        elif plan.close:
            close(journal, plan.close)
            return plan
        else:
            return plan


def _drop_abort(journal: Journal) -> None:
    saga = journal.saga
    if saga.abort_request == AbortRequest.DEADLINE:
        holds.raise_attention(journal, Attention.OVERDUE)
    journal.decide()
    journal.tell(What.ABORT_DROPPED, from_state=saga.abort_request or "", reason="Too late: the pivot has succeeded.")
    saga.abort_request = None


def refresh_due(journal: Journal) -> None:
    """Set when the saga is due next, after a claim."""
    view = journal.view()
    effects = journal.effects() if planner.needs_effects(view) else {}
    plan = planner.plan(view, effects, journal.now)
    journal.saga.due_at = _due_at(journal, plan)
    _set_queues(journal, plan)


def _due_at(journal: Journal, plan: Plan) -> datetime | None:
    """Return the earliest of what the plan waits for and the deadline, while that still changes something."""
    saga = journal.saga
    times = [plan.due_at] if plan.due_at else []
    if saga.state in FORWARD_STATES and saga.deadline_at and saga.deadline_at > journal.now:
        times.append(saga.deadline_at)
    return min(times, default=None)


def _set_queues(journal: Journal, plan: Plan) -> None:
    """Set which queues the sweep rings: of what is due, and of what else waits, since each may be served by others."""
    saga, settings, definition = journal.saga, get_settings(), journal.definition
    if definition is None:
        saga.queue = saga.queue or settings.common_queue
        return
    waiting = [step for step in journal.steps if step.due_at is not None and step.hold is None]
    waiting.sort(key=lambda step: step.due_at or journal.now)
    names = [claim.step for claim in plan.claims] + [step.name for step in waiting]
    queues = list(dict.fromkeys(settings.queue_of(definition.step(name)) for name in names))
    saga.queue, *saga.other_queues = queues or [saga.queue or settings.common_queue]


def _record_action(journal: Journal, step: SagaStep, report: Report) -> None:
    state = SagaState(journal.saga.state)
    is_success = report.outcome is Outcome.SUCCEEDED
    effect = Effect.YES if is_success else journal.effects()[step.name]
    is_spent = not is_success and budgets.is_budget_spent(journal, step, Direction.ACTION, report)
    kind = Kind(step.kind)
    step.last_error = _last_error_of(report)
    move = planner.after_action(kind, report.outcome, effect=effect, is_budget_spent=is_spent, saga_state=state)
    if is_success:
        step.result = report.result
        if journal.definition is not None:
            journal.add_keys(journal.definition.step(step.name).read_keys(report.result))
    _apply(journal, step, Direction.ACTION, move, report, is_spent)
    if is_success and kind is Kind.PIVOT:
        journal.saga.pivot_passed_at = journal.now
        journal.decide()
        journal.tell(What.PIVOT_PASSED, step=step)
    if move.turns_back and state in FORWARD_STATES:
        is_refusal = report.outcome is Outcome.REFUSED
        cause = {
            "kind": "refused" if is_refusal else "budget_spent", "step": step.name, "error_class": report.error_class,
            "message": report.message,
        }  # fmt: skip
        turn_back(journal, cause)


def _record_compensation(journal: Journal, step: SagaStep, report: Report, *, must_verify: bool) -> None:
    is_success = report.outcome is Outcome.SUCCEEDED
    is_spent = not is_success and budgets.is_budget_spent(journal, step, Direction.COMPENSATION, report)
    step.last_error = _last_error_of(report)
    move = planner.after_compensation(report.outcome, is_budget_spent=is_spent, must_verify=must_verify)
    _apply(journal, step, Direction.COMPENSATION, move, report, is_spent)


def _last_error_of(report: Report) -> str:
    return f"{report.error_class}: {report.message}"[:LAST_ERROR_CHARS] if report.error_class else ""


ACTION_EVENTS = {
    StepState.SUCCEEDED: What.STEP_SUCCEEDED,
    StepState.REFUSED: What.STEP_REFUSED,
    StepState.WAITING: What.STEP_WAITING,
    StepState.UNKNOWN: What.STEP_UNKNOWN,
}


def _apply(
    journal: Journal, step: SagaStep, direction: Direction, move: StepMove, report: Report, is_spent: bool
) -> None:
    before = step.state
    _change_state(step, move.state)
    step.waiting_for = move.waiting_for.value if move.waiting_for else None
    step.due_at = budgets.next_due(journal, step, direction, report, is_spent=is_spent) if move.is_asked_again else None
    step.is_woken = False
    is_over = move.state in (StepState.SUCCEEDED, StepState.REFUSED, StepState.COMPENSATED)
    step.finished_at = journal.now if is_over else None
    if is_over:
        # What a person would undo or decide is no longer what the form showed.
        journal.decide()
    if direction is Direction.ACTION:
        what = ACTION_EVENTS[move.state]
    else:
        what = What.COMPENSATION_SUCCEEDED if is_over else What.COMPENSATION_WAITING
    data: dict[str, Any] = {"outcome": report.outcome.value}
    if step.due_at is not None:
        data["due_at"] = step.due_at.isoformat()
    journal.tell(what, step=step, from_state=before, to_state=step.state, reason=step.last_error, data=data)
    if is_over or move.attention is not None or move.hold is Hold.COMPENSATION_REFUSED:
        holds.set_attention(journal, step, move.attention)
    if move.hold is not None:
        holds.set_hold(journal, step, move.hold, reason=step.last_error)


def _reconsider(journal: Journal, step: SagaStep, *, actor: str | None = None, reason: str) -> None:
    """Take a refusal for open again."""
    before = step.state
    step.reconsider()
    step.finished_at, step.waiting_for = None, WaitingFor.RETRY.value
    journal.tell(What.STEP_WAITING, step=step, from_state=before, to_state=step.state, actor=actor, reason=reason)


def _change_state(step: SagaStep, state: StepState) -> None:
    if step.state == state:
        return
    moves = {
        StepState.SUCCEEDED: step.succeed,
        StepState.REFUSED: step.refuse,
        StepState.WAITING: step.wait,
        StepState.UNKNOWN: step.lose_sight,
        StepState.COMPENSATED: step.finish_compensating,
    }
    moves[state]()
