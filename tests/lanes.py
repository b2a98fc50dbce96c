"""Share the tests of a run among its processes, and keep those together that start whole shops.

pytest-xdist would know groups by marks, but loses them with pytest 9.2: its suffix no longer gets into a test's id.
"""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadScopeScheduling

# Their tests start shops, or environments, which those of one process share; and they wait most of the time. So each of
# these directories is the business of one process, beside others that keep the processors busy.
LANES = frozenset({"acceptance", "chaos", "foreign", "packaging"})
# What waits for nothing and shares nothing.
BESIDE_LANES = ("tests/chaos/test_query_plans.py", "tests/acceptance/test_books.py")


class LaneScheduling(LoadScopeScheduling):
    """Give each test to the next process that is free, and a whole lane, the longest first, to one of them."""

    def _split_scope(self, nodeid: str) -> str:
        return lane_of(nodeid)


def lane_of(nodeid: str) -> str:
    """Return the lane of a test, or the test itself where it is in none."""
    parts = nodeid.partition("::")[0].split("/")
    is_in_lane = len(parts) > 2 and parts[1] in LANES and not nodeid.startswith(BESIDE_LANES)
    return parts[1] if is_in_lane else nodeid


def make_scheduler(config: Any, log: Any) -> LaneScheduling | None:
    """Return the scheduler of ``--dist loadgroup``, and None for any other."""
    return LaneScheduling(config, log) if config.getvalue("dist") == "loadgroup" else None
