"""Text from data, made safe to show on a terminal: whatever is invisible becomes an escape that can be read.

A text that somebody else wrote must not move the cursor, rename the window, reverse the reading direction or break the
line of a table. Letters, marks, digits, symbols and spaces of every script stay as they are. Pure: no Django import.
"""

from __future__ import annotations

import re
import unicodedata

from .visible import count_visible, is_hidden

SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
NOT_PLAIN = re.compile(r"[^\x20-\x7e\n]")
# The medial vowels and final consonants of Hangul are drawn into the syllable before them.
JOINED_JAMO = range(0x1160, 0x1200)
CUT = "…"


def escape(text: str, *, keep: str = "") -> str:
    """Return a text with every invisible character as an escape such as ``\\x1b`` or ``\\u202e``.

    ``keep``: characters that stay as they are, such as a newline.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if character in keep else _show(character) for character in text)


def escape_json(text: str) -> str:
    """Return the same JSON document in plain ASCII, so that no terminal acts on it and any encoding can carry it."""
    return NOT_PLAIN.sub(lambda found: _escape_for_json(found[0]), text)


def has_visible(text: str) -> bool:
    """Tell whether a text shows anything at all."""
    return count_visible(text) > 0


def measure(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_measure_one, text))


def cut(text: str, columns: int) -> str:
    """Return a text that takes no more columns, with an ellipsis where its end is missing."""
    if len(text) <= columns and text.isascii():
        return text
    kept, used = 0, 0
    for character in text:
        used += _measure_one(character)
        if used > columns:
            break
        kept += 1
    else:
        return text
    while kept and measure(text[:kept]) > columns - 1:
        kept -= 1
    return text[:kept] + CUT


def pad(text: str, columns: int) -> str:
    """Return a text with spaces up to a number of columns."""
    return text + " " * (columns - measure(text))


def take_first_line(text: str, *, at_most: int | None = None) -> str:
    """Return the first line of a text that has one, cut after ``at_most`` characters."""
    line = text.strip("\r\n").partition("\n")[0].rstrip("\r")
    return line if at_most is None or len(line) <= at_most else line[: at_most - 1] + CUT


def _show(character: str) -> str:
    if not is_hidden(character):
        return character
    code = ord(character)
    if character in SHORT_ESCAPES:
        return SHORT_ESCAPES[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape_for_json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _measure_one(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me") or ord(character) in JOINED_JAMO:
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
