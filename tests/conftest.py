"""Share servers among all tests; PostgreSQL itself is started earlier, by tests/servers.py."""

import gc
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from config.local.valkey import LocalValkey, start_valkey

from . import static_files
from .depth import leave_to_full_runs
from .emptying import emptying_what_is_filled
from .lanes import begin_with_longest, make_scheduler
from .other_projects import table as other_projects
from .other_projects.fixtures import testbed, wheel

__all__ = ["testbed", "wheel"]

TESTS = Path(__file__).parent

# Each has a make target of its own: they test the wheel, or need Chromium, RabbitMQ, or millions of rows.
SUITES_APART = frozenset({"packaging", "other_projects", "browser", "brokers", "scale"})

QUICK_HASH = "django.contrib.auth.hashers.MD5PasswordHasher"

# Objects between two collections of garbage: a page or a saga makes many, and nearly none of them is in a cycle.
GARBAGE_THRESHOLD = 50_000


@pytest.fixture(scope="session", autouse=True)
def _little_time_between_tests() -> Iterator[None]:
    """Do quickly what shows nothing: empty databases, find static files, and hash passwords a million times over."""
    with emptying_what_is_filled(), static_files.found_once(), override_settings(PASSWORD_HASHERS=[QUICK_HASH]):
        yield


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


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what needs more than Python, unless it is asked for by name."""
    if collection_path.parent != TESTS or collection_path.name not in SUITES_APART:
        return None
    asked_for = [Path(argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(collection_path) for path in asked_for) else True


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known that leaves a test to full runs."""
    config.addinivalue_line("markers", "full: left to `make test-faults` or `make chaos`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to full runs what is theirs, and order the rest."""
    leave_to_full_runs(config, items)
    begin_with_longest(items)


def pytest_collection(session: pytest.Session) -> None:
    """Collect no garbage while tests are collected, and in a process of a run of all tests compile a share of them.

    Otherwise every process would compile all of the modules, as each begins with the same one.
    """
    gc.disable()
    worker = getattr(session.config, "workerinput", None)
    if worker is not None and session.config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        modules = [path for path in sorted(TESTS.glob("*/test_*.py")) if path.parent.name not in SUITES_APART]
        for path in modules[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]:
            importlib.import_module(f"tests.{path.parent.name}.{path.stem}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Keep the tests of a lane together (``--dist loadgroup``)."""
    return make_scheduler(config, log)


def pytest_collection_finish() -> None:
    """Leave what all tests and modules take up out of every later collection of garbage, and of what forks copy."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, *gc.get_threshold()[1:])
    gc.enable()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what was driven under which setting of a foreign project, and write it down, where that was tested."""
    reports = [report for found in ("passed", "failed") for report in terminalreporter.stats.get(found, ())]
    if lines := other_projects.list_lines(reports):
        terminalreporter.section("foreign projects")
        terminalreporter.write_line(other_projects.write(lines))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run that skipped a test: what cannot run here belongs to another make target."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped") and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
