"""Custom user models together with ``ATOMIC_REQUESTS``."""

import os
import subprocess
import sys

import pytest

from config.local.runtime import ROOT

WITHIN_SECONDS = 240


@pytest.mark.parametrize("model", ["people.Person", "people.Member"])
def test_operators_work_with_any_user_model(model: str) -> None:
    environment = {**os.environ, "ACCOUNTS_MODEL": model, "DJANGO_SETTINGS_MODULE": "tests.accounts.settings"}
    done = subprocess.run(
        [sys.executable, "-m", "django", "test", "tests.accounts.cases"],
        cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=WITHIN_SECONDS,
        check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ran 5 tests" in done.stderr
