"""What `make test` leaves to full runs is run by one of them."""

import subprocess
from pathlib import Path

from config.local.runtime import ROOT

TARGETS = ("test-faults", "chaos", "test-matrix")
MARK = "pytest.mark." + "full"


def test_every_module_with_a_test_for_full_runs_is_part_of_one() -> None:
    planned = subprocess.run(
        ["make", "--dry-run", *TARGETS], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    runs = [line.partition(" -n ")[2].split()[1:] for line in planned.splitlines() if line.startswith("CHAOS=full")]
    places = [Path(place) for run in runs for place in run]
    modules = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py") if MARK in path.read_text()]

    assert len(runs) == len(TARGETS)
    assert len(modules) > 10
    assert [module for module in modules if not any(module.is_relative_to(place) for place in places)] == []
