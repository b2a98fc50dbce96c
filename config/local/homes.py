"""Directories of servers, inside the checkout and outside of it, and what dead runs of this checkout left there.

Each outside is labelled with the checkout it belongs to. A lock is held on it by whoever made it and by the server that
works in it, so that a directory in use is never taken for a leftover, whoever was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .runtime import ROOT

# A socket's path has room for about 100 bytes, and the temporary directory of macOS alone takes half of it.
SHORT_DIRECTORY = Path("/tmp")  # noqa: S108
LASTING_DIRECTORY = Path("/var/tmp")  # noqa: S108
PREFIX = "sagas-"
LABEL, LOCK = "label.json", "lock"

# Locks that this process holds.
_held: dict[Path, int] = {}


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A directory of this checkout that stands outside of it.

    path: where. is_lasting: whether it holds data that the next demo goes on with.
    """

    path: Path
    is_lasting: bool


def create_home(parent: Path, *, is_lasting: bool = False) -> Path:
    """Create a new directory for a server of this checkout, and take away what dead runs of it left."""
    remove_leftovers()
    home = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    hold(home)
    (home / LABEL).write_text(json.dumps({"checkout": str(ROOT), "is_lasting": is_lasting}))
    return home


def hold(home: Path) -> None:
    """Keep a directory from being taken for a leftover for as long as this process lives."""
    if home not in _held:
        descriptor = os.open(home / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        _held[home] = descriptor


def let_go(home: Path) -> None:
    """Leave a directory to the server that works in it."""
    os.close(_held.pop(home))


def remove_leftovers(*, lasting: bool = False) -> list[Path]:
    """Remove the directories of this checkout that nobody uses any more; those with lasting data only when asked.

    Returns: what was removed.
    """
    removed = []
    for leftover in find_homes():
        if leftover.is_lasting and not lasting:
            continue
        with locked_for_removal(leftover.path) as is_free:
            if is_free:
                shutil.rmtree(leftover.path, ignore_errors=True)
                removed.append(leftover.path)
    return removed


def find_homes() -> list[Leftover]:
    """Find every directory outside of the checkout that is labelled with it; nobody else's label is believed."""
    found = []
    for parent in sorted({SHORT_DIRECTORY, LASTING_DIRECTORY, Path(tempfile.gettempdir())}):
        for path in sorted(parent.glob(f"{PREFIX}*")):
            if not is_own(path):
                continue
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                label = json.loads((path / LABEL).read_text())
                if label["checkout"] == str(ROOT):
                    found.append(Leftover(path=path, is_lasting=bool(label["is_lasting"])))
    return found


@contextlib.contextmanager
def locked_for_removal(home: Path) -> Iterator[bool]:
    """Lock a directory against use.

    Returns: whether nobody uses it.
    """
    try:
        descriptor = os.open(home / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        # Somebody else has just removed it.
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def is_own(directory: Path) -> bool:
    """Return whether a directory is still there and no other one or link has taken its place."""
    try:
        return directory.is_dir() and not directory.is_symlink() and directory.lstat().st_uid == os.geteuid()
    except OSError:
        return False
