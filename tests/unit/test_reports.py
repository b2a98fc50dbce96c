"""Judge of alternating rounds: slowdowns are detected, one disturbed round is ignored."""

import pytest

from tests.chaos.report import find_middle_p99, is_slower

CALM = [[0.020] * 99 + [0.040]] * 5
ALLOWED = {"ratio": 1.2, "slack_seconds": 0.010}


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        (CALM, False),
        ([[0.033] * 100] * 5, False),
        ([[0.035] * 100] * 5, True),
        # Every second request is slower, or a few of each hundred.
        ([[0.020, 0.100] * 50] * 5, True),
        ([[0.020] * 98 + [0.100] * 2] * 5, True),
        # One round was disturbed.
        ([[1.0] * 100, *CALM[1:]], False),
        ([[1.0] * 100] * 3 + CALM[:2], True),
    ],
)
def test_rounds_are_judged_by_their_median(beside: list[list[float]], expected: bool) -> None:
    assert is_slower(CALM, beside, **ALLOWED) is expected


def test_median_is_taken_over_rounds_not_requests() -> None:
    assert find_middle_p99([[0.010], [0.020] * 1_000, [0.030]]) == 0.020
