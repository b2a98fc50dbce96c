"""Traces of a machine: no personal directory and no package registry in any file."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.local.runtime import ROOT

LARGEST_BYTES = 2_000_000

PERSONAL_DIRECTORY = re.compile(r"(?<![\w.$}])/(?:home|Users|root|work|workspace|mnt)/[A-Za-z]")
REGISTRY = re.compile(r"\b(?:pypi|pythonhosted|artifactory|nexus|devpi)\.[a-z]|--(?:extra-)?index-url[= ]+http", re.I)
LOCK_ADDRESS = re.compile(r"https?://|file://|--(?:extra-)?index-url|--find-links|^-[if] ", re.MULTILINE)


def list_files() -> Iterator[Path]:
    """Yield the files of the repository that git does not ignore."""
    ignored = [line.rstrip("/").rpartition("/")[2] for line in (ROOT / ".gitignore").read_text().splitlines() if line]
    waiting = [ROOT]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            if path.name == ".git" or path.name.endswith("_cache") or any(map(path.match, ignored)):
                continue
            if path.is_dir():
                waiting.append(path)
            else:
                yield path


def find_lines(pattern: re.Pattern[str]) -> list[str]:
    """Return the matches of the pattern as file:line."""
    found = []
    for path in list_files():
        if path.stat().st_size <= LARGEST_BYTES:
            lines = path.read_text(errors="replace").splitlines()
            found += [
                f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
                for number, line in enumerate(lines, start=1)
                if pattern.search(line)
            ]
    return found


def test_no_file_names_a_personal_directory() -> None:
    assert find_lines(PERSONAL_DIRECTORY) == []
    assert not any(str(ROOT) in path.read_text(errors="replace") for path in list_files())


def test_no_file_names_a_package_registry() -> None:
    assert find_lines(REGISTRY) == []


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.lock")), ids=lambda lock: lock.name)
def test_lock_contains_hashes_and_no_url(lock: Path) -> None:
    text = lock.read_text()

    assert LOCK_ADDRESS.findall(text) == []
    assert all(" \\" in line for line in text.splitlines() if re.match(r"[A-Za-z]", line))
    assert text.count("--hash=sha256:") >= text.count("==")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (PERSONAL_DIRECTORY, 'open("/home' + '/ada/notes")'),
        (PERSONAL_DIRECTORY, "see /Users" + "/ada"),
        (REGISTRY, "https://pypi" + ".example/simple"),
        (REGISTRY, "--extra-" + "index-url=https://packages.example"),
    ],
)
def test_trace_would_be_found(pattern: re.Pattern[str], text: str) -> None:
    assert pattern.search(text)
