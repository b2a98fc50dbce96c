"""Pythons of this machine, and the Djangos that the configured index has for them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.version import Version

# Prints the version of a Python that can create environments.
WHICH = "import sys, venv; print('.'.join(map(str, sys.version_info[:2])))"


def find_python(version: str) -> Path | None:
    """Find an interpreter of a version: on the path, in pyenv or by uv.

    Returns: None if none runs.
    """
    return next((path for path in list_candidates(version) if is_version(path, version)), None)


def list_candidates(version: str) -> Iterator[Path]:
    """List possible interpreters, the likeliest first. Those that pyenv puts on the path may not run."""
    program = f"python{version}"
    if found := shutil.which(program):
        yield Path(found)
    homes = [os.environ.get("PYENV_ROOT", ""), str(Path.home() / ".pyenv")]
    for home in filter(None, homes):
        found_versions = Path(home, "versions").glob(f"{version}.*/bin/{program}")
        yield from sorted(found_versions, key=lambda path: path.parents[1].name, reverse=True)
    command = [sys.executable, "-m", "uv", "python", "find", "--no-project", "--no-python-downloads", version]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        yield Path(done.stdout.strip())


def is_version(path: Path, version: str) -> bool:
    """Return whether an interpreter runs, can create environments, and has this version."""
    done = subprocess.run([str(path), "-c", WHICH], capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == version


def list_djangos(python: str) -> list[Version]:
    """List the Django releases in the index for a version of Python, the newest first.

    Raises: AssertionError with pip's output if the index is not available.
    """
    command = [
        sys.executable, "-m", "pip", "index", "versions", "Django", "--json", "--python-version", python,
        "--disable-pip-version-check",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"The index does not tell which Djangos there are:\n{done.stderr}"
    versions = [Version(text) for text in json.loads(done.stdout)["versions"]]
    return sorted((found for found in versions if not found.is_prerelease), reverse=True)


def find_newest(releases: list[Version], series: str) -> Version | None:
    """Return the newest patch release of a series such as ``6.0``, or None."""
    return next((found for found in releases if f"{found.major}.{found.minor}" == series), None)
