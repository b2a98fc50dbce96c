"""Retry policies: how often and how soon a step is retried. Pure: no Django import."""

import random
from dataclasses import dataclass

from ..exceptions import DefinitionError

MAX_ATTEMPTS = 1_000_000  # far beyond any budget, and well within the column that counts them
MAX_SECONDS = 366 * 86_400  # a longer delay is a mistake, and must not overflow a date
MAX_FACTOR = 1e12  # a larger factor changes nothing: the delay ends at the cap


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Budget and delays of one direction of one step.

    The delay after attempt ``n`` is drawn between half and all of ``min(cap, base * factor ** (n - 1))``.
    Units: every duration in seconds, at most a year.
    """

    attempts: int = 5
    """The number of counted attempts, from 1. Polls of a step in progress do not count, nor do attempts that could not
    reach the participant's database."""
    base: float = 0.5
    """The delay before the second attempt in seconds, before jitter."""
    factor: float = 2.0
    """The factor of each further delay, from 1; 1 keeps every delay at ``base``."""
    cap: float = 30.0
    """The longest delay within the budget in seconds, before jitter."""
    max_elapsed: float | None = None
    """Seconds after the first attempt at which the budget ends, however many attempts were used; None: never. It is the
    only limit of a step in progress."""
    after_budget: float | None = None
    """Seconds between further attempts after the budget is spent; None: ``cap`` for actions, and for compensations the
    project's default (an hour)."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises: DefinitionError.
        """
        if type(self.attempts) is not int or not 1 <= self.attempts <= MAX_ATTEMPTS:
            raise DefinitionError(
                f"RetryPolicy.attempts must be a whole number from 1 to {MAX_ATTEMPTS}, not {self.attempts!r}."
            )
        _check_number("factor", self.factor, least=1, most=MAX_FACTOR)
        _check_number("base", self.base)
        _check_number("cap", self.cap)
        if self.max_elapsed is not None:
            _check_number("max_elapsed", self.max_elapsed)
            if self.max_elapsed == 0:
                raise DefinitionError("RetryPolicy.max_elapsed must be positive, or None for no limit.")
        if self.after_budget is not None:
            _check_number("after_budget", self.after_budget)

    def is_spent(self, *, used: int, elapsed_seconds: float) -> bool:
        """Return whether the budget covers no further attempt."""
        return used >= self.attempts or self.has_elapsed(elapsed_seconds)

    def has_elapsed(self, elapsed_seconds: float) -> bool:
        """Return whether the time of the budget is over."""
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
        """Return the delay between further attempts after the budget is spent."""
        return max(self.cap if self.after_budget is None else self.after_budget, after or 0.0)


def _check_number(name: str, value: object, *, least: float = 0, most: float = MAX_SECONDS) -> None:
    """Check a numeric field; its unit is seconds, except for ``factor``."""
    # A bool is an int in Python; NaN fails every comparison.
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        unit = "" if name == "factor" else " of seconds"
        raise DefinitionError(f"RetryPolicy.{name} must be a number{unit} from {least} to {most}, not {value!r}.")
