"""Testbed of the other project: its directory, Pythons and databases."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql

from config.local.children import GuardedProcess, start_guarded, wait_until_ready
from config.local.runtime import ROOT

from .settings_table import Layout, Setting

PROJECT = Path(__file__).with_name("project")
# Limit for a setting, even on a machine that is busy with other tests.
DRIVE_SECONDS = 600
WORKER_SECONDS = 120

# PostgreSQL's clock as shown by this schema; functions on the search path take precedence over the system's.
CLOCK_OF_SCHEMA = """
    CREATE SCHEMA clock;
    CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
        $$ SELECT pg_catalog.clock_timestamp() + interval '{seconds} seconds' $$;
    CREATE FUNCTION clock.statement_timestamp() RETURNS timestamptz LANGUAGE sql AS
        $$ SELECT pg_catalog.statement_timestamp() + interval '{seconds} seconds' $$;
    CREATE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql AS
        $$ SELECT pg_catalog.now() + interval '{seconds} seconds' $$;
"""

Databases = dict[str, dict[str, str]]


@dataclass(kw_only=True)
class Testbed:
    """Location of the other project.

    directory: of a copy of the project. pythons: interpreters by the name of the database's driver. server_url: of the
    maintenance database. templates: migrated databases by name and alias, made at their first use.
    """

    __test__ = False

    directory: Path
    pythons: dict[str, Path]
    server_url: str
    templates: dict[str, dict[str, str]] = field(default_factory=dict)

    def close(self) -> None:
        """Drop the templates."""
        for names in self.templates.values():
            for name in names.values():
                self.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def execute(self, statement: str, *names: str, database: str = "") -> None:
        """Run a statement on the server with these identifiers."""
        with psycopg.connect(self.server_url, autocommit=True, **({"dbname": database} if database else {})) as found:
            found.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def describe(self, name: str) -> dict[str, str]:
        """Return the Django settings of a database."""
        with psycopg.connect(self.server_url) as connection:
            info = connection.info
            server = {"HOST": info.host, "PORT": str(info.port), "USER": info.user, "PASSWORD": info.password}
        return {"NAME": name, **server}

    @contextmanager
    def databases(self, setting: Setting) -> Iterator[Databases]:
        """Copy the databases of a setting, and drop the copies at the end."""
        self.prepare(setting.layout)
        made: dict[str, str] = {}
        try:
            for alias, template in self.templates[setting.layout.template].items():
                made[alias] = f"foreign_{setting.variations[0]}_{uuid4().hex[:8]}"
                self.execute("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", made[alias], template)
            if setting.layout is Layout.REPLICA:
                made["replica"] = f"foreign_replica_{uuid4().hex[:8]}"
                self.execute("CREATE DATABASE {}", made["replica"])
                self.execute("ALTER DATABASE {} SET default_transaction_read_only = on", made["replica"])
            for name, value in setting.database_defaults.items():
                for database in made.values():
                    self.execute(f"ALTER DATABASE {{}} SET {name} = '{value}'", database)
            if setting.clock:
                self.set_clock(made["default"], setting.clock)
            yield {alias: self.describe(name) for alias, name in made.items()}
        finally:
            for name in made.values():
                self.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def set_clock(self, database: str, moment: str) -> None:
        """Make a schema of the database show another time, which continues from a given one."""
        with psycopg.connect(self.server_url, dbname=database, autocommit=True) as connection:
            row = connection.execute(
                "SELECT extract(epoch FROM %s::timestamptz - clock_timestamp())", [moment]
            ).fetchone()
            assert row is not None
            connection.execute(CLOCK_OF_SCHEMA.format(seconds=float(row[0])))  # type: ignore[arg-type]

    def prepare(self, layout: Layout) -> None:
        """Migrate the databases of a layout once; each setting gets copies."""
        if layout.template in self.templates:
            return
        names = {alias: f"foreign_{layout.template}_{alias}_{uuid4().hex[:8]}" for alias in layout.aliases}
        for name in names.values():
            self.execute("CREATE DATABASE {}", name)
        databases = {alias: self.describe(name) for alias, name in names.items()}
        for alias in names:
            self.run(
                Setting(variation=layout.variation), databases, "manage.py", "migrate", "--verbosity", "0",
                "--database", alias,
            )  # fmt: skip
        if layout is Layout.TALL:
            self.run(Setting(variation=layout.variation), databases, "drive.py", "lengthen_history")
        self.templates[layout.template] = names

    def environment(self, setting: Setting, databases: Databases, broker_url: str = "") -> dict[str, str]:
        """Return the environment of the project's processes, without this process's variables."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "LANG": "C.UTF-8",
            "FOREIGN_SETTING": setting.variation,
            "FOREIGN_DATABASES": json.dumps(databases),
            **({"CELERY_BROKER_URL": broker_url} if broker_url else {}),
        }

    def run(self, setting: Setting, databases: Databases, *arguments: str, broker_url: str = "") -> str:
        """Run one of the project's programs to its end.

        Returns: what it printed.
        Raises: AssertionError with its output if it fails.
        """
        command = [str(self.pythons[setting.driver]), *arguments]
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment(setting, databases, broker_url),
            capture_output=True,
            text=True,
            check=False,
            timeout=DRIVE_SECONDS,
        )
        if done.stderr:
            sys.stderr.write(done.stderr)
        assert done.returncode == 0, f"{setting.variation}: {arguments} exited {done.returncode}:\n{done.stderr}"
        return done.stdout

    def drive(self, setting: Setting, databases: Databases, *feats: str, broker_url: str = "") -> dict[str, object]:
        """Run features in the project.

        Returns: their results by name.
        """
        printed = self.run(setting, databases, "drive.py", *feats, broker_url=broker_url)
        lines = [json.loads(line) for line in printed.splitlines() if line.startswith('{"driven"')]
        return {line["driven"]: line["result"] for line in lines}

    def start_worker(self, setting: Setting, databases: Databases, broker_url: str, log: Path) -> GuardedProcess:
        """Start the worker that a setting names, and wait until it consumes."""
        python = self.pythons[setting.driver]
        worker = start_guarded(
            "worker",
            [python, "-m", "celery", "-A", "harbour", "worker", *setting.worker, "--loglevel", "INFO"],
            log=log,
            environment=self.environment(setting, databases, broker_url),
            directory=self.directory,
        )
        wait_until_ready(worker, lambda: " ready." in log.read_text(), timeout_seconds=WORKER_SECONDS)
        return worker


def copy_project(directory: Path) -> Path:
    """Copy the foreign project to where nothing of this repository can be imported."""
    shutil.copytree(PROJECT, directory, ignore=shutil.ignore_patterns("__pycache__"))
    return directory


@contextmanager
def open_testbed(directory: Path, pythons: dict[str, Path], server_url: str) -> Iterator[Testbed]:
    """Copy the project into a new directory; drop its databases at the end."""
    with ExitStack() as stack:
        testbed = Testbed(directory=copy_project(directory), pythons=pythons, server_url=server_url)
        stack.callback(testbed.close)
        yield testbed


def how_to_repeat(setting: Setting) -> str:
    """Return the command that runs one setting by hand."""
    return f"cd {ROOT} && .venv/bin/python -m tests.other_projects.run {setting.name}"
