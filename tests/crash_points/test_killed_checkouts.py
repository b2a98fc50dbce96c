"""F1: the process is killed before and after every statement, commit and outside call of a checkout."""

from collections.abc import Callable

import pytest

from tests.depth import IS_FULL
from tests.end_to_end.blueprints import FOUR_DATABASES
from tests.servers import PARTICIPANTS

from . import checkouts
from .databases import BOTH, each_on, on
from .enumeration import Path, kill_everywhere, map_points, share_of, slice_of
from .points import find_participants, number_beside_participants
from .shop import Shopper

# Long paths are split into parts that test processes can share.
PARTS = 2 if IS_FULL else 1
WAYS = (checkouts.FORWARD, checkouts.BACKWARD)
ALL_WAYS = (*WAYS, checkouts.FORWARD_THEN_CANCELLED, checkouts.BACKWARD_THEN_CANCELLED)
COMMITS = tuple(f"{name}: COMMIT" for name in PARTICIPANTS)
Check = Callable[..., None]


@each_on("path", one=[checkouts.REQUEST], full=[checkouts.REQUEST])
def test_killed_request_is_repeated_and_places_one_order(databases: int, path: Path[Shopper], check: Check) -> None:
    points = map_points(path)
    check(path, "killed", kill_everywhere(path, points, share_of(path, slice_of(points))))


@pytest.mark.parametrize("part", range(PARTS))
# The way back begins with the claim of the pivot.
@each_on("path", one=WAYS, full=ALL_WAYS)
def test_checkout_with_a_killed_worker_ends_correctly(
    databases: int, path: Path[Shopper], part: int, check: Check
) -> None:
    points = map_points(path)
    check(path, "killed", kill_everywhere(path, points, share_of(path, slice_of(points, part, PARTS))))


@pytest.mark.parametrize("part", range(PARTS))
@on(FOUR_DATABASES)
def test_checkout_with_a_worker_killed_between_databases_ends_correctly(
    databases: int, part: int, check: Check
) -> None:
    """Kill every step forward wherever a separate database of its participant matters."""
    path, points = checkouts.FORWARD, map_points(checkouts.FORWARD)
    chosen = number_beside_participants(points)
    commits = [number for number, point in enumerate(points, start=1) if point in COMMITS]
    # Two local steps; three calls with two barrier writes, intent, ledger and answer each; before and after.
    assert len(commits) == 2 + (2 + 3) * 3
    assert {*commits, *(number + 1 for number in commits)} <= set(chosen)

    check(path, "killed beside a participant", kill_everywhere(path, points, share_of(path, chosen[part::PARTS])))


@each_on("path", one=checkouts.REFUSED, full=checkouts.ATTEMPTS)
def test_attempt_of_a_killed_worker_is_settled(databases: int, path: Path[Shopper], check: Check) -> None:
    points = map_points(path)
    check(path, "killed", kill_everywhere(path, points, share_of(path, slice_of(points))))


@on(FOUR_DATABASES)
def test_request_touches_no_database_of_a_participant(databases: int) -> None:
    """Check this so that one run covers participants with and without separate databases."""
    assert find_participants(map_points(checkouts.REQUEST)) == []


@on(*BOTH)
def test_every_kind_of_boundary_and_call_is_a_point(databases: int) -> None:
    """Check that every change of the way forward is a point of the enumeration."""
    points = map_points(checkouts.FORWARD)

    def count(what: str) -> int:
        return sum(point.endswith(f": {what}") for point in points)

    # One claim; a record for each of six steps; intent, ledger and answer of three calls; and, with databases of
    # their own, the participants' commits: two local steps, and two barrier writes for each of three calls.
    commits = 1 + 6 + 3 * 3 + (2 + 2 * 3 if databases > 1 else 0)
    assert count("COMMIT") == commits
    assert count("BEGIN") == commits
    assert (count("authorize"), count("capture"), count("book")) == (2, 2, 2)
    assert sum(": SAVEPOINT" in point for point in points) == 2
    assert points[-1] == "the end"
