"""Directories of servers, inside and outside of the checkout, and removal of those that dead runs left.

Each directory outside is labelled with its checkout. Its creator and the server that works in it hold a lock on it, so
a directory in use is never treated as a leftover, whichever of them was killed.
"""

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

# A socket's path is limited to about 100 bytes, and the temporary directory of macOS takes half of that.
SHORT_DIRECTORY = Path("/tmp")  # noqa: S108
LASTING_DIRECTORY = Path("/var/tmp")  # noqa: S108
PREFIX = "sagas-"
LABEL, LOCK = "label.json", "lock"

# Locks that this process holds.
_held: dict[Path, int] = {}


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """Directory of this checkout, located outside of it.

    path: its location. is_lasting: whether it has data that the next demo continues to use.
    """

    path: Path
    is_lasting: bool


def create_home(parent: Path, *, is_lasting: bool = False) -> Path:
    """Create a new directory for a server of this checkout, and remove leftovers of dead runs."""
    remove_leftovers()
    home = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    hold(home)
    (home / LABEL).write_text(json.dumps({"checkout": str(ROOT), "is_lasting": is_lasting}))
    return home


def hold(home: Path) -> None:
    """Lock a directory against removal as a leftover for the lifetime of this process."""
    if home not in _held:
        descriptor = os.open(home / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        _held[home] = descriptor


def let_go(home: Path) -> None:
    """Release this process's lock of a directory, which its server still holds."""
    os.close(_held.pop(home))


def remove_leftovers(*, lasting: bool = False) -> list[Path]:
    """Remove the unused directories of this checkout; those with lasting data only if ``lasting``.

    Returns: the removed directories.
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
    """Return every directory outside of the checkout labelled with it; only the user's own directories count."""
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

    Returns: whether it is unused.
    """
    try:
        descriptor = os.open(home / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        # Another process has just removed it.
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
    """Return whether a directory exists, is no link, and belongs to the current user."""
    try:
        return directory.is_dir() and not directory.is_symlink() and directory.lstat().st_uid == os.geteuid()
    except OSError:
        return False
