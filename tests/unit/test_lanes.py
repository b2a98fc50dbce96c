"""Lanes of a parallel run: tests that start shops share a process, all others run anywhere."""

from types import SimpleNamespace
from typing import Any

import pytest

from config.local.runtime import ROOT
from tests.lanes import FIRST, begin_with_longest, lane_of


@pytest.mark.parametrize(
    ("nodeid", "lane"),
    [
        ("tests/chaos/test_two_versions.py::test_it", "chaos"),
        ("tests/chaos/test_checkout_chaos.py::test_nothing_is_lost_in_chaos", "checkout chaos"),
        ("tests/end_to_end/test_checkouts.py::test_it[one-a::b/c]", "end to end"),
        ("tests/packaging/test_wheel.py::TestIt::test_it", "packaging"),
    ],
)
def test_tests_that_start_shops_are_in_a_lane(nodeid: str, lane: str) -> None:
    assert lane_of(nodeid) == lane


@pytest.mark.parametrize(
    "nodeid",
    [
        "tests/chaos/test_query_plans.py::test_full_scan_would_be_detected",
        "tests/unit/test_lanes.py::test_it[tests/chaos/test_checkout_chaos.py]",
        "chaos/test_checkout_chaos.py::test_it",
    ],
)
def test_every_other_test_is_its_own_scope(nodeid: str) -> None:
    assert lane_of(nodeid) == nodeid


def test_longest_test_begins_first_and_the_others_keep_their_order() -> None:
    items: list[Any] = [SimpleNamespace(nodeid=f"{path}::test_it") for path in ("tests/b.py", "tests/a.py", FIRST)]

    begin_with_longest(items)

    assert [item.nodeid.partition("::")[0] for item in items] == [FIRST, "tests/b.py", "tests/a.py"]
    assert (ROOT / FIRST).is_file()
