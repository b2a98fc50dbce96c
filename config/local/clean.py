"""Removal of leftovers of this checkout's demo and tests: ``make clean``. Stops nothing, needs nothing installed."""

import fcntl
import os
import shutil
import sys
from pathlib import Path

from .homes import PREFIX, find_homes, is_own, locked_for_removal, remove_leftovers
from .runtime import VAR

POSTGRES = "postgres"


def main() -> int:
    """Remove the directories outside of the checkout and ``var/``, unless they are in use.

    Returns: 0 if nothing is left, 1 if something is in use.
    """
    if is_demo_running():
        print("A demo of this checkout is running; nothing was removed. Stop it with Ctrl-C in its terminal.")
        return 1
    removed = remove_leftovers(lasting=True)
    removed += remove_unlabelled()
    in_use = [leftover.path for leftover in find_homes()]
    if VAR.is_dir():
        with locked_for_removal(VAR / POSTGRES) as is_free:
            if is_free or not (VAR / POSTGRES).exists():
                removed += [path for path in VAR.iterdir() if remove(path)]
            else:
                in_use.append(VAR / POSTGRES)
    for path in removed:
        print(f"Removed {path}")
    for path in in_use:
        print(f"In use, not removed: {path}")
    return int(bool(in_use))


def is_demo_running() -> bool:
    """Return whether the demo holds its lock."""
    try:
        descriptor = os.open(VAR / "demo.lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def remove_unlabelled() -> list[Path]:
    """Remove unlabelled data of an earlier version outside the checkout, found by the note beside ``var/postgres``."""
    note = VAR / f"{POSTGRES}.location"
    if not note.exists():
        return []
    home = Path(note.read_text())
    if not home.name.startswith(PREFIX) or not is_own(home):
        return []
    with locked_for_removal(home) as is_free:
        return [home] if is_free and remove(home) else []


def remove(path: Path) -> bool:
    """Remove a file or a directory.

    Returns: whether it is gone.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return not path.exists()


if __name__ == "__main__":
    sys.exit(main())
