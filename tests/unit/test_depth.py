"""Coverage of tests marked ``full``: each is part of a full run."""

import subprocess
from pathlib import Path

from config.local.runtime import ROOT

TARGETS = ("test-faults", "chaos", "test-matrix")
MARK = "pytest.mark." + "full"


def test_every_module_with_full_tests_is_part_of_a_full_run() -> None:
    planned = subprocess.run(
        ["make", "--dry-run", *TARGETS], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    runs = [line.partition(" -n ")[2].split()[1:] for line in planned.splitlines() if line.startswith("CHAOS=full")]
    places = [Path(place) for run in runs for place in run]
    modules = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py") if MARK in path.read_text()]

    assert len(runs) == len(TARGETS)
    assert len(modules) > 10
    assert [module for module in modules if not any(module.is_relative_to(place) for place in places)] == []
