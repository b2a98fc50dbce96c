"""F1 where only the engine stands between a crash and a second effect: participants that guard nothing themselves."""

from collections.abc import Callable

from sagas import SagaDefinition

from .bare_paths import WAYS
from .databases import each_on
from .enumeration import freeze_everywhere, kill_everywhere, map_points, slice_of

Check = Callable[..., None]


@each_on("way", one=["forward"], four=["forward"], full=list(WAYS))
def test_a_dead_worker_doubles_nothing(databases: int, bare_saga: type[SagaDefinition], way: str, check: Check) -> None:
    path = WAYS[way](bare_saga)
    points = map_points(path)
    check(path, "killed", kill_everywhere(path, points, slice_of(points)))


@each_on("way", one=["forward"], four=["cancelled"], full=list(WAYS))
def test_a_late_worker_doubles_nothing(databases: int, bare_saga: type[SagaDefinition], way: str, check: Check) -> None:
    path = WAYS[way](bare_saga)
    points = map_points(path)
    check(path, "frozen and late", freeze_everywhere(path, points, slice_of(points)))


@each_on("way", one=["cancelled"], full=["cancelled"])
def test_a_late_call_at_a_provider_that_cannot_close_keys_is_undone(
    databases: int, bare_saga: type[SagaDefinition], open_keys: None, way: str, check: Check
) -> None:
    path = WAYS[way](bare_saga)
    points = map_points(path)
    check(path, "late, keys left open", freeze_everywhere(path, points, slice_of(points)))
