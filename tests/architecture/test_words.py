"""Vocabulary: home-made words for terms of the field do not come back."""

import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

from config.local.runtime import ROOT

# The word, and the field's term.
HOME_MADE = {
    "deed": "operation", "deeds": "operations", "doorbell": "wakeup", "fingerprint": "failure group",
    "fingerprints": "failure groups", "foresee": "simulate", "journal": "unit of work", "prospects": "simulation",
    "ring": "wakeup", "ringing": "sending", "rings": "wakeups", "rung": "woken", "seal": "signature",
    "sealed": "signed", "seals": "signatures", "unsealed": "unsigned", "vitals": "liveness",
}  # fmt: skip
PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
TEXTS = ("*.md", "*.html", "*.toml", "*.yaml", "*.js", "*.css", ".env.example")
ITSELF = Path("tests/architecture/test_words.py")


def list_files(*patterns: str) -> Iterator[Path]:
    """Yield the matching files of the repository, except this one."""
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    yield from (ROOT / name for name in listed.stdout.splitlines() if Path(name) != ITSELF)


def find_in_identifiers(source: str) -> Iterator[str]:
    """Yield each identifier of Python code that contains a home-made word."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and any(part.lower() in HOME_MADE for part in PART.findall(token.string)):
            yield token.string


def find_in_text(text: str) -> Iterator[str]:
    """Yield each home-made word of a text."""
    yield from (word for word in re.findall(r"[A-Za-z]+", text) if word.lower() in HOME_MADE)


def test_no_identifier_has_a_home_made_word() -> None:
    found = {path.relative_to(ROOT): {*find_in_identifiers(path.read_text())} for path in list_files("*.py")}

    assert len(found) > 500
    assert {path: names for path, names in found.items() if names} == {}


def test_no_page_or_template_has_a_home_made_word() -> None:
    found = {path.relative_to(ROOT): {*find_in_text(path.read_text())} for path in list_files(*TEXTS)}

    assert len(found) > 60
    assert {path: words for path, words in found.items() if words} == {}


def test_home_made_word_would_be_found() -> None:
    assert list(find_in_identifiers("def ring_all(last_deed): return SealKey")) == ["ring_all", "last_deed", "SealKey"]
    assert list(find_in_identifiers("string = during(ordering)")) == []
    assert list(find_in_text("The Doorbell was rung.")) == ["Doorbell", "rung"]
