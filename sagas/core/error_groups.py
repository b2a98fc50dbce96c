"""Tell which failures are the same one: step, direction, exception class and what its message says apart from values.

Pure: no Django import. The identify_group is stored with each failed attempt, so that a million of them are grouped by
an index; a changed rule here gives new failures new groups and leaves the stored ones as they are.
"""

from __future__ import annotations

import hashlib
import re

from .states import Direction, Outcome

MAX_PATTERN_CHARS = 300
GROUP_CHARS = 16
QUOTED = re.compile(r"(?<!\w)'[^']{0,200}'(?!\w)|\"[^\"]{0,200}\"|`[^`]{0,200}`|«[^»]{0,200}»|“[^”]{0,200}”")
WORD = re.compile(r"[\w.:+\-/@%=&?~]+")
HEX = re.compile(r"[0-9a-fA-F]{8,}")
# What failed, as opposed to what is still being worked on.
FAILED = frozenset(Outcome) - {Outcome.SUCCEEDED, Outcome.IN_PROGRESS}


def describe_pattern(message: str) -> str:
    """Return a message without what differs from case to case: quoted text, numbers, ids, addresses, hexadecimals."""
    text = " ".join(message[: 4 * MAX_PATTERN_CHARS].split())
    return WORD.sub(_replace_word, QUOTED.sub("'…'", text))[:MAX_PATTERN_CHARS]


def identify_group(definition: str, step: str, direction: Direction, error_class: str, message: str) -> str:
    """Return the key of the group that a failure belongs to."""
    parts = (definition, step, direction.value, error_class, describe_pattern(message))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:GROUP_CHARS]


def _replace_word(found: re.Match[str]) -> str:
    """Return ``#`` for a word with a digit in it: ORD-17, pi_3Nx, 10.0.0.1:5432, 2026-11-20T03:00:00Z."""
    word = found[0]
    is_value = any(char.isdigit() for char in word) or HEX.fullmatch(word) is not None
    return f"#{word[len(word.rstrip('.:')) :]}" if is_value else word
