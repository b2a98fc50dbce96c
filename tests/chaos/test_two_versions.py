"""F6: old and new code run concurrently, and a version disappears while its sagas are open.

No worker crashes, each saga runs only on workers that know its version, and one with an unknown version is held with
the reason, at no cost, until a worker knows it.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.shops import LOOK_SECONDS, PATIENCE_SECONDS
from tests.processes import UNHURRIED_ENGINE, Process, Project, wait_until

from .obstacles.apps import VERSIONS_VARIABLE
from .testbed import SETTINGS

pytestmark = pytest.mark.full

SAGAS = 4  # of each version, at each time; every other one is refused and compensates
LOOKS = 2  # how often workers try to claim what none can run
OPEN = ""  # no gate
MISSING = "definition_missing"

STANDING = """
    SELECT s.id::text, s.state, s.hold, s.revision, s.history_count, s.closed_at IS NULL AS is_open,
           s.due_at,
           (SELECT count(*) FROM sagas_sagaattempt a WHERE a.saga_id = s.id) AS attempts,
           (SELECT max(h.reason) FROM sagas_sagahistory h WHERE h.saga_id = s.id AND h.to_state = s.hold) AS reason
    FROM sagas_saga s WHERE s.id = ANY(%s::uuid[]) ORDER BY s.id"""
RUNS = """
    SELECT a.saga_id::text, t.name, a.direction, a.outcome, a.worker FROM sagas_sagaattempt a
    JOIN sagas_sagastep t ON t.id = a.step_id WHERE a.saga_id = ANY(%s::uuid[]) ORDER BY a.id"""


@dataclass(frozen=True, kw_only=True)
class Releases:
    """Releases of one project, each with the versions in its code."""

    project: Project

    def of(self, versions: str) -> Project:
        """Return the project as of this release."""
        changes = {"DJANGO_SETTINGS_MODULE": SETTINGS, "SAGAS": json.dumps(UNHURRIED_ENGINE)}
        return self.project.with_environment(**changes, **{VERSIONS_VARIABLE: versions})

    def start_worker(self, name: str, versions: str) -> Deployed:
        """Start a worker of a release."""
        worker = self.of(versions).start_worker(name, concurrency=2)
        return Deployed(worker=worker, pids=worker.pids)

    def start_sagas(self, *gates: str) -> dict[str, dict[int, list[str]]]:
        """Start sagas of both versions at each gate, as a web server of the newest release does.

        Returns: their ids by gate and version.
        """
        code = f"from tests.chaos.obstacles.versions import start; start({SAGAS}, *{gates})"
        told = json.loads(self.of("1,2").manage("shell", "--no-imports", "--command", code).stdout)
        return {gate: {int(version): ids for version, ids in started.items()} for gate, started in told.items()}

    def look(self, sagas: Iterable[str]) -> list[dict[str, Any]]:
        """Return the states of sagas."""
        return self.project.query(STANDING, [list(sagas)])

    def wait_until_closed(self, sagas: Iterable[str]) -> None:
        """Wait until sagas are closed."""
        self.wait_until_all(sagas, "is_open", False)

    def wait_until_all(self, sagas: Iterable[str], column: str, value: object) -> None:
        """Wait until all sagas have this state."""
        ids = list(sagas)
        wait_until(
            lambda: all(row[column] == value for row in self.look(ids)),
            f"{column} of {', '.join(ids)} is {value}",
            timeout_seconds=PATIENCE_SECONDS,
            pause_seconds=LOOK_SECONDS,
        )

    def wait_for_accesses(self, sagas: Iterable[str]) -> None:
        """Wait until a worker has claimed each of these sagas a few times, and postponed the next claim."""
        for _ in range(LOOKS):
            seen = {row["id"]: row["due_at"] for row in self.look(sagas)}
            wait_until(
                lambda seen=seen: all(row["due_at"] > seen[row["id"]] for row in self.look(seen)),
                f"somebody has looked again at {', '.join(seen)}",
                timeout_seconds=PATIENCE_SECONDS,
                pause_seconds=LOOK_SECONDS,
            )

    def assert_held_at_no_cost(self, sagas: Iterable[str], version: int) -> None:
        """Check that sagas of a missing version are held with the reason, and otherwise left alone."""
        self.wait_until_all(sagas, "hold", MISSING)
        before = self.look(sagas)
        self.wait_for_accesses(sagas)
        after = self.look(sagas)
        for row in after:
            assert f"'chaos-parcel' version {version} " in row["reason"]
            assert row["due_at"] is not None
        unmoved = ("id", "state", "hold", "revision", "history_count", "attempts")
        assert [[row[name] for name in unmoved] for row in after] == [[row[name] for name in unmoved] for row in before]

    def list_runs(self, sagas: Iterable[str]) -> list[dict[str, Any]]:
        """Return every attempt of sagas."""
        return self.project.query(RUNS, [list(sagas)])


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """Worker and the processes it had when it was ready."""

    worker: Process
    pids: frozenset[int]

    def assert_well(self) -> None:
        """Check that none of its processes has ended, and that it logged no unexpected error."""
        assert self.worker.pids == self.pids
        assert "Traceback" not in self.worker.log

    def end(self) -> None:
        """Stop it gracefully, however long that takes: running steps are finished and recorded."""
        self.worker.signal(signal.SIGTERM)
        assert self.worker.guarded.wait(PATIENCE_SECONDS) == 0


@pytest.fixture
def releases(project: Project) -> Releases:
    """Run releases on their own databases and broker."""
    return Releases(project=project)


def test_each_saga_runs_on_code_that_knows_its_version(releases: Releases, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = releases.start_sagas(OPEN)[OPEN]
    old = releases.start_worker("old", "1")
    releases.wait_until_closed(first[1])
    releases.assert_held_at_no_cost(first[2], 2)
    assert releases.list_runs(first[2]) == []

    new = releases.start_worker("new", "2")
    mixed, gated = releases.start_sagas(OPEN, str(gate)).values()
    releases.wait_until_closed([*first[2], *mixed[1], *mixed[2]])
    old.assert_well()
    old.end()
    releases.assert_held_at_no_cost(gated[1], 1)
    waiting = releases.list_runs(gated[1])

    gate.touch()
    releases.wait_until_closed(gated[2])
    releases.wait_for_accesses(gated[1])
    assert releases.list_runs(gated[1]) == waiting
    back = releases.start_worker("back", "1,2")
    releases.wait_until_closed(gated[1])

    new.assert_well()
    back.assert_well()
    knows = {1: old.pids | back.pids, 2: new.pids | back.pids}
    for version, pids in knows.items():
        sagas = [*first[version], *mixed[version], *gated[version]]
        runs = releases.list_runs(sagas)
        assert {int(run["worker"].rpartition(":")[2]) for run in runs} <= pids
        assert_done_once(runs, sagas, version)
        assert sorted(row["state"] for row in releases.look(sagas)) == sorted(
            ["completed", "compensated"] * (len(sagas) // 2)
        )


def assert_done_once(runs: list[dict[str, Any]], sagas: list[str], version: int) -> None:
    """Check that each step of each saga ran once in each direction, and that every attempt counted.

    Each waits at its gate whenever it is polled, which uses no budget.
    """
    insure = ["insure"] if version == 2 else []
    completed = sorted((name, "action", "succeeded") for name in ["pack", *insure, "decision", "send"])
    compensated = sorted([
        *((name, direction, "succeeded") for name in ["pack", *insure] for direction in ("action", "compensation")),
        ("decision", "action", "refused"),
    ])  # fmt: skip
    for saga in sagas:
        mine = [run for run in runs if run["saga_id"] == saga and run["outcome"] != "in_progress"]
        assert sorted((run["name"], run["direction"], run["outcome"]) for run in mine) in (completed, compensated), saga
