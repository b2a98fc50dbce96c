"""Bring a saga to where only claims or waiting are left, and set when and where it is looked at next.

What the planner decides is applied here to a draft; the caller writes it.

Tx: inside the transaction that holds the draft.
"""

from __future__ import annotations

from datetime import datetime

from ..conf import get_settings
from ..core import planner
from ..core.planner import Plan
from ..core.states import FORWARD_STATES, AbortRequest, Attention, Hold, SagaState
from . import holds, saga_transitions, step_transitions
from .store.draft import SagaDraft


def settle(draft: SagaDraft) -> Plan:
    """Bring a saga to where only claims or waiting are left, and set when it is due next.

    Lost leases are closed, a passed deadline becomes an abort request, aborts are granted or dropped, a finished
    saga is closed.
    Returns: what may be claimed.
    """
    if not SagaState(draft.saga.state).is_open:
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
    """Set when the saga is due next, after a claim."""
    plan = _plan(draft)
    draft.saga.due_at = _due_at(draft, plan)
    _set_queues(draft, plan)


def _check_definition(draft: SagaDraft) -> bool:
    """Hold a saga whose definition the code does not have, and let it go on once the code is back (rule S10)."""
    saga = draft.saga
    if draft.definition is not None:
        holds.clear_missing_definition(draft)
        return True
    if saga.hold is None:
        text = f"The code has no saga definition {saga.definition!r} version {saga.version} with these steps."
        holds.set_hold(draft, None, Hold.DEFINITION_MISSING, reason=text)
    return False


def _due_without_definition(draft: SagaDraft) -> datetime | None:
    """Return when to look whether the code is back. Leases stay: what a lost worker did depends on the definition."""
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
    """Return the earliest of what the plan waits for and the deadline, while that still changes something."""
    saga = draft.saga
    times = [plan.due_at] if plan.due_at else []
    if saga.state in FORWARD_STATES and saga.deadline_at and saga.deadline_at > draft.now:
        times.append(saga.deadline_at)
    return min(times, default=None)


def _set_queues(draft: SagaDraft, plan: Plan) -> None:
    """Set which queues the sweep wakes: of what is due, and of what else waits, since each may be served by others."""
    saga, settings, definition = draft.saga, get_settings(), draft.definition
    if definition is None:
        saga.queue = saga.queue or settings.common_queue
        return
    waiting = [step for step in draft.steps if step.due_at is not None and step.hold is None]
    waiting.sort(key=lambda step: step.due_at or draft.now)
    names = [claim.step for claim in plan.claims] + [step.name for step in waiting]
    queues = list(dict.fromkeys(settings.queue_of(definition.step(name)) for name in names))
    saga.queue, *saga.other_queues = queues or [saga.queue or settings.common_queue]
