"""README tutorial as its reader follows it: files and commands, literally and in order."""

import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from config.local.children import start_guarded
from config.local.runtime import ROOT
from config.local.valkey import start_valkey
from tests.processes import wait_until

from .environments import run

PAGE = ROOT / "docs" / "tutorial.md"
SECTION = "## Write a saga in ten minutes"
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+\.py)(: add)?\n")

# Environment and database exist already; worker, user and web server are tested separately.
DONE_OTHERWISE = (
    "pip install ",
    "createdb ",
    "celery ",
    "python manage.py createsuperuser",
    "python manage.py runserver",
)
BOOK = (
    "from trips.models import *; from trips.sagas import *; \\\n"
    "    book_trip(Flight.objects.create(free_seats=9), seats=2)"
)


@dataclass(kw_only=True)
class Tutorial:
    """Reader's project.

    directory: of the project. variables: of its environment. outputs: of the README's commands, by command.
    """

    directory: Path
    variables: dict[str, str]
    outputs: dict[str, str] = field(default_factory=dict)

    def run(self, command: str) -> str:
        """Run a command as the reader's shell does; fail if it fails.

        Returns: what it printed.
        """
        return run(["/bin/sh", "-c", command], directory=self.directory, **self.variables)

    def follow(self, blocks: list[tuple[str, str]], given: Mapping[str, str]) -> None:
        """Write the files and run the commands of these blocks, in their order."""
        for language, text in blocks:
            if language == "python":
                write_file(self.directory, text, given)
                continue
            for command in re.findall(r"^\$ ((?:.*\\\n)*.*)$", text, re.MULTILINE):
                if not command.startswith(DONE_OTHERWISE):
                    self.outputs[command] = self.run(command)

    def list_states(self) -> list[str]:
        """List the states of all sagas."""
        return [saga["state"] for saga in json.loads(self.run("python manage.py saga_list --json"))]

    def run_worker(self) -> str:
        """Start the broker and the README's worker, book a trip, and wait until every saga is completed.

        Returns: the worker's log.
        """
        settings = (self.directory / "agency" / "settings.py").read_text()
        [port] = re.findall(r"redis://127\.0\.0\.1:(\d+)/0", settings)
        command = read_command("celery ")
        before = len(self.list_states())
        log = self.directory / "worker.log"
        broker = start_valkey(int(port))
        worker = start_guarded(
            "worker",
            ["python", "-m", *command.split(), "--concurrency", "1"],
            log=log,
            environment={**self.variables, "HOME": str(self.directory)},
            directory=self.directory,
        )
        try:
            self.run(f'python manage.py shell -c "{BOOK}"')
            completed = ["completed"] * (before + 1)
            wait_until(lambda: self.list_states() == completed, "all are completed", timeout_seconds=60)
        finally:
            worker.stop()
            broker.process.stop()
        return log.read_text()


def follow(python: Path, directory: Path, agency: Mapping[str, str]) -> Tutorial:
    """Follow the README from its first block to its last, with a broker's address where nobody listens.

    Shape: agency are libpq's variables of an empty database.
    """
    broker = start_valkey()
    url = broker.url
    broker.process.stop()
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    followed = Tutorial(directory=directory, variables={**agency, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"})
    given = {'"NAME": "agency"': f'"NAME": "{agency["PGDATABASE"]}"', "redis://127.0.0.1:6379/0": url}
    followed.follow(read_blocks(), given)
    return followed


def libpq_variables(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the libpq variables of a database with these Django parameters."""
    names = {"NAME": "PGDATABASE", "HOST": "PGHOST", "PORT": "PGPORT", "USER": "PGUSER", "PASSWORD": "PGPASSWORD"}
    return {names[name]: value for name, value in parameters.items()}


def read_blocks() -> list[tuple[str, str]]:
    """Return the tutorial's code blocks.

    Returns: language and text of each block, in their order.
    """
    section = (ROOT / "README.md").read_text().partition(f"{SECTION}\n")[2].partition("\n## ")[0]
    return BLOCK.findall(section)


def read_second_part() -> list[tuple[str, str]]:
    """Return the code of docs/tutorial.md, the README's sequel; ``ID`` stands for the held saga."""
    return BLOCK.findall(PAGE.read_text())


def read_command(beginning: str) -> str:
    """Return the only command of the tutorial that begins like this."""
    [command] = [
        line
        for _, text in read_blocks()
        for line in re.findall(r"^\$ (.*)$", text, re.MULTILINE)
        if line.startswith(beginning)
    ]
    return command


def read_other_packages() -> list[str]:
    """Return what the reader installs besides the engine."""
    [line] = [line for _, text in read_blocks() for line in text.splitlines() if line.startswith("$ pip install ")]
    return shlex.split(line)[4:]


def write_file(directory: Path, text: str, given: Mapping[str, str]) -> None:
    """Write a block to the file named in its first line, or append it, with this run's server names."""
    match = FILE.match(text)
    assert match is not None, f"This block does not begin with the name of its file:\n{text}"
    path = directory / match[1]
    for written, meant in given.items():
        text = text.replace(written, meant)
    path.write_text((path.read_text() if match[2] else "") + text)
