"""Apply what the planner says to a locked saga: turn back, close, hold, record the end of an attempt.

Every function changes a journal and writes nothing; the caller writes it. The semantics live in ``planner``; here
they meet rows.

Tx: inside the transaction that holds the journal.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from . import outcomes, planner
from .conf import get_settings
from .definition import Step
from .journal import Journal, What
from .models import Saga, SagaStep
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

SAGA_ATTENTION = (Attention.LATE_EFFECT.value, Attention.OVERDUE.value)
LAST_ERROR_CHARS = 300


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
        journal.saga.queue = _queue_of(journal, plan)
    return plan


def turn_back(journal: Journal, cause: dict[str, Any], *, actor: str | None = None, reason: str = "") -> None:
    """Make the saga compensate. The first cause stays, waits end, and holds of steps are void."""
    saga = journal.saga
    before = saga.state
    saga.turn_back()
    if saga.cause is None:
        saga.cause = {**cause, "at": journal.now.isoformat()}
    saga.abort_request = None
    journal.decide()
    journal.tell(
        What.SAGA_TURNED_BACK, from_state=before, to_state=saga.state, actor=actor, reason=reason, data={"cause": cause}
    )
    for step in journal.steps:
        clear_hold(journal, step)
        if not step.is_live:
            step.due_at = None
            set_attention(journal, step, None)


def close(journal: Journal, state: SagaState) -> None:
    """Close the saga as completed or compensated."""
    saga = journal.saga
    before = saga.state
    if state is SagaState.COMPLETED:
        saga.complete()
    else:
        saga.finish_compensating()
    saga.closed_at, saga.due_at, saga.abort_request, saga.queue = journal.now, None, None, ""
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
    journal.close_attempt(step, token, report)
    step.lease_token = step.lease_until = None
    if not report.is_counted:
        step.budget_used = max(0, step.budget_used - 1)
    if direction is Direction.ACTION:
        _record_action(journal, step, report)
    else:
        must_verify = report.outcome is Outcome.SUCCEEDED and _must_verify(journal, step, token)
        _record_compensation(journal, step, report, must_verify=must_verify)


def settle_action(journal: Journal, step: SagaStep, report: Report) -> None:
    """Apply a definite answer to a step that waits or whose outcome is unknown: a late one, or a person's word."""
    clear_hold(journal, step)
    if step.state == StepState.REFUSED and report.outcome is Outcome.SUCCEEDED:
        step.reconsider()
    _record_action(journal, step, report)


def settle_compensation(journal: Journal, step: SagaStep, report: Report, *, token: UUID | None = None) -> None:
    """Apply a success to a step whose compensation is not live: the late answer of a token, or a person's word."""
    must_verify = token is not None and _must_verify(journal, step, token)
    clear_hold(journal, step)
    _record_compensation(journal, step, report, must_verify=must_verify)


def ask_again(journal: Journal, step: SagaStep, *, actor: str, reason: str) -> None:
    """Make a step due now with a fresh budget, because a person says so."""
    clear_hold(journal, step, actor=actor, reason=reason)
    if step.state == StepState.REFUSED:
        step.reconsider()
        step.finished_at, step.waiting_for = None, WaitingFor.RETRY.value
    if step.state in (StepState.WAITING, StepState.UNKNOWN, StepState.COMPENSATING):
        step.due_at = journal.now
    step.budget_used, step.budget_started_at = 0, journal.now


def give_up_leases(journal: Journal) -> None:
    """End every lease without asking again: the saga is about to be abandoned, and an answer would be evidence only."""
    for step in journal.steps:
        if step.lease_token is None:
            continue
        report = _describe_lost_worker(journal, step)
        journal.close_attempt(step, step.lease_token, report)
        before = step.state
        step.lease_token = step.lease_until = None
        step.last_error = _last_error_of(report)
        if step.state == StepState.RUNNING:
            _change_state(step, StepState.UNKNOWN)
        what = What.STEP_UNKNOWN if step.state == StepState.UNKNOWN else What.COMPENSATION_WAITING
        journal.tell(what, step=step, from_state=before, to_state=step.state, reason=step.last_error)


def abandon(journal: Journal, left: list[dict[str, Any]], *, actor: str, reason: str) -> None:
    """Give the saga up, with what it leaves behind. No lease may be left."""
    saga = journal.saga
    before = saga.state
    clear_hold(journal, None, actor=actor, reason=reason)
    for step in journal.steps:
        clear_hold(journal, step, actor=actor, reason=reason)
        set_attention(journal, step, None)
        step.due_at = None
    saga.abandon()
    saga.effects_left = left
    saga.closed_at, saga.due_at, saga.abort_request, saga.queue = journal.now, None, None, ""
    if saga.attention:
        journal.tell(What.ATTENTION_CLEARED, reason="The saga is over.", data={"attention": saga.attention})
        saga.attention = []
    journal.decide()
    journal.tell(
        What.SAGA_ABANDONED, from_state=before, to_state=saga.state, actor=actor, reason=reason, data={"left": left}
    )


