"""Write the locks: exact versions with hashes for every platform, and no word about where they came from."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# The demo needs few packages and installs fast. The others hold the same versions: the image without the local servers;
# for developers only what the demo lacks, so that both can be installed at once.
LOCKS = {
    "demo": ["shop", "local"],
    "image": ["shop", "stripe"],
    "dev": ["shop", "local", "metrics", "stripe", "test", "dev", "docs"],
}
ADDRESS = re.compile(r"https?://|file://|--(extra-)?index-url|--find-links|^-[if] ", re.MULTILINE)


def main() -> int:
    """Resolve every lock, the demo's first, and refuse one that holds an address.

    Returns: 0, or 1 when an address was found.
    """
    constraints: list[str] = []
    for name, extras in LOCKS.items():
        lock = ROOT / "requirements" / f"{name}.lock"
        write_lock(lock, extras, constraints)
        if name == "dev":
            leave_out(lock, ROOT / "requirements" / "demo.lock")
        if found := ADDRESS.search(lock.read_text()):
            sys.stderr.write(f"{lock} contains a URL or an index option: {found.group()}\n")
            return 1
        constraints += ["--constraints", str(lock)]
    return 0


def write_lock(lock: Path, extras: list[str], constraints: list[str]) -> None:
    """Resolve one set of extras for Python 3.11 and newer on every platform."""
    command = [
        sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--universal", "--python-version", "3.11",
        "--generate-hashes", "--upgrade", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links",
        "--quiet", *constraints, *(f"--extra={extra}" for extra in extras),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S603
    lock.write_text(done.stdout)


def leave_out(lock: Path, other: Path) -> None:
    """Leave out of a lock what another one holds."""
    held = set(split_entries(other))
    lock.write_text("".join(entry for entry in split_entries(lock) if entry not in held))


def split_entries(lock: Path) -> list[str]:
    """Return the entries of a lock, each a package with its hashes."""
    return re.split(r"^(?=\S)", lock.read_text(), flags=re.MULTILINE)


if __name__ == "__main__":
    sys.exit(main())
