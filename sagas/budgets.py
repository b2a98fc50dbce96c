"""Say whether an attempt spent its budget, when the next one is due, and whether a compensation must look again.

Nothing is changed here.

Tx: inside the transaction that holds the journal.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from .conf import get_settings
from .definition import Step
from .journal import Journal
from .models import SagaStep
from .outcomes import Report
from .states import Direction, Outcome


def is_budget_spent(journal: Journal, step: SagaStep, direction: Direction, report: Report) -> bool:
    """Tell whether the attempt that ended now was the last one that the budget covers. A poll costs only time."""
    if journal.definition is None:
        return False
    policy = get_settings().policy(declared_step(journal, step), direction)
    elapsed = (journal.now - step.budget_started_at).total_seconds() if step.budget_started_at else 0.0
    if report.outcome is Outcome.IN_PROGRESS:
        return policy.has_elapsed(elapsed)
    return report.is_counted and policy.is_spent(used=step.budget_used, elapsed_seconds=elapsed)


def next_due(journal: Journal, step: SagaStep, direction: Direction, report: Report, *, is_spent: bool) -> datetime:
    """Return when the step is asked again."""
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
