"""Transitions of a whole saga: start of compensation, end, reopening, and abort requests.

Every function changes a draft; the caller writes it.

Tx: inside the transaction that holds the draft.
"""

from typing import Any

from ..conf import get_settings
from ..core.history_events import HistoryEvent
from ..core.states import AbortRequest, Attention, SagaState
from . import closed_hooks, holds
from .store.draft import SagaDraft

MAX_ABORT_REASON_CHARS = 500  # the column's length; a mask can be longer than the secret


def turn_back(draft: SagaDraft, cause: dict[str, Any], *, actor: str | None = None, reason: str = "") -> None:
    """Start compensating a saga. An earlier cause is kept; waits of steps end, and their holds are cleared."""
    saga = draft.saga
    before = saga.state
    saga.turn_back()
    if saga.cause is None:
        saga.cause = {**get_settings().redactor.redact_data(cause), "at": draft.now.isoformat()}
    saga.abort_request = None
    draft.bump_revision()
    draft.add_history(
        HistoryEvent.SAGA_TURNED_BACK,
        from_state=before,
        to_state=saga.state,
        actor=actor,
        reason=reason,
        data={"cause": cause},
    )
    for step in draft.steps:
        holds.clear_hold(draft, step)
        if not step.is_live:
            step.due_at = None
            holds.set_attention(draft, step, None)


def close(draft: SagaDraft, state: SagaState) -> None:
    """Close the saga as completed or compensated."""
    saga = draft.saga
    before = saga.state
    if state is SagaState.COMPLETED:
        saga.complete()
    else:
        saga.finish_compensating()
    _end(draft)
    if saga.hold:
        draft.add_history(HistoryEvent.HOLD_CLEARED, from_state=saga.hold, reason="The saga is over.")
        saga.hold = None
    for step in draft.steps:
        if not step.is_live:
            step.due_at = None
    if saga.attention:
        _clear_attention(draft)
        for step in draft.steps:
            step.attention = None
    event = HistoryEvent.SAGA_COMPLETED if state is SagaState.COMPLETED else HistoryEvent.SAGA_COMPENSATED
    draft.add_history(event, from_state=before, to_state=saga.state)


def abandon(draft: SagaDraft, left: list[dict[str, Any]], *, actor: str, reason: str) -> None:
    """Abandon the saga and store the effects that it leaves behind. No step may hold a lease any more."""
    saga = draft.saga
    before = saga.state
    holds.clear_hold(draft, None, actor=actor, reason=reason)
    for step in draft.steps:
        holds.clear_hold(draft, step, actor=actor, reason=reason)
        holds.set_attention(draft, step, None)
        step.due_at = None
    saga.abandon()
    saga.effects_left = left
    _end(draft)
    if saga.attention:
        _clear_attention(draft)
    draft.add_history(
        HistoryEvent.SAGA_ABANDONED,
        from_state=before,
        to_state=saga.state,
        actor=actor,
        reason=reason,
        data={"left": left},
    )


def reopen(draft: SagaDraft) -> None:
    """Reopen a compensated saga, so that it compensates further."""
    draft.saga.reopen()
    draft.saga.closed_at = None
    closed_hooks.cancel_call(draft)
    draft.add_history(HistoryEvent.SAGA_REOPENED, from_state="compensated", to_state=draft.saga.state)


def request_abort(draft: SagaDraft, request: AbortRequest, *, actor: str | None = None, reason: str = "") -> None:
    """Store an abort request; it is granted or dropped when the saga is settled."""
    saga = draft.saga
    shown = get_settings().redactor.redact_text(reason)[:MAX_ABORT_REASON_CHARS]
    saga.abort_request, saga.abort_actor, saga.abort_reason = request.value, actor or "", shown
    draft.bump_revision()
    draft.add_history(HistoryEvent.ABORT_REQUESTED, to_state=request.value, actor=actor, reason=reason)


def drop_abort(draft: SagaDraft) -> None:
    """Drop an abort request that came too late, because the pivot has succeeded."""
    saga = draft.saga
    if saga.abort_request == AbortRequest.DEADLINE:
        holds.raise_attention(draft, Attention.OVERDUE)
    draft.bump_revision()
    draft.add_history(
        HistoryEvent.ABORT_DROPPED, from_state=saga.abort_request or "", reason="Too late: the pivot has succeeded."
    )
    saga.abort_request = None


def _end(draft: SagaDraft) -> None:
    saga = draft.saga
    saga.closed_at, saga.due_at, saga.abort_request = draft.now, None, None
    saga.owed, saga.owed_due_at = [], None
    saga.queue, saga.other_queues = "", []
    closed_hooks.request_call(draft)
    draft.bump_revision()


def _clear_attention(draft: SagaDraft) -> None:
    saga = draft.saga
    draft.add_history(HistoryEvent.ATTENTION_CLEARED, reason="The saga is over.", data={"attention": saga.attention})
    saga.attention = []