def clear_missing_definition(journal: Journal) -> None:
    """End the hold of a saga whose definition the code has again."""
    if journal.saga.hold == Hold.DEFINITION_MISSING and journal.definition is not None:
        clear_hold(journal, None, reason="The code has the definition again.")


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
        journal.tell(What.SAGA_REOPENED, from_state="compensated", to_state=saga.state)
    if step.kind == Kind.PIVOT:
        text = "It happened although the saga had turned back, and a pivot cannot be undone."
        set_hold(journal, step, Hold.CONTRACT_VIOLATION, reason=text)
    journal.decide()
    raise_attention(journal, Attention.LATE_EFFECT)


def set_hold(
    journal: Journal, step: SagaStep | None, hold: Hold, *, actor: str | None = None, reason: str = ""
) -> None:
    """Block dispatch of a step, or of the whole saga."""
    target: Saga | SagaStep = step if step is not None else journal.saga
    if target.hold == hold.value:
        return
    if step is not None:
        step.due_at = None
    journal.decide()
    journal.tell(What.HELD, step=step, from_state=target.hold or "", to_state=hold.value, actor=actor, reason=reason)
    target.hold = hold.value


def clear_hold(journal: Journal, step: SagaStep | None, *, actor: str | None = None, reason: str = "") -> None:
    """End a hold, if there is one."""
    target: Saga | SagaStep = step if step is not None else journal.saga
    if target.hold is None:
        return
    journal.decide()
    journal.tell(What.HOLD_CLEARED, step=step, from_state=target.hold, actor=actor, reason=reason)
    target.hold = None


def raise_attention(journal: Journal, attention: Attention) -> None:
    """Ask a person to look at the saga, once."""
    if attention.value in journal.saga.attention:
        return
    journal.saga.attention = sorted({*journal.saga.attention, attention.value})
    journal.tell(What.ATTENTION_RAISED, to_state=attention.value)


def set_attention(journal: Journal, step: SagaStep, attention: Attention | None) -> None:
    """Set why a person should look at a step; the saga shows the union of its steps' reasons and its own."""
    wanted = attention.value if attention else None
    if step.attention == wanted:
        return
    if wanted:
        journal.tell(What.ATTENTION_RAISED, step=step, to_state=wanted)
    else:
        journal.tell(What.ATTENTION_CLEARED, step=step, from_state=step.attention or "")
    step.attention = wanted
    own = {reason for reason in journal.saga.attention if reason in SAGA_ATTENTION}
    journal.saga.attention = sorted(own | {other.attention for other in journal.steps if other.attention})


def request_abort(journal: Journal, request: AbortRequest, *, actor: str | None = None, reason: str = "") -> None:
    """Remember that the saga should turn back; ``settle`` grants or drops it."""
    saga = journal.saga
    saga.abort_request, saga.abort_actor, saga.abort_reason = request.value, actor or "", reason
    journal.decide()
    journal.tell(What.ABORT_REQUESTED, to_state=request.value, actor=actor, reason=reason)


def _check_definition(journal: Journal) -> bool:
    """Hold a saga whose definition the code does not have, and let it go on once the code is back (rule S10)."""
    saga = journal.saga
    if journal.definition is not None:
        clear_missing_definition(journal)
        return True
    if saga.hold is None:
        text = f"The code has no saga definition {saga.definition!r} version {saga.version} with these steps."
        set_hold(journal, None, Hold.DEFINITION_MISSING, reason=text)
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
        declared = declared_step(journal, step)
        is_rolled_back = not declared.external and runs_in_engine_database(journal.definition, declared)
    return outcomes.lost_worker(is_rolled_back=is_rolled_back, worker=attempt.worker if attempt else "")


def _notice_deadline(journal: Journal) -> None:
    saga = journal.saga
    if saga.deadline_at is None or saga.deadline_at > journal.now or saga.state not in FORWARD_STATES:
        return
    if planner.is_pivot_passed(journal.view()):
        raise_attention(journal, Attention.OVERDUE)
        return
    if saga.hold is not None or any(step.hold for step in journal.steps):
        raise_attention(journal, Attention.OVERDUE)
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
        raise_attention(journal, Attention.OVERDUE)
    journal.decide()
    journal.tell(What.ABORT_DROPPED, from_state=saga.abort_request or "", reason="Too late: the pivot has succeeded.")
    saga.abort_request = None


def refresh_due(journal: Journal) -> None:
    """Set when the saga is due next, after a claim."""
    view = journal.view()
    effects = journal.effects() if planner.needs_effects(view) else {}
    plan = planner.plan(view, effects, journal.now)
    journal.saga.due_at = _due_at(journal, plan)
    journal.saga.queue = _queue_of(journal, plan)


def _due_at(journal: Journal, plan: Plan) -> datetime | None:
    """Return the earliest of what the plan waits for and the deadline, while that still changes something."""
    saga = journal.saga
    times = [plan.due_at] if plan.due_at else []
    if saga.state in FORWARD_STATES and saga.deadline_at and saga.deadline_at > journal.now:
        times.append(saga.deadline_at)
    return min(times, default=None)


