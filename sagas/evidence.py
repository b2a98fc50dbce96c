"""Keep the answer of an attempt whose lease was lost: evidence, never a move by itself (rule S4).

A stale success settles its own attempt row. What it means depends on where the step stands by now.

Tx: inside the transaction that holds the journal.
"""

from __future__ import annotations

import logging

from . import claims, effects_left, moves
from .claims import Next
from .journal import Journal, What
from .models import SagaAttempt, SagaStep
from .outcomes import Report
from .perform import Claimed
from .states import FORWARD_STATES, UNDOABLE_EFFECTS, Direction, Kind, Outcome, SagaState, StepState

logger = logging.getLogger(__name__)

INDEFINITE = (Outcome.UNKNOWN, Outcome.IN_PROGRESS)


def keep(journal: Journal, claimed: Claimed, report: Report) -> Next:
    """Settle the attempt of a stale token and let the saga react, without ever claiming for this worker.

    Returns: what to ring for.
    """
    attempt = journal.find_attempt(claimed.token)
    facts = {"saga_id": str(claimed.saga_id), "step": claimed.step.name, "outcome": report.outcome.value}
    logger.warning("Answer of a lost lease kept as evidence.", extra=facts)
    if attempt is None or report.outcome in INDEFINITE or attempt.outcome not in (None, Outcome.UNKNOWN):
        return Next()
    step = journal.step(claimed.step.name)
    journal.close_attempt(step, claimed.token, report, claimed.direction)
    journal.decide()  # a form that was drawn before this was known is stale
    journal.tell(
        What.LATE_ANSWER, step=step, data={"attempt": attempt.number, "direction": claimed.direction.value, **facts}
    )
    if claimed.direction is Direction.ACTION:
        _react_to_action(journal, step, report)
    else:
        _react_to_compensation(journal, step, attempt, report)
    return claims.claim_next(journal, queues=None, worker="", may_claim=False)


def _react_to_action(journal: Journal, step: SagaStep, report: Report) -> None:
    state = SagaState(journal.saga.state)
    has_effect = report.effect in UNDOABLE_EFFECTS
    if state in FORWARD_STATES:
        is_open = step.state in (StepState.WAITING, StepState.UNKNOWN)
        if is_open and report.outcome in (Outcome.SUCCEEDED, Outcome.REFUSED):
            moves.settle_action(journal, step, report)
    elif not has_effect:
        return
    elif state is SagaState.ABANDONED:
        others = [effect for effect in journal.saga.effects_left or [] if effect["step"] != step.name]
        found = effects_left.describe(journal, step, report.effect)
        journal.saga.effects_left = [*others, {**found, "result": report.result, "late": True}]
    elif state is SagaState.COMPENSATED or (
        state is SagaState.COMPENSATING and (step.state == StepState.COMPENSATED or step.kind == Kind.PIVOT)
    ):
        moves.reopen(journal, step)
    elif step.state == StepState.COMPENSATING:
        # A provider may have remembered "nothing to undo" under the present key; what runs next uses another one.
        step.epoch += 1


def _react_to_compensation(journal: Journal, step: SagaStep, attempt: SagaAttempt, report: Report) -> None:
    is_open = step.state == StepState.COMPENSATING and not step.is_live and attempt.epoch == step.epoch
    if is_open and report.outcome is Outcome.SUCCEEDED:
        moves.settle_compensation(journal, step, report, token=attempt.lease_token)
