"""Late answers: a definite answer of an attempt that lost its lease settles that attempt (rule S4).

``_react_to_action`` and ``_react_to_compensation`` decide what else changes, if anything: a step may still succeed, a
closed saga may reopen, or only the attempt's row changes.

Tx: inside the transaction that holds the draft.
"""

import logging

from ..core.history_events import HistoryEvent
from ..core.outcomes import Report
from ..core.states import FORWARD_STATES, UNDOABLE_EFFECTS, Direction, Kind, Outcome, SagaState, StepState
from ..models import SagaAttempt, SagaStep
from . import claim, effects_left, step_transitions
from .claim import ClaimResult
from .execute import ClaimedStep
from .store.draft import SagaDraft

logger = logging.getLogger(__name__)

INDEFINITE = (Outcome.UNKNOWN, Outcome.IN_PROGRESS)


def keep(draft: SagaDraft, claimed: ClaimedStep, report: Report) -> ClaimResult:
    """Settle the attempt of a stale token and let the saga react, without claiming for this worker.

    Returns: the queues to wake.
    """
    attempt = draft.find_attempt(claimed.token)
    facts = {"saga_id": str(claimed.saga_id), "step": claimed.step.name, "outcome": report.outcome.value}
    if attempt is None or report.outcome in INDEFINITE or attempt.outcome not in (None, Outcome.UNKNOWN):
        return ClaimResult()
    logger.warning("Late answer recorded: the attempt had lost its lease.", extra=facts)
    step = draft.step(claimed.step.name)
    draft.close_attempt(step, claimed.token, report, claimed.direction)
    draft.bump_revision()  # forms opened before this answer become stale
    draft.add_history(
        HistoryEvent.LATE_ANSWER,
        step=step,
        data={"attempt": attempt.number, "direction": claimed.direction.value, **facts},
    )
    if claimed.direction is Direction.ACTION:
        _react_to_action(draft, step, report)
    else:
        _react_to_compensation(draft, step, attempt, report)
    return claim.claim_next(draft, queues=None, worker="", may_claim=False)


def _react_to_action(draft: SagaDraft, step: SagaStep, report: Report) -> None:
    state = SagaState(draft.saga.state)
    has_effect = report.effect in UNDOABLE_EFFECTS
    if state in FORWARD_STATES:
        is_open = step.state in (StepState.WAITING, StepState.UNKNOWN)
        if is_open and report.outcome in (Outcome.SUCCEEDED, Outcome.REFUSED):
            step_transitions.settle_action(draft, step, report)
    elif not has_effect:
        return
    elif state is SagaState.ABANDONED:
        others = [effect for effect in draft.saga.effects_left or [] if effect["step"] != step.name]
        found = effects_left.describe(draft, step, report.effect)
        draft.saga.effects_left = [*others, {**found, "result": report.result, "late": True}]
    elif state is SagaState.COMPENSATED or (
        state is SagaState.COMPENSATING and (step.state == StepState.COMPENSATED or step.kind == Kind.PIVOT)
    ):
        step_transitions.reopen(draft, step)
    elif step.state == StepState.COMPENSATING:
        # A provider may have stored "nothing to undo" under the present key, so the next attempt uses another one.
        step.epoch += 1


def _react_to_compensation(draft: SagaDraft, step: SagaStep, attempt: SagaAttempt, report: Report) -> None:
    is_open = step.state == StepState.COMPENSATING and not step.is_live and attempt.epoch == step.epoch
    if is_open and report.outcome is Outcome.SUCCEEDED:
        step_transitions.settle_compensation(draft, step, report, token=attempt.lease_token)
