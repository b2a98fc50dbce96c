"""Hold a saga or a step, and ask a person to look; end both again, with a history row for each.

Tx: inside the transaction that holds the journal.
"""

from __future__ import annotations

from .journal import Journal, What
from .models import Saga, SagaStep
from .states import Attention, Hold

SAGA_ATTENTION = (Attention.LATE_EFFECT.value, Attention.OVERDUE.value)


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


def clear_missing_definition(journal: Journal) -> None:
    """End the hold of a saga whose definition the code has again."""
    if journal.saga.hold == Hold.DEFINITION_MISSING and journal.definition is not None:
        clear_hold(journal, None, reason="The code has the definition again.")


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
