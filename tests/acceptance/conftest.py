"""Give acceptance tests the whole project: databases of their own, a broker, and processes to start and to hurt."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from config.local.postgres import create_database
from config.local.valkey import LocalValkey, start_valkey
from tests.processes import Project, describe_project
from tests.servers import PARTICIPANTS, SERVER_VARIABLE, count_databases, url_of_database


def drop_database(name: str) -> None:
    """Drop a database and end whoever is still connected to it."""
    with psycopg.connect(os.environ[SERVER_VARIABLE], autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def make_databases() -> dict[str, str]:
    """Create empty databases, one or one for each participant as the run asks for.

    Returns: their URLs by the names of the settings.
    """
    run = uuid4().hex[:8]
    names = {"DATABASE_URL": f"acceptance_{run}"}
    if count_databases() > 1:
        names |= {
            f"{participant.upper()}_DATABASE_URL": f"acceptance_{participant}_{run}" for participant in PARTICIPANTS
        }
    for name in names.values():
        create_database(os.environ[SERVER_VARIABLE], name)
    return {setting: url_of_database(name) for setting, name in names.items()}


def migrate_and_seed(project: Project) -> None:
    """Bring a project's databases to the state that ``make demo`` starts from."""
    project.manage("migrate", "--verbosity", "0")
    for participant in PARTICIPANTS:
        if f"{participant.upper()}_DATABASE_URL" in project.environment:
            project.manage("migrate", "--database", participant, "--verbosity", "0")
    project.manage("shop_seed", "--demo-data")


@pytest.fixture(scope="session")
def seeded_databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Migrate and seed databases once for the session; tests work on copies of them."""
    urls = make_databases()
    migrate_and_seed(describe_project(urls, "memory://", tmp_path_factory.mktemp("seed")))
    yield urls
    for url in urls.values():
        drop_database(name_of(url))


@pytest.fixture
def project(seeded_databases: dict[str, str], broker: LocalValkey, tmp_path: Path) -> Iterator[Project]:
    """Describe the seeded project on databases and a broker of this test's own; its processes end with it."""
    run = uuid4().hex[:8]
    copies = {setting: f"{name_of(url)}_{run}" for setting, url in seeded_databases.items()}
    for setting, copy in copies.items():
        copy_database(name_of(seeded_databases[setting]), copy)
    project = describe_project(
        {setting: url_of_database(copy) for setting, copy in copies.items()}, broker.url, tmp_path
    )
    yield project
    project.stop_all()
    for copy in copies.values():
        drop_database(copy)


@pytest.fixture
def broker() -> Iterator[LocalValkey]:
    """Run a Valkey that a test may pause, flush or kill; ``start_valkey(broker.port)`` brings a killed one back."""
    server = start_valkey()
    yield server
    server.process.stop()


def name_of(url: str) -> str:
    """Take the database's name out of its URL."""
    return str(conninfo_to_dict(url)["dbname"])


def copy_database(source: str, copy: str) -> None:
    """Copy a database that nobody is connected to, which takes a fraction of migrating a new one."""
    with psycopg.connect(os.environ[SERVER_VARIABLE], autocommit=True) as connection:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(statement.format(sql.Identifier(copy), sql.Identifier(source)))
