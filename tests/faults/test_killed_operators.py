"""F1: kill the process before and after every statement and commit of every operator action."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sagas.operations import Operation

from . import operators
from .enumeration import Path, kill_everywhere, map_points, slice_of

Check = Callable[..., None]


def test_every_action_is_enumerated() -> None:
    assert [path.name for path in operators.PATHS] == [f"operator: {operation.value}" for operation in Operation]


@pytest.mark.parametrize("path", operators.PATHS, ids=lambda path: path.name)
def test_an_action_that_dies_is_done_whole_or_not_at_all(
    databases: int, path: Path[operators.Case], check: Check
) -> None:
    points = map_points(path)
    check(path, "killed", kill_everywhere(path, points, slice_of(points, 0, 1)))


def test_a_cancel_request_that_dies_is_repeated(databases: int, check: Check) -> None:
    points = map_points(operators.CANCEL_REQUEST)
    check(
        operators.CANCEL_REQUEST,
        "killed",
        kill_everywhere(operators.CANCEL_REQUEST, points, slice_of(points, 0, 1)),
    )
