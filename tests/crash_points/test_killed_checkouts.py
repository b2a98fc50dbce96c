"""F1: kill the process before and after every statement, commit and outside call of a checkout."""

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

# The long paths are taken in parts, so that test processes can share them.
PARTS = 2 if IS_FULL else 1
WAYS = (checkouts.FORWARD, checkouts.BACKWARD)
ALL_WAYS = (*WAYS, checkouts.FORWARD_THEN_CANCELLED, checkouts.BACKWARD_THEN_CANCELLED)
COMMITS = tuple(f"{name}: COMMIT" for name in PARTICIPANTS)
Check = Callable[..., None]


@each_on("path", one=[checkouts.REQUEST], full=[checkouts.REQUEST])
def test_a_request_that_dies_is_repeated_and_places_one_order(
    databases: int, path: Path[Shopper], check: Check
) -> None:
    points = map_points(path)
    check(path, "killed", kill_everywhere(path, points, share_of(path, slice_of(points))))


@pytest.mark.parametrize("part", range(PARTS))
# The way back begins with the claim of the pivot; on four databases the way forward is taken below.
@each_on("path", one=WAYS, four=[checkouts.BACKWARD], full=ALL_WAYS)
def test_a_checkout_whose_worker_dies_ends_as_it_should(
    databases: int, path: Path[Shopper], part: int, check: Check
) -> None:
    points = map_points(path)
    check(path, "killed", kill_everywhere(path, points, share_of(path, slice_of(points, part, PARTS))))


@pytest.mark.parametrize("part", range(PARTS))
@on(FOUR_DATABASES)
def test_a_checkout_whose_worker_dies_between_two_databases_ends_as_it_should(
    databases: int, part: int, check: Check
) -> None:
    """Every step forward, wherever it matters that its participant has a database of its own."""
    path, points = checkouts.FORWARD, map_points(checkouts.FORWARD)
    chosen = number_beside_participants(points)
    commits = [number for number, point in enumerate(points, start=1) if point in COMMITS]
    # Two local steps; for each of three calls two barrier writes, intent, ledger and answer. A death before and after.
    assert len(commits) == 2 + (2 + 3) * 3
    assert {*commits, *(number + 1 for number in commits)} <= set(chosen)

    check(path, "killed beside a participant", kill_everywhere(path, points, share_of(path, chosen[part::PARTS])))


@each_on("path", one=checkouts.REFUSED, full=checkouts.ATTEMPTS)
def test_an_attempt_whose_worker_dies_is_settled(databases: int, path: Path[Shopper], check: Check) -> None:
    points = map_points(path)
    check(path, "killed", kill_everywhere(path, points, share_of(path, slice_of(points))))


@on(FOUR_DATABASES)
def test_a_request_touches_no_database_of_a_participant(databases: int) -> None:
    """So one that dies leaves the same whether participants have databases of their own or not."""
    assert find_participants(map_points(checkouts.REQUEST)) == []


@on(*BOTH)
def test_every_kind_of_boundary_and_call_is_a_point(databases: int) -> None:
    """Nothing that changes the world escapes the enumeration: what must be seen on the way forward, is."""
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
