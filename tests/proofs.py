"""Number of proofs in a test run, without running them: crash points, schedules, controls, removed rules.

``python -m tests.proofs`` (``make count-proofs``) counts for ``make test`` and ``make test-faults`` and writes what it
counted to ``var/proofs.txt``, a line for each proof, so that two states of the project can be compared with ``comm``.
The same module is the plugin of the runs that count: paths are walked undisturbed, and their points are listed.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from config.local.runtime import ROOT

LISTED = ROOT / "var" / "proofs.txt"
LISTING_VARIABLE = "PROOFS_LISTING"
KINDS = ("crash points", "schedules", "negative controls", "removed rules")
# Test modules, and single tests, that remove a rule and expect a failure.
CONTROLS = ("removed_rules", "without_rules", "::test_if_", "::test_without_this_rule", "::test_without_a_rule",
            "::test_two_of_a_group_without_a_lock")  # fmt: skip
RULES = ("::test_without_this_rule", "::test_without_a_rule_its_scenario")
SCHEDULES = ("::test_no_schedule_breaks", "::test_all_rules_together")
MACHINE = "::test_nothing_is_lost_and_everything_ends"
PAGE = ROOT / "docs" / "reference" / "protocol.md"


def main(arguments: list[str] | None = None) -> int:
    """Count for both targets, and print a table.

    Returns: 0 if both could be counted.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.proofs", description=__doc__)
    parser.add_argument("full", nargs="+", help="what make test-faults runs")
    options = parser.parse_args(arguments)
    quick = count_run({"CHAOS": ""}, [])
    full = count_run({"CHAOS": "full"}, options.full)
    LISTED.write_text("".join(f"{line}\n" for line in sorted(quick | full)))
    sys.stdout.write(f"{'':18}{'make test':>12}{'test-faults':>12}{'together':>12}\n")
    for kind in KINDS:
        counts = [sum(map(weigh, select(kind, found))) for found in (quick, full, quick | full)]
        sys.stdout.write(f"{kind:18}" + "".join(f"{count:12,}" for count in counts) + "\n")
    return 0


def count_run(variables: dict[str, str], asked_for: list[str]) -> set[str]:
    """Make pytest list the proofs of a run.

    Returns: a line for each: its kind, what it is, and how many it counts for.
    """
    listing = LISTED.with_suffix(".new")
    listing.parent.mkdir(exist_ok=True)
    listing.write_text("")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "tests.proofs", *asked_for]
    environment = {**os.environ, **variables, LISTING_VARIABLE: str(listing)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=sys.stderr)
    return set(listing.read_text().splitlines())


def select(kind: str, lines: Iterable[str]) -> Iterator[str]:
    """Return the lines of a kind."""
    return (line for line in lines if line.startswith(f"{kind}\t"))


def weigh(line: str) -> int:
    """Return how many a line counts for."""
    return int(line.rpartition("\t")[2])


# --- the plugin of a run that counts --------------------------------------------------------------------------------


def pytest_collection() -> None:
    """Make paths list their points instead of being disturbed, before the tests import the disturbers."""
    if LISTING_VARIABLE not in os.environ:
        return
    from tests.crash_points import enumeration

    count_events = enumeration.count_events

    def list_points(path: Any, points: Any, numbers: Iterable[int], by: str) -> Iterator[Any]:
        for number in numbers:
            what = f"{by} {points[number - 1]}"
            note_point(path, number, what)
            yield enumeration.Verdict(point=number, what=what, problems=[])

    def list_events(
        path: Any, failures: Any, matches: Any, *, part: int = 0, parts: int = 1, in_every_way: bool = False
    ) -> Iterator[Any]:
        for number in range(part + 1, count_events(path, matches) + 1, parts):
            for failure in failures if in_every_way else (failures[number // parts % len(failures)],):
                note_point(path, number, failure.name)
                yield enumeration.Verdict(point=number, what=failure.name, problems=[])

    enumeration.kill_everywhere = partial(list_points, by="killed before")
    enumeration.freeze_everywhere = partial(list_points, by="frozen before")
    enumeration.fail_everywhere = list_events


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the tests that walk paths; the others are counted by their names."""
    if LISTING_VARIABLE not in os.environ:
        return
    walks = [item for item in items if "/crash_points/" in item.nodeid and "check" in getattr(item, "fixturenames", ())]
    for item in items:
        note(list_proofs_of(item.nodeid))
    config.hook.pytest_deselected(items=[item for item in items if item not in walks])
    items[:] = walks


def note(lines: Iterable[str]) -> None:
    """Add to the listing; the processes of a run share it."""
    with Path(os.environ[LISTING_VARIABLE]).open("a") as listing:
        listing.writelines(f"{line}\n" for line in lines)


def note_point(path: Any, number: int, what: str) -> None:
    """Add a crash point of the path that the running test walks, on the databases that it runs on."""
    test = os.environ["PYTEST_CURRENT_TEST"]
    databases = "four" if re.search(r"\bfour\b", test) else "one"
    # A savepoint's name contains the thread.
    note([f"crash points\t{databases}, {path.name}, {number}: {re.sub(r's[0-9]+_x', 's_x', what)}\t1"])


def list_proofs_of(nodeid: str) -> Iterator[str]:
    """Return the proofs of a test by its name: its schedules, or its removed rule."""
    if any(part in nodeid for part in CONTROLS) and "scenario_passes" not in nodeid:
        yield f"negative controls\t{nodeid}\t1"
    if any(part in nodeid for part in RULES):
        yield f"removed rules\t{nodeid}\t1"
    if any(part in nodeid for part in SCHEDULES):
        yield f"schedules\t{nodeid}\t{read_states(nodeid)}"
    if MACHINE in nodeid:
        from tests.random_schedules.test_machine import EXAMPLES

        yield f"schedules\t{nodeid}\t{EXAMPLES}"


def read_states(nodeid: str) -> int:
    """Return from the page the number of states of a model search, which its test compares."""
    name = nodeid.partition("[")[2].removesuffix("]")
    cells = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {name} |")).split("|")
    return int(cells[-2 if "all_rules" in nodeid else -4].replace(",", ""))


if __name__ == "__main__":
    sys.exit(main())
