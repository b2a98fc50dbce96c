"""Fixtures of crash tests: separate databases, visible outside calls, and a count of the tried points."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path as FilePath
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from payments import services as payments
from sagas import SagaDefinition
from sagas.core.definition import registry
from sagas.engine import advance
from shipping import services as shipping
from tests.end_to_end.blueprints import Blueprints
from tests.end_to_end.conftest import blueprints

from . import bare, points
from .databases import BOTH, TOPOLOGY_NAMES, using_databases
from .enumeration import Path, Verdict

__all__ = ["blueprints"]
PROPERTY = "fault points"
MAX_SHOWN = 20
# On a busy machine a path may outlast a worker's time slice, and would end before its last points.
LONG_SLICE = timedelta(hours=1)


@pytest.fixture(params=BOTH, ids=TOPOLOGY_NAMES.get)
def databases(
    request: pytest.FixtureRequest, blueprints: Blueprints, tmp_path: FilePath, django_db_blocker: Any
) -> Iterator[int]:
    """Run on one database, and on one for each participant."""
    with (
        blueprints.copy(request.param, "memory://", tmp_path) as project,
        django_db_blocker.unblock(),
        using_databases(project.environment),
    ):
        bare.create_tables()
        yield request.param


@pytest.fixture(autouse=True)
def _outside_calls_shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make every call of the gateway, the carrier and the wake-up function a point."""
    find_gateway, find_carrier = payments.get_gateway, shipping.get_carrier
    monkeypatch.setattr(payments, "get_gateway", lambda: points.Watched("gateway", find_gateway()))
    monkeypatch.setattr(shipping, "get_carrier", lambda: points.Watched("carrier", find_carrier()))
    wakeup = f"{points.__name__}.{points.send.__name__}"
    with override_settings(SAGAS={**settings.SAGAS, "WAKEUP": wakeup, "TIME_SLICE": LONG_SLICE}):
        yield
    points.woken.clear()


@pytest.fixture(autouse=True)
def _quick_and_quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Disable pauses for lost databases and the log of thousands of planted faults."""
    monkeypatch.setattr(advance, "RECORD_PAUSE_SECONDS", 0.0)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def bare_saga() -> Iterator[type[SagaDefinition]]:
    """Declare the saga of unprotected participants."""
    with registry.preserved():
        yield bare.define_bare_saga()


@pytest.fixture
def open_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a provider that cannot close a key before its use."""
    write = bare.write_unless

    def write_but_never_close(alias: str, key: str, what: str, *, unless: tuple[str, ...]) -> None:
        if what != bare.CLOSED:
            write(alias, key, what, unless=unless)

    monkeypatch.setattr(bare, "write_unless", write_but_never_close)


@pytest.fixture
def check(record_property: Callable[[str, object], None]) -> Callable[[Path[Any], str, Iterable[Verdict]], None]:
    """Count the tried points, and fail with every wrong end."""

    def check_verdicts(path: Path[Any], disturbance: str, verdicts: Iterable[Verdict]) -> None:
        found = list(verdicts)
        record_property(PROPERTY, [path.name, disturbance, len(found)])
        wrong = [str(verdict) for verdict in found if verdict.problems]
        shown = "\n".join(wrong[:MAX_SHOWN])
        assert not wrong, f"{path.name}, {disturbance}: {len(wrong)} of {len(found)} points ended wrong:\n{shown}"
        assert found, f"{path.name}, {disturbance}: no point was tried"

    return check_verdicts


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the number of points tried per path, from the reports of the worker processes."""
    tried: Counter[tuple[str, str]] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in getattr(report, "user_properties", []):
                if name == PROPERTY and report.when == "call":
                    path, disturbance, count = value
                    tried[path, disturbance] += count
    if not tried:
        return
    terminalreporter.section("fault points tried")
    for (path, disturbance), count in sorted(tried.items()):
        terminalreporter.write_line(f"{count:6} {path}: {disturbance}")
    terminalreporter.write_line(f"{sum(tried.values()):6} together")
