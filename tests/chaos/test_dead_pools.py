"""Dead pooled connections after a database restart: the next request succeeds without a retry."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import OperationalError, connections

from config.local.postgres import create_database
from config.local.valkey import start_valkey
from config.postgresql.base import DatabaseWrapper
from examples.demo.client import ShopClient
from tests.browsing import Browser
from tests.end_to_end.blueprints import migrate_and_seed
from tests.end_to_end.shops import describe_checkout
from tests.processes import Project, describe_project, wait_until
from tests.servers import PARTICIPANTS

from .postgres import RestartablePostgres, Stop, open_postgres

pytestmark = pytest.mark.full

POOLED = 5
# First requests after a restart: probes, a token, a session, and each participant's tables.
PAGES = {
    "/readyz": "",
    "/metrics": "",
    "/api/v1/orders/": "token",
    "/admin/": "session",
    "/admin/sagas/saga/": "session",
    "/admin/payments/payment/": "session",
    "/admin/inventory/reservation/": "session",
    "/admin/shipping/shipment/": "session",
}
TABLES = {
    "shop": "orders_order",
    "payments": "payments_payment",
    "inventory": "inventory_reservation",
    "shipping": "shipping_shipment",
}
LOCKING_PAGES = {
    "shop": "/api/v1/orders/",
    "payments": "/admin/payments/payment/",
    "inventory": "/admin/inventory/reservation/",
    "shipping": "/admin/shipping/shipment/",
}


@pytest.fixture(scope="module")
def postgres() -> Iterator[RestartablePostgres]:
    with open_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def project(postgres: RestartablePostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Seed a shop of four databases on the restarted server."""
    urls = {"DATABASE_URL": postgres.url_of("shop")}
    urls |= {f"{name.upper()}_DATABASE_URL": postgres.url_of(name) for name in PARTICIPANTS}
    for name in ("shop", *PARTICIPANTS):
        create_database(postgres.url_of("postgres"), name)
    valkey = start_valkey()
    described = describe_project(urls, valkey.url, tmp_path_factory.mktemp("dead-pools"))
    try:
        migrate_and_seed(described)
        yield described
    finally:
        described.stop_all()
        valkey.process.stop()


@pytest.fixture(scope="module")
def visitors(project: Project) -> dict[str, Browser]:
    """Start the web server, and return its clients."""
    _, client = project.start_web(threads=12)
    customer = client.log_in("customer", "customer")
    admin = Browser(client.url)
    admin.log_in("admin", "admin")
    return {"": Browser(client.url), "token": Browser(client.url, token=customer.token), "session": admin}


def fill_pools(postgres: RestartablePostgres, visitors: dict[str, Browser]) -> None:
    """Use several connections of every pool at once, by locking a table of each database."""
    for database, page in LOCKING_PAGES.items():
        with (
            ThreadPoolExecutor(POOLED) as threads,
            psycopg.connect(postgres.url_of(database), application_name="locker") as locker,
        ):
            locker.execute(f"LOCK TABLE {TABLES[database]} IN ACCESS EXCLUSIVE MODE")
            asked = [threads.submit(visitors[PAGES[page]].get, page) for _ in range(POOLED)]
            wait_until(lambda database=database: count_waiting(postgres, database) == POOLED, "all wait for the lock")
            locker.rollback()
            assert [answer.result() for answer in asked] == [200] * POOLED


def count_waiting(postgres: RestartablePostgres, database: str) -> int:
    """Count the sessions of the web server that wait for a lock."""
    with psycopg.connect(postgres.url_of("postgres")) as connection:
        statement = """SELECT count(*) FROM pg_stat_activity
            WHERE datname = %s AND application_name = 'sagas' AND wait_event_type = 'Lock'"""
        row = connection.execute(statement, [database]).fetchone()
    return int(row[0]) if row else 0


def count_sessions(postgres: RestartablePostgres, database: str) -> int:
    """Count the sessions that the web server keeps."""
    with psycopg.connect(postgres.url_of("postgres")) as connection:
        statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = 'sagas'"
        row = connection.execute(statement, [database]).fetchone()
    return int(row[0]) if row else 0


