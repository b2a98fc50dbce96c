"""F1 without protection by participants: only the engine prevents a duplicate effect after a crash."""

from collections.abc import Callable, Sequence
from typing import Any

from sagas import SagaDefinition
from tests.end_to_end.blueprints import ONE_DATABASE

from .bare_paths import WAYS
from .databases import each_on
from .enumeration import Path, freeze_everywhere, kill_everywhere, map_points, share_of, slice_of

Check = Callable[..., None]


def choose(path: Path[Any], points: tuple[str, ...], databases: int) -> Sequence[int]:
    """Return every point on one database, and a share of them on four, where little is different."""
    numbers = slice_of(points)
    return numbers if databases == ONE_DATABASE else share_of(path, numbers)


@each_on("way", one=["forward"], four=["forward"], full=list(WAYS))
def test_dead_worker_repeats_nothing(databases: int, bare_saga: type[SagaDefinition], way: str, check: Check) -> None:
    path = WAYS[way](bare_saga)
    points = map_points(path)
    check(path, "killed", kill_everywhere(path, points, choose(path, points, databases)))


@each_on("way", one=["forward"], four=["cancelled"], full=list(WAYS))
def test_late_worker_repeats_nothing(databases: int, bare_saga: type[SagaDefinition], way: str, check: Check) -> None:
    path = WAYS[way](bare_saga)
    points = map_points(path)
    check(path, "frozen and late", freeze_everywhere(path, points, share_of(path, slice_of(points))))


@each_on("way", one=["cancelled"], full=["cancelled"])
def test_late_call_to_a_provider_with_open_keys_is_undone(
    databases: int, bare_saga: type[SagaDefinition], open_keys: None, way: str, check: Check
) -> None:
    path = WAYS[way](bare_saga)
    points = map_points(path)
    check(path, "late, keys left open", freeze_everywhere(path, points, share_of(path, slice_of(points))))
