"""Tests that start whole shops stay together in a run of several processes, and all others are shared one by one."""

import pytest

from tests.lanes import lane_of


@pytest.mark.parametrize(
    ("nodeid", "lane"),
    [
        ("tests/chaos/test_two_versions.py::test_it", "chaos"),
        ("tests/chaos/test_checkout_chaos.py::test_nothing_is_lost_in_chaos", "checkout chaos"),
        ("tests/end_to_end/test_checkouts.py::test_it[one-a::b/c]", "end to end"),
        ("tests/packaging/test_wheel.py::TestIt::test_it", "packaging"),
    ],
)
def test_what_starts_shops_is_in_a_lane(nodeid: str, lane: str) -> None:
    assert lane_of(nodeid) == lane


@pytest.mark.parametrize(
    "nodeid",
    [
        "tests/chaos/test_query_plans.py::test_a_whole_read_would_be_seen",
        "tests/unit/test_lanes.py::test_it[tests/chaos/test_checkout_chaos.py]",
        "chaos/test_checkout_chaos.py::test_it",
    ],
)
def test_everything_else_is_a_scope_of_its_own(nodeid: str) -> None:
    assert lane_of(nodeid) == nodeid
