"""Settling of a saga: apply decisions until only claims or waiting are left, and set its due time and queues.

The planner's decisions are applied to a draft here; the caller writes it.

Tx: inside the transaction that holds the draft.
"""

from datetime import datetime

from ..conf import get_settings
from ..core import planner
from ..core.planner import Plan
from ..core.states import FORWARD_STATES, AbortRequest, Attention, Hold, SagaState
from . import holds, saga_transitions, step_transitions
from .store.draft import SagaDraft


def settle(draft: SagaDraft) -> Plan:
    """Apply decisions until only claims or waiting are left, and set when the saga is due next.

    Attempts with expired leases are recorded as lost, a passed deadline becomes an abort request (or *overdue*), abort
    requests are granted or dropped, and a finished saga is closed.
    Nothing is decided about a choreographed saga: its tracker does.
    Returns: the plan, with the steps that may be claimed.
    """
    if not SagaState(draft.saga.state).is_open or draft.saga.is_choreographed:
        draft.saga.due_at = None
        return Plan()
    if not _check_definition(draft):
        _notice_deadline(draft)
        draft.saga.due_at = _due_without_definition(draft)
        return Plan()
    step_transitions.expire_leases(draft)
    _notice_deadline(draft)
    plan = _decide(draft)
    if not plan.close:
        draft.saga.due_at = _due_at(draft, plan)
        _set_queues(draft, plan)
    return plan


def refresh_due(draft: SagaDraft) -> None:
    """Set the saga's due time and queues after a claim."""
    plan = _plan(draft)
    draft.saga.due_at = _due_at(draft, plan)
    _set_queues(draft, plan)


def _check_definition(draft: SagaDraft) -> bool:
    """Hold a saga whose definition is missing in the code, and clear that hold once it is back (rule S10)."""
    saga = draft.saga
    if draft.definition is not None:
        holds.clear_missing_definition(draft)
        return True
    if saga.hold is None:
        text = f"The code has no saga definition {saga.definition!r} version {saga.version} with these steps."
        holds.set_hold(draft, None, Hold.DEFINITION_MISSING, reason=text)
    return False


def _due_without_definition(draft: SagaDraft) -> datetime | None:
    """Return when to check for the definition again. Leases stay: judging a lost worker needs the definition."""
    saga, look_again = draft.saga, draft.now + get_settings().wakeup_interval
    times = [look_again] if saga.hold == Hold.DEFINITION_MISSING else []
    times += [max(step.lease_until, look_again) for step in draft.steps if step.lease_until is not None]
    if saga.state in FORWARD_STATES and saga.deadline_at and saga.deadline_at > draft.now:
        times.append(saga.deadline_at)
    return min(times, default=None)


def _notice_deadline(draft: SagaDraft) -> None:
    saga = draft.saga
    if saga.deadline_at is None or saga.deadline_at > draft.now or saga.state not in FORWARD_STATES:
        return
    if planner.is_pivot_passed(draft.view()):
        holds.raise_attention(draft, Attention.OVERDUE)
        return
    if saga.hold is not None or any(step.hold for step in draft.steps):
        holds.raise_attention(draft, Attention.OVERDUE)
    if saga.abort_request is None:
        saga_transitions.request_abort(draft, AbortRequest.DEADLINE, reason="The saga's deadline has passed.")


def _decide(draft: SagaDraft) -> Plan:
    """Apply decisions until the plan holds none."""
    while True:
        plan = _plan(draft)
        if plan.turn_back:
            saga = draft.saga
            cause = {"kind": saga.abort_request, "actor": saga.abort_actor, "reason": saga.abort_reason}
            saga_transitions.turn_back(draft, cause, actor=saga.abort_actor or None, reason=saga.abort_reason)
        elif plan.drop_abort:
            saga_transitions.drop_abort(draft)
        elif plan.close:
            saga_transitions.close(draft, plan.close)
            return plan
        else:
            return plan


def _plan(draft: SagaDraft) -> Plan:
    view = draft.view()
    return planner.plan(view, draft.effects() if planner.needs_effects(view) else {}, draft.now)


def _due_at(draft: SagaDraft, plan: Plan) -> datetime | None:
    """Return the earliest of the plan's due time and the deadline, as long as the deadline can still have an effect."""
    saga = draft.saga
    times = [plan.due_at] if plan.due_at else []
    if saga.state in FORWARD_STATES and saga.deadline_at and saga.deadline_at > draft.now:
        times.append(saga.deadline_at)
    return min(times, default=None)


def _set_queues(draft: SagaDraft, plan: Plan) -> None:
    """Set which queues the sweep wakes: those of due and of waiting steps, since different workers may serve them."""
    saga, settings, definition = draft.saga, get_settings(), draft.definition
    if definition is None:
        saga.queue = saga.queue or settings.common_queue
        return
    waiting = [step for step in draft.steps if step.due_at is not None and step.hold is None]
    waiting.sort(key=lambda step: step.due_at or draft.now)
    names = [claim.step for claim in plan.claims] + [step.name for step in waiting]
    queues = list(dict.fromkeys(settings.queue_of(definition.step(name)) for name in names))
    saga.queue, *saga.other_queues = queues or [saga.queue or settings.common_queue]
