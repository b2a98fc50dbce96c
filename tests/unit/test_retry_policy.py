"""Retry policy: delays and budgets (S1.1, S1.2)."""

import math
import random
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from sagas import DefinitionError, RetryLater, RetryPolicy
from sagas.exceptions import as_seconds


class Least(random.Random):
    def uniform(self, low: float, _high: float) -> float:
        return low


class Most(random.Random):
    def uniform(self, _low: float, high: float) -> float:
        return high


@pytest.mark.parametrize(
    ("used", "least", "most"),
    [
        (1, 0.25, 0.5),
        (2, 0.5, 1.0),
        (3, 1.0, 2.0),
        (6, 8.0, 16.0),
        (7, 15.0, 30.0),
        (8, 15.0, 30.0),
        (10_000, 15.0, 30.0),
    ],
)
def test_delay_is_between_half_and_all_of_the_exponential_step(used: int, least: float, most: float) -> None:
    policy = RetryPolicy()
    assert policy.delay_seconds(used=used, rng=Least()) == least
    assert policy.delay_seconds(used=used, rng=Most()) == most
    drawn = [policy.delay_seconds(used=used, rng=random.Random(seed)) for seed in range(50)]
    assert least <= min(drawn) < max(drawn) <= most


@pytest.mark.parametrize(
    ("after", "expected"), [(None, 0.5), (0.0, 0.5), (0.2, 0.5), (0.5, 0.5), (0.6, 0.6), (90.0, 90.0)]
)
def test_explicit_delay_never_shortens_the_delay(after: float | None, expected: float) -> None:
    assert RetryPolicy().delay_seconds(used=1, after=after, rng=Most()) == expected


def test_delays_may_be_zero() -> None:
    policy = RetryPolicy(base=0, cap=0)
    assert policy.delay_seconds(used=3) == 0.0
    assert policy.delay_after_budget_seconds() == 0.0


def test_steep_policy_is_capped() -> None:
    assert RetryPolicy(base=1, factor=1e9, cap=60).delay_seconds(used=1_000, rng=Most()) == 60


@pytest.mark.parametrize(("used", "spent"), [(0, False), (4, False), (5, True), (6, True)])
def test_budget_of_attempts(used: int, spent: bool) -> None:
    assert RetryPolicy(attempts=5).is_spent(used=used, elapsed_seconds=1e9) is spent


@pytest.mark.parametrize(("elapsed", "spent"), [(0.0, False), (59.9, False), (60.0, True), (61.0, True)])
def test_budget_of_time(elapsed: float, spent: bool) -> None:
    policy = RetryPolicy(max_elapsed=60)
    assert policy.has_elapsed(elapsed) is spent
    assert policy.is_spent(used=1, elapsed_seconds=elapsed) is spent


@pytest.mark.parametrize(
    ("policy", "after", "expected"),
    [
        (RetryPolicy(cap=30), None, 30),
        (RetryPolicy(cap=30), 40, 40),
        (RetryPolicy(cap=30, after_budget=3600), None, 3600),
        (RetryPolicy(cap=30, after_budget=3600), 40, 3600),
        (RetryPolicy(cap=30, after_budget=3600), 7200, 7200),
    ],
)
def test_delay_after_the_budget(policy: RetryPolicy, after: float | None, expected: float) -> None:
    assert policy.delay_after_budget_seconds(after=after) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        {"attempts": 0}, {"attempts": -1}, {"base": -0.1}, {"cap": -1}, {"factor": 0.9}, {"max_elapsed": 0},
        {"max_elapsed": -5}, {"after_budget": -1}, {"attempts": 2.0}, {"attempts": True}, {"attempts": "3"},
        {"attempts": 1_000_001}, {"max_elapsed": True}, {"factor": math.inf}, {"base": timedelta(seconds=1)},
        {"base": 10**400}, {"base": None}, {"cap": 366 * 86_400 + 1},
        *({name: value} for name in ("base", "cap", "factor", "max_elapsed", "after_budget") for value in (
            math.nan, math.inf, -math.inf, "5", [1], True,
        )),
    ],
    ids=str,
)  # fmt: skip
def test_invalid_value_is_refused_by_name(arguments: dict[str, Any]) -> None:
    [name] = arguments
    with pytest.raises(DefinitionError, match=rf"^RetryPolicy\.{name} must be "):
        RetryPolicy(**arguments)


def test_longest_delay_is_a_year() -> None:
    year = 366 * 86_400
    policy = RetryPolicy(attempts=1_000_000, base=year, cap=year, max_elapsed=year, after_budget=year)
    assert policy.delay_seconds(used=999_999, rng=Most()) == year


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (3, 3),
        (2.5, 2.5),
        (Decimal("2.5"), 2.5),
        (timedelta(minutes=1, milliseconds=500), 60.5),
        (10**400, math.inf),
        ("soon", None),
        ([3], None),
    ],
)
def test_delay_is_seconds_or_a_timedelta(value: Any, expected: float | None) -> None:
    assert as_seconds(value) == expected
    assert RetryLater(after=value).after_seconds == expected
