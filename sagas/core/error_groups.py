"""Failure groups: failures with the same definition, step, direction, exception class and message apart from values.

Pure: no Django import. The group's key is stored with each failed attempt, so that an index groups millions of them. A
changed rule here gives new failures new groups and leaves the stored ones unchanged.
"""

import hashlib
import re

from .states import Direction, Outcome

MAX_PATTERN_CHARS = 300
GROUP_CHARS = 16
QUOTED = re.compile(r"(?<!\w)'[^']{0,200}'(?!\w)|\"[^\"]{0,200}\"|`[^`]{0,200}`|«[^»]{0,200}»|“[^”]{0,200}”")
WORD = re.compile(r"[\w.:+\-/@%=&?~]+")
HEX = re.compile(r"[0-9a-fA-F]{8,}")
# Outcomes that count as failures; a step in progress has not failed.
FAILED = frozenset(Outcome) - {Outcome.SUCCEEDED, Outcome.IN_PROGRESS}


def describe_pattern(message: str) -> str:
    """Return a message without its variable parts: quoted text, numbers, ids, addresses, hexadecimals."""
    text = " ".join(message[: 4 * MAX_PATTERN_CHARS].split())
    return WORD.sub(_replace_word, QUOTED.sub("'…'", text))[:MAX_PATTERN_CHARS]


def identify_group(definition: str, step: str, direction: Direction, error_class: str, message: str) -> str:
    """Return the key of a failure's group."""
    parts = (definition, step, direction.value, error_class, describe_pattern(message))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:GROUP_CHARS]


def _replace_word(found: re.Match[str]) -> str:
    """Return ``#`` for a word with a digit or a hexadecimal one: ORD-17, pi_3Nx, 10.0.0.1:5432, deadbeef."""
    word = found[0]
    is_value = any(char.isdigit() for char in word) or HEX.fullmatch(word) is not None
    return f"#{word[len(word.rstrip('.:')) :]}" if is_value else word
