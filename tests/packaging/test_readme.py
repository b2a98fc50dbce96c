"""The README's tutorial works as it is written: its files and its commands, in their order, in an empty directory."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from config.local.children import start_guarded
from config.local.runtime import ROOT
from config.local.valkey import start_valkey
from tests.processes import wait_until
from tests.servers import SERVER_VARIABLE

from .conftest import make_environment, run

SECTION = "## Write a saga in ten minutes"
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+\.py)(: add)?\n")

# The fixtures install the wheel and create the database; the worker runs for ever and has a test of its own.
DONE_OTHERWISE = ("pip install ", "createdb ", "celery ")
BOOK = "from trips.models import *; from trips.sagas import *; book_trip(Flight.objects.create(free_seats=9), seats=2)"


@dataclass(kw_only=True)
class Tutorial:
    """The reader's project.

    directory: of the project. variables: of its environment. outputs: of the README's commands, by command.
    """

    directory: Path
    variables: dict[str, str]
    outputs: dict[str, str] = field(default_factory=dict)

    def run(self, command: str) -> str:
        """Run a command as the reader's shell does, and fail when it does.

        Returns: what it printed.
        """
        return run(["/bin/sh", "-c", command], directory=self.directory, **self.variables)

    def list_states(self) -> list[str]:
        """List the states of all sagas."""
        return [saga["state"] for saga in json.loads(self.run("python manage.py saga_list --json"))]


@pytest.fixture(scope="module")
def agency() -> Iterator[dict[str, str]]:
    """Create the database that the reader creates, under a name that nobody else has.

    Returns: its name and how to reach its server, as libpq's variables.
    """
    name = f"agency_{uuid4().hex[:8]}"
    with psycopg.connect(os.environ[SERVER_VARIABLE], autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        info = connection.info
        server = {"PGHOST": info.host, "PGPORT": str(info.port), "PGUSER": info.user, "PGPASSWORD": info.password}
        yield {"PGDATABASE": name, **server}
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def tutorial(wheel: Path, agency: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Tutorial:
    """Follow the README from its first block to its last, with a broker's address where nobody listens."""
    python = make_environment(tmp_path_factory.mktemp("reader"), wheel, *read_beside())
    directory = tmp_path_factory.mktemp("agency")
    broker = start_valkey()
    url = broker.url
    broker.process.stop()
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    followed = Tutorial(directory=directory, variables={**agency, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"})
    given = {'"NAME": "agency"': f'"NAME": "{agency["PGDATABASE"]}"', "redis://127.0.0.1:6379/0": url}
    for language, text in read_blocks():
        if language == "python":
            write_file(directory, text, given)
            continue
        for command in re.findall(r"^\$ (.*?)$", text, re.MULTILINE):
            if not command.startswith(DONE_OTHERWISE):
                followed.outputs[command] = followed.run(command)
    return followed


def read_blocks() -> list[tuple[str, str]]:
    """Read the tutorial's code.

    Returns: language and text of each block, in their order.
    """
    section = (ROOT / "README.md").read_text().partition(f"{SECTION}\n")[2].partition("\n## ")[0]
    return BLOCK.findall(section)


def read_beside() -> list[str]:
    """Read what the reader installs beside the engine."""
    [line] = [line for _, text in read_blocks() for line in text.splitlines() if line.startswith("$ pip install ")]
    return shlex.split(line)[4:]


def write_file(directory: Path, text: str, given: dict[str, str]) -> None:
    """Write a block to the file that its first line names, or add it there, with the names of this run's servers."""
    match = FILE.match(text)
    assert match is not None, f"This block does not begin with the name of its file:\n{text}"
    path = directory / match[1]
    for written, meant in given.items():
        text = text.replace(written, meant)
    path.write_text((path.read_text() if match[2] else "") + text)


def test_every_block_runs_without_a_broker_and_the_saga_is_completed(tutorial: Tutorial) -> None:
    last = {name: tutorial.outputs[name] for name in tutorial.outputs if "saga_" in name or "check" in name}

    assert len(tutorial.outputs) == 7
    assert f'python manage.py shell -c "{BOOK}"' in tutorial.outputs
    assert "no issues" in last["python manage.py check --database default"]
    assert "Looked at 1 due sagas" in last["python manage.py saga_sweep --run        # with --loop: for ever"]
    assert "completed" in last["python manage.py saga_list"]
    assert "python manage.py test" in tutorial.outputs
    assert tutorial.list_states()[0] == "completed"


def test_worker_completes_a_trip_as_soon_as_there_is_a_broker(tutorial: Tutorial) -> None:
    settings = (tutorial.directory / "agency" / "settings.py").read_text()
    [port] = re.findall(r"redis://127\.0\.0\.1:(\d+)/0", settings)
    [command] = [line for _, text in read_blocks() for line in re.findall(r"^\$ (celery .*)$", text, re.MULTILINE)]
    before = len(tutorial.list_states())
    broker = start_valkey(int(port))
    worker = start_guarded(
        "worker",
        ["python", "-m", *command.split(), "--concurrency", "1"],
        log=tutorial.directory / "worker.log",
        environment={**tutorial.variables, "HOME": str(tutorial.directory)},
        directory=tutorial.directory,
    )

    tutorial.run(f'python manage.py shell -c "{BOOK}"')
    wait_until(lambda: tutorial.list_states() == ["completed"] * (before + 1), "both are completed", timeout_seconds=60)

    worker.stop()
    broker.process.stop()
    assert before == 1
    assert "Traceback" not in (tutorial.directory / "worker.log").read_text()
