"""Testbed: the whole project on its own servers, all of which may be harmed."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.local.postgres import create_database
from config.local.valkey import start_valkey
from tests.end_to_end.blueprints import migrate_and_seed
from tests.end_to_end.shops import Broker, Shop
from tests.processes import FAST_ENGINE, Process, Project, describe_project

from .obstacles.apps import SLOWNESS_VARIABLE
from .postgres import RestartablePostgres, open_postgres

SETTINGS = "tests.chaos.settings"
MAIN = "shop"

# Workers die so often that the usual budgets would be spent on it alone.
PATIENT_ENGINE: Mapping[str, Any] = {
    **FAST_ENGINE,
    "RETRY": {"attempts": 10, "base": 0.1, "cap": 0.5},
    "COMPENSATION_RETRY": {"attempts": 30, "base": 0.1, "cap": 0.5, "after_budget": 3600.0},
}
# Likewise for events: consumers die so often that a delivery is repeated for no fault of its own, and the broker loses
# everything every few seconds.
EVENT_ENGINE: Mapping[str, Any] = {
    **PATIENT_ENGINE,
    "EVENTS": {
        "RETRY": {"attempts": 30, "base": 0.1, "cap": 1.0},
        "DELIVERIES_MAX": 30,
        "RESEND_AFTER": 3.0,
        "RESENDS_MAX": 12,
        "SEND_TIMEOUT": 2.0,
        "OPTIONS": {"claim_idle_ms": 1000},
    },
}
LEASE_SECONDS = PATIENT_ENGINE["TIMEOUT"] + PATIENT_ENGINE["LEASE_MARGIN"]
RECOVERY_BOUND_SECONDS = LEASE_SECONDS + PATIENT_ENGINE["WAKEUP_INTERVAL"] + 2 * PATIENT_ENGINE["SWEEP_INTERVAL"]


@dataclass(kw_only=True)
class Testbed:
    """Shop and the servers that belong to it alone.

    postgres: of all its databases. shop: its customer, broker and workers. web: its web server.
    """

    __test__ = False

    postgres: RestartablePostgres
    shop: Shop
    web: Process

    @property
    def project(self) -> Project:
        """Return its settings and processes."""
        return self.shop.project


@contextmanager
def open_testbed(
    directory: Path,
    *,
    engine: Mapping[str, Any] = PATIENT_ENGINE,
    step_seconds: float = 0.0,
    postgres_settings: Mapping[str, str] | None = None,
    web_threads: int = 12,
) -> Iterator[Testbed]:
    """Start PostgreSQL, Valkey and the web server of a seeded shop on one database, without workers.

    step_seconds: how much longer every step takes.
    """
    with ExitStack() as stack:
        postgres = stack.enter_context(open_postgres(**(postgres_settings or {})))
        brokers: list[Broker] = [start_valkey()]
        # Stopped last: a stopping worker notifies its broker.
        stack.callback(lambda: [broker.process.stop() for broker in brokers])
        project = describe_testbed(postgres, brokers[-1].url, directory, engine=engine, step_seconds=step_seconds)
        stack.callback(project.stop_all)
        migrate_and_seed(project)
        web, client = project.start_web(threads=web_threads)
        shop = Shop(project=project, brokers=brokers, client=client.log_in("customer", "customer"))
        yield Testbed(postgres=postgres, shop=shop, web=web)


def describe_testbed(
    postgres: RestartablePostgres, broker_url: str, directory: Path, *, engine: Mapping[str, Any], step_seconds: float
) -> Project:
    """Create an empty database, and describe the project on it."""
    create_database(postgres.url_of("postgres"), MAIN)
    project = describe_project({"DATABASE_URL": postgres.url_of(MAIN)}, broker_url, directory)
    return project.with_environment(
        DJANGO_SETTINGS_MODULE=SETTINGS, SAGAS=json.dumps(engine), **{SLOWNESS_VARIABLE: str(step_seconds)}
    )
