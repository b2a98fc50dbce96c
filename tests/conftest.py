"""Share servers among all tests; PostgreSQL itself is started earlier, by tests/servers.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from config.local.valkey import LocalValkey, start_valkey


@pytest.fixture(scope="session")
def valkey() -> Iterator[LocalValkey]:
    """Run a private Valkey from its first use to the end of the session."""
    server = start_valkey()
    yield server
    server.process.stop()


@pytest.fixture(scope="session")
def valkey_url(valkey: LocalValkey) -> str:
    """Name the private Valkey as a broker."""
    return valkey.url


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run that skipped a test: what cannot run here belongs to another make target."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped") and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
