"""Import contracts: kept, and violations are detected."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from config.local.runtime import ROOT

PACKAGES = ("benchmarks", "config", "examples", "inventory", "orders", "payments", "sagas", "shipping")

# One forbidden import for each contract: the file it is planted in, and the line.
PLANTED = {
    "No app imports config, the examples or the benchmarks": ("orders/numbers.py", "import config.routers"),
    "The engine knows no project": ("sagas/clock.py", "import environ"),
    "The REST framework is for the API alone": ("sagas/databases.py", "import rest_framework"),
    "The core needs no Django": ("sagas/core/planner.py", "import django.utils.timezone"),
    "Rooms: imports go down only": ("sagas/models/choices.py", "import sagas.engine"),
    "The engine inside: imports go down only": ("sagas/engine/notify/eager.py", "import sagas.engine.claim"),
    "The console inside: imports go down only": ("sagas/admin/ui/excerpt.py", "import sagas.admin.saga_admin"),
    "The operators' room inside: imports go down only": ("sagas/operators/actor.py", "import sagas.operators.bulk"),
    "Participants know one another by their events alone": ("payments/money.py", "import shipping.states"),
    "Participants know the orders by their events alone": ("inventory/exceptions.py", "import orders.numbers"),
    "Events know nothing of their apps": ("inventory/events.py", "import inventory.models"),
    "The orders use participants by their services, exceptions and events alone": (
        "orders/transitions.py",
        "import payments.models",
    ),
    "Who can write a saga is known": ("sagas/operators/queries/summary.py", "import sagas.engine.store.unit_of_work"),
}


def read_contracts() -> list[str]:
    """Return the names of the contracts."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [contract["name"] for contract in project["tool"]["importlinter"]["contracts"]]


def lint(directory: Path) -> tuple[int, dict[str, str]]:
    """Check the contracts of a checkout.

    Returns: the exit code, and KEPT or BROKEN by contract.
    """
    program = str(Path(sys.executable).with_name("lint-imports"))
    done = subprocess.run(
        [program, "--no-cache", "--no-logo"], cwd=directory, capture_output=True, text=True, check=False
    )
    found = re.findall(r"^(.+) (KEPT|BROKEN)(?: \(.*\))?$", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    return done.returncode, dict(found)


def test_every_contract_is_kept() -> None:
    exit_code, verdicts = lint(ROOT)

    assert verdicts == dict.fromkeys(read_contracts(), "KEPT")
    assert exit_code == 0


def test_every_contract_detects_a_violation(tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for place, line in PLANTED.values():
        with (tmp_path / place).open("a") as module:
            module.write(f"\n{line}\n")

    exit_code, verdicts = lint(tmp_path)

    assert verdicts == dict.fromkeys(PLANTED, "BROKEN")
    assert set(PLANTED) == set(read_contracts())
    assert exit_code == 1


@pytest.mark.parametrize(
    "module", ["sagas", "sagas.core.planner", "sagas.core.definition.saga", "sagas.core.definition.context"]
)
def test_core_is_importable_without_django(module: str) -> None:
    program = f"import sys, {module}; sys.exit('django' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
