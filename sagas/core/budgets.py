"""Budgets of steps: whether an attempt spent it, when the next one is due, and whether a compensation must verify.

Pure: no Django import.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from .outcomes import MAX_DELAY_SECONDS, Report
from .retry import RetryPolicy
from .states import Outcome

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Budget of one direction of a step at the end of an attempt."""

    policy: RetryPolicy
    """The limits of the budget, and the delays."""
    used: int
    """Counted attempts since the budget was renewed."""
    made: int
    """All attempts in this direction."""
    started_at: datetime | None
    """When the first attempt since the renewal began."""
    now: datetime
    """The moment of the decision."""
    facts: Mapping[str, str]
    """Fields of log lines about the step."""

    def ask(self, question: Callable[[RetryPolicy], Answer]) -> Answer:
        """Return the policy's answer, or the default policy's if a project's own policy raises."""
        try:
            return question(self.policy)
        except Exception:
            if type(self.policy) is RetryPolicy:
                raise
            facts = {**self.facts, "policy": type(self.policy).__qualname__}
            logger.exception("Retry policy failed; the default policy is used instead.", extra=facts)
            return question(RetryPolicy())


def is_spent(budget: Budget, report: Report) -> bool:
    """Return whether the budget covers no attempt after the one that ended now. A poll costs only time."""
    elapsed = (budget.now - budget.started_at).total_seconds() if budget.started_at else 0.0
    if report.outcome is Outcome.IN_PROGRESS:
        return budget.ask(lambda policy: policy.has_elapsed(elapsed))
    return budget.ask(lambda policy: report.is_counted and policy.is_spent(used=budget.used, elapsed_seconds=elapsed))


def compute_delay(
    budget: Budget, report: Report, *, is_spent: bool, poll_after: timedelta, verify_after: timedelta | None
) -> timedelta:
    """Return how long the step waits before its next attempt."""
    # An attempt that is not counted lengthens the next delay all the same.
    used, after = max(1, budget.used if report.is_counted else budget.made), report.after_seconds
    if report.outcome is Outcome.IN_PROGRESS:
        return timedelta(seconds=after) if after is not None else poll_after
    if report.outcome is Outcome.SUCCEEDED and verify_after is not None:
        return verify_after
    seconds = budget.ask(
        lambda policy: (
            policy.delay_after_budget_seconds(after=after) if is_spent else policy.delay_seconds(used=used, after=after)
        )
    )
    return timedelta(seconds=min(float(seconds), MAX_DELAY_SECONDS))


def must_verify(started_at: datetime, *, effect_seen_at: Sequence[datetime], has_looked: bool) -> bool:
    """Return whether a successful compensation must run once more, for a step with ``verify_after``.

    One success undoes an effect that was known before it began; an unknown effect takes a second success.
    """
    return started_at < max(effect_seen_at) if effect_seen_at else not has_looked
