"""Judge whether an attempt spent its budget, when the next one is due, and whether a compensation must look again.

Pure: no Django import.
"""

from __future__ import annotations

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
    """What one direction of a step has spent, now that an attempt has ended."""

    policy: RetryPolicy
    """How much there is, and the delays."""
    used: int
    """Attempts that counted since the budget was fresh."""
    made: int
    """All attempts in this direction."""
    started_at: datetime | None
    """When the first attempt since then began."""
    now: datetime
    """The moment of the decision."""
    facts: Mapping[str, str]
    """What log lines say of the step."""

    def ask(self, question: Callable[[RetryPolicy], Answer]) -> Answer:
        """Return what the policy answers; one of the project's own that raises keeps no attempt from being recorded."""
        try:
            return question(self.policy)
        except Exception:
            if type(self.policy) is RetryPolicy:
                raise
            facts = {**self.facts, "policy": type(self.policy).__qualname__}
            logger.exception("Retry policy failed; the default one is asked instead.", extra=facts)
            return question(RetryPolicy())


def is_spent(budget: Budget, report: Report) -> bool:
    """Return whether the attempt that ended now was the last one that the budget covers. A poll costs only time."""
    elapsed = (budget.now - budget.started_at).total_seconds() if budget.started_at else 0.0
    if report.outcome is Outcome.IN_PROGRESS:
        return budget.ask(lambda policy: policy.has_elapsed(elapsed))
    return budget.ask(lambda policy: report.is_counted and policy.is_spent(used=budget.used, elapsed_seconds=elapsed))


def compute_delay(
    budget: Budget, report: Report, *, is_spent: bool, poll_after: timedelta, verify_after: timedelta | None
) -> timedelta:
    """Return how long the step waits before it is asked again."""
    # An attempt that burns no budget makes the next one wait longer all the same.
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
    """Return whether a compensation that succeeded must run once more, for an adapter that asks for a second look.

    An effect that was known before it began is undone by one success; one that nobody has seen takes two looks.
    """
    return started_at < max(effect_seen_at) if effect_seen_at else not has_looked
