"""Wheel and environments that hold it, but nothing of this repository."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, distribution
from pathlib import Path
from uuid import uuid4
from zipfile import ZipFile

import psycopg
from packaging.requirements import Requirement
from psycopg import sql

from config.local.runtime import ROOT

# The sources of the wheel; nothing else of the checkout may matter.
SOURCES = ("pyproject.toml", "README.md", "LICENSE")


def build_wheel(source: Path, target: Path) -> Path:
    """Build the wheel from a copy, because setuptools leaves files next to its sources.

    Returns: the wheel.
    """
    for name in SOURCES:
        shutil.copy(ROOT / name, source / name)
    # The build must neither import the engine from the checkout nor include participants.
    for package in ("sagas", "orders"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(source)])
    [built] = target.glob("*.whl")
    return built


@contextmanager
def new_database(server_url: str, kind: str) -> Iterator[dict[str, str]]:
    """Create an empty database with a unique name on a server, and drop it at the end.

    Returns: what Django's settings say of it.
    """
    name = f"{kind}_{uuid4().hex[:8]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        info = connection.info
        yield {"NAME": name, "HOST": info.host, "PORT": str(info.port), "USER": info.user, "PASSWORD": info.password}
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def make_environment(home: Path, wheel: Path, *beside: str) -> Path:
    """Create an environment of the wheel, its requirements, and further distributions.

    Returns: the environment's interpreter.
    """
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    [site_packages] = home.glob("lib/*/site-packages")
    for found in list_needed([*read_requirements(wheel), *map(Requirement, beside)]):
        link_distribution(found, site_packages)
    # Without an index, pip itself ensures that the wheel's requirements are installed.
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    run([*pip, "install", "--no-index", "--quiet", "--disable-pip-version-check", str(wheel)])
    run([*pip, "check"])
    return python


def read_requirements(wheel: Path) -> list[Requirement]:
    """Return the wheel's requirements without extras."""
    with ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(metadata).decode().splitlines()
    asked = [Requirement(line.partition(": ")[2]) for line in lines if line.startswith("Requires-Dist: ")]
    return [requirement for requirement in asked if is_wanted(requirement, extras=())]


def list_needed(asked: list[Requirement]) -> list[Distribution]:
    """List the installed distributions that meet the requirements, and those that they require in turn."""
    needed: dict[str, Distribution] = {}
    seen: set[str] = set()
    waiting = list(asked)
    while waiting:
        requirement = waiting.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        found = needed.setdefault(requirement.name.lower(), distribution(requirement.name))
        inner = map(Requirement, found.requires or ())
        waiting += [each for each in inner if is_wanted(each, extras=requirement.extras)]
    return list(needed.values())


def is_wanted(requirement: Requirement, *, extras: Iterable[str]) -> bool:
    """Return whether a requirement applies here, with these extras."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def link_distribution(found: Distribution, site_packages: Path) -> None:
    """Link a distribution's top-level files."""
    for name in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
        link = site_packages / name
        if not link.exists():
            link.symlink_to(Path(str(found.locate_file(name))))


def run(command: list[str], *, directory: Path | None = None, **variables: str) -> str:
    """Run a command in an environment without this process's variables.

    Returns: what it printed.
    Raises: AssertionError with its output when it fails.
    """
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} exited {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout
