"""Database templates: migrated and seeded once for a test run, then copied for each test.

The worker processes of pytest-xdist share one server, so the first that needs a set of databases makes it under a lock
and the others find it.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql

from config.local.postgres import create_database
from tests.processes import Project, describe_project
from tests.servers import PARTICIPANTS, SERVER_VARIABLE, url_of_database

ONE_DATABASE, FOUR_DATABASES = 1, 1 + len(PARTICIPANTS)

# Arbitrary numbers that are not used as advisory locks elsewhere on the server.
MAKING_LOCK, USING_LOCK = 7_206_001, 7_206_002
READY = "ready"


class Blueprints:
    """Factory of copies of seeded databases."""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]], directory: Path) -> None:
        self._connection = connection
        self._directory = directory
        self._run = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid4().hex)[:8]

    @contextmanager
    def copy(self, count: int, broker_url: str, directory: Path) -> Iterator[Project]:
        """Describe the seeded project on its own databases; they and its processes end with the block.

        count: of databases, one for all or one for each participant and the main one.
        """
        self._ensure(count)
        copies = {setting: f"{name}_{uuid4().hex[:8]}" for setting, name in self._names(count).items()}
        for setting, name in self._names(count).items():
            self._execute("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", copies[setting], name)
        project = describe_project(urls_of(copies), broker_url, directory)
        try:
            yield project
        finally:
            project.stop_all()
            for copy in copies.values():
                self._execute("DROP DATABASE {} WITH (FORCE)", copy)

    def forget(self) -> None:
        """Drop the templates, unless another process of this run may still copy them."""
        self._connection.execute("SELECT pg_advisory_unlock_shared(%s)", [USING_LOCK])
        row = self._connection.execute("SELECT pg_try_advisory_lock(%s)", [USING_LOCK]).fetchone()
        if row != (True,):
            return
        for count in (ONE_DATABASE, FOUR_DATABASES):
            for name in self._names(count).values():
                self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _names(self, count: int) -> dict[str, str]:
        main = f"acceptance_{self._run}_{count}"
        participants = PARTICIPANTS if count == FOUR_DATABASES else ()
        return {"DATABASE_URL": main, **{f"{name.upper()}_DATABASE_URL": f"{main}_{name}" for name in participants}}

    def _ensure(self, count: int) -> None:
        self._connection.execute("SELECT pg_advisory_lock(%s)", [MAKING_LOCK])
        try:
            if not self._is_ready(count):
                self._make(count)
        finally:
            self._connection.execute("SELECT pg_advisory_unlock(%s)", [MAKING_LOCK])

    def _is_ready(self, count: int) -> bool:
        statement = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
        return self._connection.execute(statement, [self._names(count)["DATABASE_URL"]]).fetchone() == (READY,)

    def _make(self, count: int) -> None:
        names = self._names(count)
        for name in names.values():
            self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
            create_database(os.environ[SERVER_VARIABLE], name)
        migrate_and_seed(describe_project(urls_of(names), "memory://", self._directory))
        self._execute("COMMENT ON DATABASE {} IS {}", names["DATABASE_URL"], sql.Literal(READY))

    def _execute(self, statement: str, *names: str | sql.Literal) -> None:
        parts = [name if isinstance(name, sql.Literal) else sql.Identifier(name) for name in names]
        self._connection.execute(sql.SQL(statement).format(*parts))


@contextmanager
def open_blueprints(make_directory: Callable[[], Path]) -> Iterator[Blueprints]:
    """Keep one connection to the run's server open while templates are used."""
    with psycopg.connect(os.environ[SERVER_VARIABLE], autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock_shared(%s)", [USING_LOCK])
        blueprints = Blueprints(connection, make_directory())
        yield blueprints
        blueprints.forget()


def migrate_and_seed(project: Project) -> None:
    """Migrate and seed a project's databases as ``make demo`` does."""
    project.manage("shell", "--command", "from examples.demo.shop import prepare_data; prepare_data()")


def urls_of(names: dict[str, str]) -> dict[str, str]:
    """Return the databases' URLs by setting name."""
    return {setting: url_of_database(name) for setting, name in names.items()}
