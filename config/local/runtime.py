"""Remember under ``var/`` what the running demo serves on, so that commands in the same checkout find it.

Holds no Django import: the settings read this file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VAR = ROOT / "var"
RUNTIME_FILE = VAR / "runtime.json"


def read_runtime() -> dict[str, str]:
    """Read the environment of the running demo.

    Returns: variable names and values; empty when no demo is up, also when one was killed and left its file behind.
    """
    try:
        content = json.loads(RUNTIME_FILE.read_text())
        os.kill(content["pid"], 0)
    except (FileNotFoundError, ProcessLookupError, PermissionError, ValueError, KeyError, TypeError):
        return {}
    return dict(content["environment"])


def write_runtime(environment: Mapping[str, str]) -> None:
    """Publish the environment of this process's servers; only the owner may read it, it holds the SECRET_KEY."""
    VAR.mkdir(exist_ok=True)
    draft = RUNTIME_FILE.with_suffix(".draft")
    draft.touch(mode=0o600)
    draft.chmod(0o600)
    draft.write_text(json.dumps({"pid": os.getpid(), "environment": dict(environment)}))
    draft.replace(RUNTIME_FILE)


def remove_runtime() -> None:
    """Forget the servers, because they are being stopped."""
    RUNTIME_FILE.unlink(missing_ok=True)


def make_private_directory(path: Path) -> Path:
    """Create a directory that only its owner may enter, or leave an existing one as it is.

    ``var`` itself is open: as root, PostgreSQL's account must get through it to its data.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
