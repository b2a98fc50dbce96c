"""F1: sweeps, heartbeats and cleanups are killed before and after every statement, commit and archive write."""

from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

import pytest

from sagas.retention.archive import Archive
from tests.depth import IS_FULL
from tests.end_to_end.blueprints import FOUR_DATABASES, ONE_DATABASE

from . import upkeep
from .databases import BOTH, each_on, on
from .enumeration import Path, kill_everywhere, map_points, share_of, slice_of
from .points import call_outside, find_participants

PATHS = (upkeep.RUN_DUE, upkeep.WAKEUP_DUE, upkeep.BEAT, upkeep.CHECKOUT_CLEANUP)
Check = Callable[..., None]


@pytest.fixture
def _archive_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every write to an archive a point."""
    append = Archive.append
    monkeypatch.setattr(
        Archive,
        "append",
        lambda archive, documents: call_outside("archive", "append", lambda: append(archive, documents)),
    )


@each_on("path", one=PATHS, full=PATHS)
def test_killed_upkeep_is_done_by_the_next_run(databases: int, path: Path[Any], check: Check) -> None:
    points = map_points(path)
    check(path, "killed", kill_everywhere(path, points, share_of(path, slice_of(points))))


@on(FOUR_DATABASES)
def test_sweeps_and_heartbeats_touch_no_database_of_a_participant(databases: int) -> None:
    """Check this so that one run covers participants with and without separate databases."""
    assert {path.name: find_participants(map_points(path)) for path in PATHS} == {path.name: [] for path in PATHS}


@on(*BOTH if IS_FULL else (ONE_DATABASE,))
@pytest.mark.usefixtures("_archive_shown")
def test_killed_cleanup_loses_nothing(databases: int, tmp_path: FilePath, check: Check) -> None:
    path = upkeep.make_cleanup_path(tmp_path)
    points = map_points(path)
    assert sum("archive: append" in point for point in points) == 4
    check(path, "killed", kill_everywhere(path, points, share_of(path, slice_of(points))))
