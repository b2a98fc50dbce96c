"""F1: the process is killed before and after every statement and commit of every operation."""

from collections.abc import Callable

from sagas import SagaDefinition
from sagas.operators.operations import Operation
from tests.depth import IS_FULL
from tests.end_to_end.blueprints import FOUR_DATABASES, ONE_DATABASE

from . import operators
from .databases import each_on, on
from .enumeration import Path, kill_everywhere, map_points, share_of, slice_of
from .points import find_participants
from .shop import Shopper

Check = Callable[..., None]
ALL_PATHS = (*operators.PATHS, *operators.SECOND_PATHS, *operators.FURTHER_PATHS)


def test_every_operation_is_enumerated_in_more_than_one_state() -> None:
    names = [f"operator: {operation.value}" for operation in Operation]
    assert [path.name for path in operators.PATHS] == names
    assert [path.name.partition(",")[0] for path in operators.SECOND_PATHS] == names
    assert len({path.name for path in ALL_PATHS}) == len(ALL_PATHS) > 2 * len(names)


@each_on("path", one=operators.PATHS, full=ALL_PATHS)
def test_killed_operation_is_atomic(databases: int, path: Path[operators.Case], check: Check) -> None:
    points = map_points(path)
    check(path, "killed", kill_everywhere(path, points, share_of(path, slice_of(points))))


@on(ONE_DATABASE)
def test_killed_compensation_of_a_group_is_atomic(
    databases: int, bare_saga: type[SagaDefinition], check: Check
) -> None:
    path = operators.make_group_path(bare_saga)
    points = map_points(path)
    check(path, "killed", kill_everywhere(path, points, share_of(path, slice_of(points))))


@each_on("path", one=[operators.CANCEL_REQUEST], full=[operators.CANCEL_REQUEST])
def test_killed_cancel_request_is_repeated(databases: int, path: Path[Shopper], check: Check) -> None:
    points = map_points(path)
    check(path, "killed", kill_everywhere(path, points, share_of(path, slice_of(points))))


@on(FOUR_DATABASES)
def test_operation_touches_no_database_of_a_participant(databases: int) -> None:
    """Check this so that one run covers participants with and without separate databases."""
    paths = (*(ALL_PATHS if IS_FULL else operators.PATHS), operators.CANCEL_REQUEST)
    assert {path.name: find_participants(map_points(path)) for path in paths} == {path.name: [] for path in paths}
