"""Every available pair of Python and Django: ``python -m tests.other_projects.pairs``.

Each pair gets an environment under ``var/`` with the wheel and what the README's reader installs. In it the README's
tutorial is followed word for word, with its worker, and the foreign project is driven through a few settings. What is
deprecated and used by a line of the engine is an error there. Exit code 1 when a pair failed or none could run.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from config.local.postgres import LocalPostgres, start_throwaway_postgres
from config.local.runtime import ROOT
from tests.packaging.environments import build_wheel, new_database, run
from tests.packaging.tutorial import follow, libpq_variables, read_other_packages

from .pythons import find_newest, find_python, list_djangos
from .settings_table import BY_NAME, OWN_TESTS
from .testbed import open_testbed

PYTHONS = ("3.11", "3.12", "3.13")
DJANGOS = ("5.2", "6.0", "6.1")
# A few settings of each kind; the others run on the locked Python and Django.
DRIVEN = ("default", "separators_everywhere", "site_beside", "read_replica+naive_times")
AT_ONCE = 2
PLACE = ROOT / "var" / "matrix"

# Django attributes a warning to a function's file, Python to a line's module.
STRICT = """
import warnings

for category in (DeprecationWarning, PendingDeprecationWarning):
    warnings.filterwarnings("error", category=category, module=r"sagas(\\.|$)")
    warnings.filterwarnings("error", category=category, module=r".*/site-packages/sagas/")
"""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Python and Django release.

    python: its version. interpreter: its path. django: the release.
    """

    python: str
    interpreter: Path
    django: str

    @property
    def name(self) -> str:
        """Return the pair as text."""
        return f"Python {self.python}, Django {self.django}"


def main(arguments: list[str] | None = None) -> int:
    """Try the pairs, two at a time, and print the results.

    Returns: 0 if at least one could run, and none failed.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.other_projects.pairs", description=__doc__)
    parser.add_argument("--python", choices=PYTHONS, action="append", help="only this one; may be repeated")
    parser.add_argument("--django", choices=DJANGOS, action="append", help="only this series; may be repeated")
    parser.add_argument("--newest", action="store_true", help="of those only the last")
    options = parser.parse_args(arguments)
    find = find_newest_pair if options.newest else find_pairs
    pairs, missing = find(options.python or PYTHONS, options.django or DJANGOS)
    for reason in missing:
        echo(f"could not run: {reason}")
    if not pairs:
        echo("No pair could run: install one of these Pythons, or let pip reach an index that has Django.")
        return 1
    with ExitStack() as stack:
        shutil.rmtree(PLACE, ignore_errors=True)
        for name in ("source", "wheel"):
            (PLACE / name).mkdir(parents=True)
        wheel = build_wheel(PLACE / "source", PLACE / "wheel")
        postgres = start_throwaway_postgres()
        stack.callback(postgres.process.stop)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            results = list(threads.map(lambda pair: judge(pair, wheel, postgres), pairs))
    echo("")
    for pair, (result, seconds) in zip(pairs, results, strict=True):
        echo(f"{pair.name}: {'failed' if result else 'works'} ({seconds:.0f} s)")
    for reason in missing:
        echo(f"could not run: {reason}")
    return 1 if any(result for result, _ in results) else 0


def find_pairs(
    pythons: list[str] | tuple[str, ...], series: list[str] | tuple[str, ...]
) -> tuple[list[Pair], list[str]]:
    """Find which pairs can run.

    Returns: the pairs, and why others cannot.
    """
    pairs: list[Pair] = []
    missing: list[str] = []
    for python in pythons:
        interpreter = find_python(python)
        if interpreter is None:
            missing.append(f"Python {python} with any Django: there is no such Python here")
            continue
        releases = list_djangos(python)
        for one in series:
            if newest := find_newest(releases, one):
                pairs.append(Pair(python=python, interpreter=interpreter, django=str(newest)))
            else:
                missing.append(f"Python {python}, Django {one}: the index has no release of it for this Python")
    return pairs, missing


def find_newest_pair(
    pythons: list[str] | tuple[str, ...], series: list[str] | tuple[str, ...]
) -> tuple[list[Pair], list[str]]:
    """Find the last pair that can run, without asking the index for older Pythons.

    Returns: it, or nothing; and why newer ones cannot run.
    """
    missing: list[str] = []
    for python in reversed(pythons):
        pairs, reasons = find_pairs([python], series)
        missing += reasons
        if pairs:
            return pairs[-1:], missing
    return [], missing


def judge(pair: Pair, wheel: Path, postgres: LocalPostgres) -> tuple[str, float]:
    """Try a pair, and print its failure.

    Returns: the failure, empty if there is none; the seconds it took.
    """
    began = time.monotonic()
    failures = []
    try:
        home = PLACE / pair.name.lower().replace(" ", "-").replace(",", "")
        home.mkdir()
        python = install(pair, wheel, home / "environment")
        failures += list(list_failures(python, home, postgres.url_of("postgres")))
    except (AssertionError, subprocess.SubprocessError, OSError) as error:
        failures.append(str(error))
    for failure in failures:
        echo(f"{pair.name}: {failure}")
    return "\n".join(failures), time.monotonic() - began


def install(pair: Pair, wheel: Path, place: Path) -> Path:
    """Create an environment from the configured index, as the README says.

    Returns: its interpreter.
    """
    run([str(pair.interpreter), "-m", "venv", "--without-pip", str(place)])
    python = place / "bin" / "python"
    # With the environment of this process, which configures pip's index.
    command = [
        sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-input",
        "--disable-pip-version-check", str(wheel), f"Django=={pair.django}", *read_other_packages(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"pip could not install it:\n{done.stdout}{done.stderr}"
    [site_packages] = place.glob("lib/*/site-packages")
    (site_packages / "sitecustomize.py").write_text(STRICT)
    return python


def list_failures(python: Path, home: Path, server_url: str) -> Iterator[str]:
    """Follow the tutorial and run the settings; yield every failure."""
    with new_database(server_url, "agency") as parameters:
        (home / "agency").mkdir()
        try:
            tutorial = follow(python, home / "agency", libpq_variables(parameters))
            log = tutorial.run_worker()
            if "Traceback" in log:
                yield f"The worker of the tutorial: {log}"
        except AssertionError as error:
            yield f"The tutorial: {error}"
    with open_testbed(home / "project", {"psycopg": python}, server_url) as testbed:
        for setting in map(BY_NAME.__getitem__, DRIVEN):
            expected = {name: result for name, result in setting.expected.items() if name not in OWN_TESTS}
            try:
                with testbed.databases(setting) as databases:
                    found = testbed.drive(setting, databases, *expected)
            except AssertionError as error:
                yield f"{setting.name}: {error}"
                continue
            for name, result in expected.items():
                if found.get(name) != result:
                    yield f"{setting.name}: {name} gave {found.get(name)}, not {result}"


def echo(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
