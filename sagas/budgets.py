"""Say whether an attempt spent its budget, when the next one is due, and whether a compensation must look again.

Nothing is changed here.

Tx: inside the transaction that holds the journal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from .conf import get_settings
from .journal import Journal
from .models import SagaStep
from .outcomes import MAX_DELAY_SECONDS, Report
from .retry import RetryPolicy
from .states import Direction, Outcome
from .steps import Step

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


def is_budget_spent(journal: Journal, step: SagaStep, direction: Direction, report: Report) -> bool:
    """Tell whether the attempt that ended now was the last one that the budget covers. A poll costs only time."""
    if journal.definition is None:
        return False
    elapsed = (journal.now - step.budget_started_at).total_seconds() if step.budget_started_at else 0.0

    def ask(policy: RetryPolicy) -> bool:
        if report.outcome is Outcome.IN_PROGRESS:
            return policy.has_elapsed(elapsed)
        return report.is_counted and policy.is_spent(used=step.budget_used, elapsed_seconds=elapsed)

    return _ask_policy(journal, step, direction, ask)


def next_due(journal: Journal, step: SagaStep, direction: Direction, report: Report, *, is_spent: bool) -> datetime:
    """Return when the step is asked again: at once if somebody woke it while it was asked."""
    if step.is_woken and report.outcome is not Outcome.SUCCEEDED:  # a second look at a success is not hurried
        return journal.now
    settings = get_settings()
    declared = declared_step(journal, step)
    made = step.action_attempts if direction is Direction.ACTION else step.compensation_attempts
    # An attempt that burns no budget makes the next one wait longer all the same.
    used = max(1, step.budget_used if report.is_counted else made)
    after = report.after_seconds

    def ask(policy: RetryPolicy) -> float:
        return (
            policy.delay_after_budget_seconds(after=after) if is_spent else policy.delay_seconds(used=used, after=after)
        )

    if report.outcome is Outcome.IN_PROGRESS:
        delay = report.after_seconds if report.after_seconds is not None else settings.poll_after.total_seconds()
    elif report.outcome is Outcome.SUCCEEDED and declared.verify_after is not None:
        delay = declared.verify_after.total_seconds()
    else:
        delay = min(float(_ask_policy(journal, step, direction, ask)), MAX_DELAY_SECONDS)
    return journal.now + timedelta(seconds=delay)


def _ask_policy(journal: Journal, step: SagaStep, direction: Direction, ask: Callable[[RetryPolicy], Answer]) -> Answer:
    """Return what a policy answers; one of the project's own that raises keeps no attempt from being recorded."""
    policy = get_settings().policy(declared_step(journal, step), direction)
    try:
        return ask(policy)
    except Exception:
        if type(policy) is RetryPolicy:
            raise
        facts = {"saga_id": str(journal.saga.pk), "step": step.name, "policy": type(policy).__qualname__}
        logger.exception("Retry policy failed; the default one is asked instead.", extra=facts)
        return ask(RetryPolicy())


def must_verify(journal: Journal, step: SagaStep, token: UUID) -> bool:
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


def declared_step(journal: Journal, step: SagaStep) -> Step:
    """Return the declaration of a step row.

    Raises: ValueError when the code has no definition for the saga; callers check that first.
    """
    if journal.definition is None:
        raise ValueError(f"Saga {journal.saga.pk} has no definition in the code.")
    return journal.definition.step(step.name)
