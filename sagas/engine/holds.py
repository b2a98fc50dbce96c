"""Holds and attention of sagas and steps: set and cleared, with a history row for each.

Tx: inside the transaction that holds the draft.
"""

from ..core.history_events import HistoryEvent
from ..core.states import Attention, Hold
from ..models import Saga, SagaStep
from .store.draft import SagaDraft

# Every other reason is one of a step.
SAGA_ATTENTION = frozenset(Attention) - {Attention.RETRIES_EXHAUSTED, Attention.COMPENSATION_FAILING}


def set_hold(
    draft: SagaDraft, step: SagaStep | None, hold: Hold, *, actor: str | None = None, reason: str = ""
) -> None:
    """Block claims of a step, or of the whole saga if ``step`` is None."""
    target: Saga | SagaStep = step if step is not None else draft.saga
    if target.hold == hold.value:
        return
    if step is not None:
        step.due_at = None
    draft.bump_revision()
    draft.add_history(
        HistoryEvent.HELD, step=step, from_state=target.hold or "", to_state=hold.value, actor=actor, reason=reason
    )
    target.hold = hold.value


def clear_hold(draft: SagaDraft, step: SagaStep | None, *, actor: str | None = None, reason: str = "") -> None:
    """End a hold, if there is one."""
    target: Saga | SagaStep = step if step is not None else draft.saga
    if target.hold is None:
        return
    draft.bump_revision()
    draft.add_history(HistoryEvent.HOLD_CLEARED, step=step, from_state=target.hold, actor=actor, reason=reason)
    target.hold = None


def clear_missing_definition(draft: SagaDraft) -> None:
    """End the hold of a saga whose definition is in the code again."""
    if draft.saga.hold == Hold.DEFINITION_MISSING and draft.definition is not None:
        clear_hold(draft, None, reason="The code has the definition again.")


def raise_attention(draft: SagaDraft, attention: Attention, *, reason: str = "") -> None:
    """Add an attention reason to the saga, if it is not there yet."""
    if attention.value in draft.saga.attention:
        return
    draft.saga.attention = sorted({*draft.saga.attention, attention.value})
    draft.add_history(HistoryEvent.ATTENTION_RAISED, to_state=attention.value, reason=reason)


def drop_attention(draft: SagaDraft, attention: Attention, *, reason: str = "") -> None:
    """Remove an attention reason from the saga, if it is there."""
    if attention.value not in draft.saga.attention:
        return
    draft.saga.attention = [one for one in draft.saga.attention if one != attention.value]
    draft.add_history(HistoryEvent.ATTENTION_CLEARED, from_state=attention.value, reason=reason)


def set_attention(draft: SagaDraft, step: SagaStep, attention: Attention | None) -> None:
    """Set or clear a step's attention; the saga's attention is the union of its own reasons and its steps'."""
    wanted = attention.value if attention else None
    if step.attention == wanted:
        return
    if wanted:
        draft.add_history(HistoryEvent.ATTENTION_RAISED, step=step, to_state=wanted)
    else:
        draft.add_history(HistoryEvent.ATTENTION_CLEARED, step=step, from_state=step.attention or "")
    step.attention = wanted
    own = {reason for reason in draft.saga.attention if reason in SAGA_ATTENTION}
    draft.saga.attention = sorted(own | {other.attention for other in draft.steps if other.attention})
