"""Another project behind PgBouncer in transaction mode: no two transactions need the same connection."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.other_projects.settings_table import BEHIND_PGBOUNCER, WORKER_BEHIND_PGBOUNCER, Setting
from tests.other_projects.test_settings import judge, run_with_worker
from tests.other_projects.testbed import Testbed
from tests.servers_pgbouncer import LocalPgBouncer, start_pgbouncer


@pytest.fixture(scope="module")
def bouncer(testbed: Testbed) -> Iterator[LocalPgBouncer]:
    """Run a PgBouncer in front of the run's server."""
    started = start_pgbouncer(testbed.describe("postgres"))
    yield started
    started.process.stop()


def behind(bouncer: LocalPgBouncer, databases: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Return the project's database settings through PgBouncer."""
    return {alias: bouncer.settings_through(parameters) for alias, parameters in databases.items()}


def test_everything_works_behind_pgbouncer(testbed: Testbed, bouncer: LocalPgBouncer, record_property: Any) -> None:
    setting: Setting = BEHIND_PGBOUNCER
    with testbed.databases(setting) as databases:
        found = testbed.drive(setting, behind(bouncer, databases), *setting.expected)

    judge(setting, found, record_property)


def test_worker_works_behind_pgbouncer(
    testbed: Testbed, bouncer: LocalPgBouncer, valkey_url: str, tmp_path: Path, record_property: Any
) -> None:
    setting: Setting = WORKER_BEHIND_PGBOUNCER
    with testbed.databases(setting) as databases:
        found, log = run_with_worker(setting, testbed, behind(bouncer, databases), valkey_url, tmp_path)

    judge(setting, found, record_property)
    assert "Traceback" not in log