@pytest.mark.parametrize("path", PAGES)
def test_first_request_after_a_restart_succeeds(
    postgres: RestartablePostgres, visitors: dict[str, Browser], path: str
) -> None:
    fill_pools(postgres, visitors)
    assert all(count_sessions(postgres, database) >= POOLED for database in TABLES)
    postgres.restart(Stop.IMMEDIATE)

    assert visitors[PAGES[path]].get(path) == 200


def test_concurrent_requests_after_a_restart_succeed_and_place_one_checkout(
    postgres: RestartablePostgres, project: Project, visitors: dict[str, Browser]
) -> None:
    fill_pools(postgres, visitors)
    customer = ShopClient(url=visitors["token"].url, token=visitors["token"].token)
    key = f"after-a-restart-{uuid4()}"
    postgres.restart(Stop.IMMEDIATE)

    with ThreadPoolExecutor(len(PAGES)) as threads:
        answers = list(threads.map(lambda path: visitors[PAGES[path]].get(path), PAGES))
    placed = customer.check_out(describe_checkout("pm_card_visa"), key=key)
    repeated = customer.check_out(describe_checkout("pm_card_visa"), key=key)

    assert answers == [200] * len(PAGES)
    assert (placed.status, repeated.status, repeated.headers["Idempotent-Replayed"]) == (202, 202, "true")
    statement = "SELECT count(*) AS placed FROM orders_order WHERE number = %s"
    assert project.query(statement, [placed.body["number"]]) == [{"placed": 1}]


def open_wrapper(url: str, alias: str) -> DatabaseWrapper:
    """Make a connection of the web server's kind in this process."""
    [name, host] = [psycopg.conninfo.conninfo_to_dict(url)[part] for part in ("dbname", "host")]
    settings: dict[str, Any] = {
        **connections["default"].settings_dict,
        "NAME": name,
        "HOST": host,
        "USER": "sagas",
        "PORT": "",
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": False,
        "OPTIONS": {"pool": {"min_size": 1, "max_size": POOLED, "timeout": 0.2, "reconnect_timeout": 1}},
    }
    return DatabaseWrapper(settings, alias=alias)


@pytest.fixture
def unblocked(django_db_blocker: Any) -> Iterator[None]:
    """Allow this process to connect to another server than the test run's."""
    with django_db_blocker.unblock():
        yield


@pytest.mark.usefixtures("unblocked")
def test_dead_connections_are_dropped_without_a_pause(
    postgres: RestartablePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrappers = [open_wrapper(postgres.url_of("postgres"), "dead-pool") for _ in range(POOLED)]
    for wrapper in wrappers:
        wrapper.ensure_connection()
    for wrapper in wrappers:
        wrapper.close()
    postgres.restart(Stop.IMMEDIATE)

    def refuse(*_: object) -> None:
        raise AssertionError("Somebody slept.")

    monkeypatch.setattr("psycopg_pool.pool.sleep", refuse)
    with closing(wrappers[0]), wrappers[0].cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
    statistics = wrappers[0].pool.get_stats()
    wrappers[0].close_pool()

    assert statistics["returns_bad"] == POOLED


@pytest.mark.usefixtures("unblocked")
def test_unavailable_database_times_out_and_is_found_again(postgres: RestartablePostgres) -> None:
    wrapper = open_wrapper(postgres.url_of("postgres"), "pool-without-a-server")
    wrapper.wait_seconds = 1.0
    wrapper.ensure_connection()
    wrapper.close()
    postgres.stop(Stop.IMMEDIATE)
    started_at = time.monotonic()
    with pytest.raises(OperationalError):
        wrapper.ensure_connection()
    waited_seconds = time.monotonic() - started_at
    postgres.start()

    # Allows for a slow machine.
    wrapper.wait_seconds = 60.0
    wrapper.ensure_connection()
    wrapper.close()
    wrapper.close_pool()

    assert waited_seconds >= 1.0
