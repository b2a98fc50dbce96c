"""File under ``var/`` with the running demo's environment, so that commands in the same checkout find its servers.

Must not import Django: the settings import this module.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VAR = ROOT / "var"
RUNTIME_FILE = VAR / "runtime.json"


def read_runtime() -> dict[str, str]:
    """Return the environment of the running demo.

    Returns: variable names and values; empty if no demo is running, even if a killed one left its file behind.
    """
    try:
        content = json.loads(RUNTIME_FILE.read_text())
        os.kill(content["pid"], 0)
    except (FileNotFoundError, ProcessLookupError, PermissionError, ValueError, KeyError, TypeError):
        return {}
    return dict(content["environment"])


def write_runtime(environment: Mapping[str, str]) -> None:
    """Write the environment of this process's servers; only the owner may read it, as it has the SECRET_KEY."""
    VAR.mkdir(exist_ok=True)
    draft = RUNTIME_FILE.with_suffix(".draft")
    draft.touch(mode=0o600)
    draft.chmod(0o600)
    draft.write_text(json.dumps({"pid": os.getpid(), "environment": dict(environment)}))
    draft.replace(RUNTIME_FILE)


def remove_runtime() -> None:
    """Remove the file, because the servers are being stopped."""
    RUNTIME_FILE.unlink(missing_ok=True)


def make_private_directory(path: Path) -> Path:
    """Create a directory that only its owner may enter; an existing one is not changed.

    ``var`` itself is accessible: when root runs the demo, PostgreSQL's account must traverse it to its data.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