def _queue_of(journal: Journal, plan: Plan) -> str:
    """Return the queue that serves what is due next."""
    settings = get_settings()
    if not plan.claims or journal.definition is None:
        waiting = [step for step in journal.steps if step.due_at is not None and step.hold is None]
        if not waiting or journal.definition is None:
            return journal.saga.queue or settings.default_queue
        first = min(waiting, key=lambda step: step.due_at or journal.now)
        return settings.queue_of(journal.definition.step(first.name))
    return settings.queue_of(journal.definition.step(plan.claims[0].step))


def declared_step(journal: Journal, step: SagaStep) -> Step:
    """Return the declaration of a step row.

    Raises: ValueError when the code has no definition for the saga; callers check that first.
    """
    if journal.definition is None:
        raise ValueError(f"Saga {journal.saga.pk} has no definition in the code.")
    return journal.definition.step(step.name)


def _is_budget_spent(journal: Journal, step: SagaStep, direction: Direction, report: Report) -> bool:
    if journal.definition is None:
        return False
    policy = get_settings().policy(declared_step(journal, step), direction)
    elapsed = (journal.now - step.budget_started_at).total_seconds() if step.budget_started_at else 0.0
    if report.outcome is Outcome.IN_PROGRESS:
        return policy.has_elapsed(elapsed)
    return report.is_counted and policy.is_spent(used=step.budget_used, elapsed_seconds=elapsed)


def _record_action(journal: Journal, step: SagaStep, report: Report) -> None:
    state = SagaState(journal.saga.state)
    is_success = report.outcome is Outcome.SUCCEEDED
    effect = Effect.YES if is_success else journal.effects()[step.name]
    is_spent = not is_success and _is_budget_spent(journal, step, Direction.ACTION, report)
    kind = Kind(step.kind)
    step.last_error = _last_error_of(report)
    move = planner.after_action(kind, report.outcome, effect=effect, is_budget_spent=is_spent, saga_state=state)
    if is_success:
        step.result = report.result
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
    is_spent = not is_success and _is_budget_spent(journal, step, Direction.COMPENSATION, report)
    step.last_error = _last_error_of(report)
    move = planner.after_compensation(report.outcome, is_budget_spent=is_spent, must_verify=must_verify)
    _apply(journal, step, Direction.COMPENSATION, move, report, is_spent)


def _must_verify(journal: Journal, step: SagaStep, token: UUID) -> bool:
    """Tell whether a compensation that succeeded must run once more, for an adapter that asks for a second look.

    An effect that was known before it began is undone by one success; one that nobody has seen takes two looks.
    """
    attempt = journal.find_attempt(token)
    if attempt is not None and attempt.epoch != step.epoch:
        return True  # the effect showed while it ran, so it may have missed it
    if attempt is None or journal.definition is None or declared_step(journal, step).verify_after is None:
        return False
    seen_at = [
        action.ended_at
        for action in journal.attempts_of(step, Direction.ACTION)
        if action.outcome == Outcome.SUCCEEDED and action.ended_at is not None
    ]
    if seen_at:
        return attempt.started_at < max(seen_at)
    return not any(
        earlier.epoch == step.epoch and earlier.outcome == Outcome.SUCCEEDED
        for earlier in journal.attempts_of(step, Direction.COMPENSATION)
    )


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
    step.due_at = _next_due(journal, step, direction, move, report, is_spent) if move.is_asked_again else None
    is_over = move.state in (StepState.SUCCEEDED, StepState.REFUSED, StepState.COMPENSATED)
    step.finished_at = journal.now if is_over else None
    if direction is Direction.ACTION:
        what = ACTION_EVENTS[move.state]
    else:
        what = What.COMPENSATION_SUCCEEDED if is_over else What.COMPENSATION_WAITING
    data: dict[str, Any] = {"outcome": report.outcome.value}
    if step.due_at is not None:
        data["due_at"] = step.due_at.isoformat()
    journal.tell(what, step=step, from_state=before, to_state=step.state, reason=step.last_error, data=data)
    if is_over or move.attention is not None or move.hold is Hold.COMPENSATION_REFUSED:
        set_attention(journal, step, move.attention)
    if move.hold is not None:
        set_hold(journal, step, move.hold, reason=step.last_error)


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


def _next_due(
    journal: Journal, step: SagaStep, direction: Direction, move: StepMove, report: Report, is_spent: bool
) -> datetime:
    settings = get_settings()
    declared = declared_step(journal, step)
    policy = settings.policy(declared, direction)
    if report.outcome is Outcome.IN_PROGRESS:
        delay = report.after_seconds if report.after_seconds is not None else settings.poll_after.total_seconds()
    elif report.outcome is Outcome.SUCCEEDED and declared.verify_after is not None:
        delay = declared.verify_after.total_seconds()
    elif is_spent:
        delay = policy.delay_after_budget_seconds(after=report.after_seconds)
    else:
        # An attempt that burns no budget makes the next one wait longer all the same.
        made = step.action_attempts if direction is Direction.ACTION else step.compensation_attempts
        used = step.budget_used if report.is_counted else made
        delay = policy.delay_seconds(used=max(1, used), after=report.after_seconds)
    return journal.now + timedelta(seconds=delay)
