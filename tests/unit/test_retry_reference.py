"""docs/reference/retry-policy.md: fields, defaults and delays match the code."""

import random
import re
from dataclasses import fields
from typing import Any

import pytest

from config.local.runtime import ROOT
from sagas import RetryPolicy
from sagas.conf import SagaSettings

PAGE = (ROOT / "docs" / "reference" / "retry-policy.md").read_text()


class Ends(random.Random):
    """Random source that returns one of the two ends."""

    def __init__(self, *, most: bool) -> None:
        super().__init__()
        self.most = most

    def uniform(self, low: float, high: float) -> float:
        return high if self.most else low


def test_every_field_is_documented_with_its_default() -> None:
    told = re.findall(r"^\| `([a-z_]+)` \| .*? \| (\S+) \|", PAGE, re.MULTILINE)
    assert dict(told) == {field.name: str(field.default) for field in fields(RetryPolicy)}


@pytest.mark.parametrize("attempt", [1, 2, 3, 4])
def test_table_of_delays_matches_the_code(attempt: int) -> None:
    [(least, most)] = re.findall(rf"^\| {attempt} \| ([\d.]+) s \| ([\d.]+) s \|$", PAGE, re.MULTILINE)
    drawn = [RetryPolicy().delay_seconds(used=attempt, rng=Ends(most=is_most)) for is_most in (False, True)]
    assert drawn == [float(least), float(most)]


def test_documented_delay_after_the_budget_is_correct() -> None:
    told: Any = re.search(r"^\| 5 \(budget spent\) \| (\d+) s \| (\d+) s \|$", PAGE, re.MULTILINE)
    assert RetryPolicy().delay_after_budget_seconds() == float(told[1]) == float(told[2])
    assert SagaSettings().compensation_retry == RetryPolicy(attempts=10, after_budget=3600.0)
