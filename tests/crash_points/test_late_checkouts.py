"""F4 at every point: a worker freezes, others continue without it, and then it finishes its work.

Meanwhile its lease expires and the database ends its open transaction, as the idle time-out does.
"""

from collections.abc import Callable

import pytest

from tests.depth import IS_FULL

from . import checkouts
from .databases import each_on
from .enumeration import Path, freeze_everywhere, map_points, share_of, slice_of
from .shop import Shopper

# Long paths are split into parts that test processes can share.
PARTS = 3
Check = Callable[..., None]


@each_on("path", one=[checkouts.REQUEST], full=[checkouts.REQUEST])
def test_late_request_places_no_second_order(databases: int, path: Path[Shopper], check: Check) -> None:
    points = map_points(path)
    check(path, "frozen and late", freeze_everywhere(path, points, share_of(path, slice_of(points))))


if IS_FULL:

    @pytest.mark.parametrize("part", range(PARTS))
    @each_on("path", full=[checkouts.FORWARD, checkouts.BACKWARD, checkouts.FORWARD_THEN_CANCELLED])
    def test_late_worker_changes_nothing(databases: int, path: Path[Shopper], part: int, check: Check) -> None:
        points = map_points(path)
        check(path, "frozen and late", freeze_everywhere(path, points, slice_of(points, part, PARTS)))
