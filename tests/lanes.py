"""Share the tests of a run among its processes, and keep those together that start whole shops.

pytest-xdist could group tests by mark, but loses the marks with pytest 9.2: its suffix no longer gets into a test's id.
"""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from .depth import IS_FULL

# Their tests start shops, or environments, which those of one process share; and they wait most of the time. So each of
# these places runs in one process, beside others that keep the processors busy. The longest name counts.
LANES = {
    "tests/end_to_end/": "end to end",
    "tests/end_to_end/test_demo.py": "demo",
    "tests/end_to_end/test_front_server.py": "front server",
    "tests/brokers/": "brokers",
    "tests/brokers/test_pgbouncer.py": "further projects",
    "tests/browser/test_unfold.py": "further projects",
    "tests/chaos/": "chaos",
    "tests/chaos/test_races.py": "races",
    "tests/chaos/test_checkout_chaos.py": "checkout chaos",
    "tests/packaging/": "packaging",
    # All settings of full runs are worth several environments.
    **({} if IS_FULL else {"tests/other_projects/test_settings.py": "other projects"}),
    # What waits for nothing and shares nothing.
    "tests/end_to_end/test_ledger_audit.py": "",
    "tests/chaos/test_query_plans.py": "",
}

# Of the tests in no lane the first collected begins first. This one takes a minute, and would end alone.
FIRST = "tests/other_projects/test_newest_pair.py"


class LaneScheduling(LoadScopeScheduling):
    """Give each test to the next process that is free, and a whole lane, the longest first, to one of them."""

    def _split_scope(self, nodeid: str) -> str:
        return lane_of(nodeid)


def lane_of(nodeid: str) -> str:
    """Return the lane of a test, or the test itself where it is in none."""
    places = [place for place in LANES if nodeid.startswith(place)]
    return LANES[max(places, key=len)] or nodeid if places else nodeid


def begin_with_longest(items: list[pytest.Item]) -> None:
    """Move what takes longest to the front."""
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))


def make_scheduler(config: Any, log: Any) -> LaneScheduling | None:
    """Return the scheduler of ``--dist loadgroup``, and None for any other."""
    return LaneScheduling(config, log) if config.getvalue("dist") == "loadgroup" else None
