"""Decide how often and how soon a step is tried again. Pure: no Django import."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .exceptions import DefinitionError


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Hold the budget and the delays of one direction of one step.

    Units: every duration in seconds.
    """

    attempts: int = 5
    """How many attempts count against the budget."""
    base: float = 0.5
    """The delay before the second attempt, before jitter."""
    factor: float = 2.0
    """What each further delay is multiplied by."""
    cap: float = 30.0
    """The longest delay within the budget."""
    max_elapsed: float | None = None
    """How long after the first attempt the budget ends, whatever was used of it; None: never."""
    after_budget: float | None = None
    """The delay once the budget is spent and attempts must go on; None: the cap for actions, an hour for
    compensations."""

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise DefinitionError(f"RetryPolicy.attempts is {self.attempts}; it must be at least 1.")
        if self.base < 0 or self.cap < 0 or self.factor < 1:
            raise DefinitionError("RetryPolicy needs base >= 0, cap >= 0 and factor >= 1.")
        if self.max_elapsed is not None and self.max_elapsed <= 0:
            raise DefinitionError("RetryPolicy.max_elapsed must be positive, or None for no limit.")

    def is_spent(self, *, used: int, elapsed_seconds: float) -> bool:
        """Tell whether no further attempt is covered by the budget."""
        return used >= self.attempts or self.has_elapsed(elapsed_seconds)

    def has_elapsed(self, elapsed_seconds: float) -> bool:
        """Tell whether the time of the budget is over."""
        return self.max_elapsed is not None and elapsed_seconds >= self.max_elapsed

    def delay_seconds(self, *, used: int, after: float | None = None, rng: random.Random | None = None) -> float:
        """Return the delay after the ``used``-th attempt: between half and all of the exponential step.

        An explicit ``after`` raises the delay and never lowers it.
        """
        exponent = min(max(used - 1, 0), 60)
        try:
            full = min(self.cap, self.base * self.factor**exponent)
        except OverflowError:
            full = self.cap
        drawn = (rng or random).uniform(full / 2, full)
        return max(drawn, after or 0.0)

    def delay_after_budget_seconds(self, *, after: float | None = None) -> float:
        """Return the delay between attempts that go on although the budget is spent."""
        return max(self.cap if self.after_budget is None else self.after_budget, after or 0.0)
