"""Escapes for invisible characters: controls, marks that change the writing direction, and characters without width.

Texts from outside (errors, business keys, reasons, names) are stored unchanged. They are shown so that no text can
pass for another one, move a terminal's cursor or break a table's line. Letters, marks, digits, symbols and spaces of
every script are unchanged. Pure Python, for every place that shows texts.
"""

import re
import unicodedata
from collections.abc import Callable

# Invisible, although Unicode's categories do not make them unprintable: fillers, blank letters, the grapheme joiner
# and variation selectors. Source: Unicode 15, Default_Ignorable_Code_Point, and U+2800.
BLANK = frozenset(
    map(
        chr,
        (
            0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2800, 0x3164, *range(0xFE00, 0xFE10),
            0xFFA0, 0x16FE4, *range(0xE0100, 0xE01F0),
        ),
    )
)  # fmt: skip
NOT_PRINTABLE_ASCII = re.compile(r"[^\x20-\x7e]")
NOT_PLAIN = re.compile(r"[^\x20-\x7e\n]")
CUT = "…"
SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def show_invisible(text: str, *, keep_lines: bool = False) -> str:
    r"""Return a text for a page, with an escape such as ``\u202e`` for each invisible character.

    Escapes are those of JSON, so that JSON text keeps its meaning. ``keep_lines``: keep line ends and tabs, for texts
    in a block of their own. A combining mark at the start, which would join the character before it, is escaped, too.
    """
    first = _escape_for_json(text[0]) if text and unicodedata.category(text[0]).startswith("M") else ""
    return first + _escape_hidden(text[1:] if first else text, "\n\t" if keep_lines else "", _escape_for_json)


def escape(text: str, *, keep: str = "") -> str:
    r"""Return a text for a terminal, with an escape such as ``\x1b`` or ``\u202e`` for each invisible character.

    ``keep``: characters that are not escaped, such as a newline.
    """
    return _escape_hidden(text, keep, _escape_as_python)


def escape_json(text: str) -> str:
    """Return the same JSON document in plain ASCII, on which no terminal acts and which any encoding can carry."""
    return NOT_PLAIN.sub(lambda found: _escape_for_json(found[0]), text)


def is_hidden(letter: str) -> bool:
    """Return whether a character is invisible."""
    if letter in BLANK:
        return True
    return not letter.isprintable() and unicodedata.category(letter) != "Zs"


def count_visible(text: str) -> int:
    """Return how many characters of a text are visible by themselves: no blanks, hidden or combining characters."""
    return sum(1 for letter in text if unicodedata.category(letter)[0] not in "CMZ" and letter not in BLANK)


def has_visible(text: str) -> bool:
    """Return whether a text has a visible character."""
    return count_visible(text) > 0


def take_first_line(text: str, *, at_most: int | None = None) -> str:
    """Return the first non-empty line of a text, cut to ``at_most`` characters."""
    line = text.strip("\r\n").partition("\n")[0].rstrip("\r")
    return line if at_most is None or len(line) <= at_most else line[: at_most - 1] + CUT


def _escape_hidden(text: str, keep: str, write: Callable[[str], str]) -> str:
    def write_hidden(found: re.Match[str]) -> str:
        return write(found[0]) if found[0] not in keep and is_hidden(found[0]) else found[0]

    return NOT_PRINTABLE_ASCII.sub(write_hidden, text)


def _escape_for_json(letter: str) -> str:
    if letter in SHORT:
        return SHORT[letter]
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))


def _escape_as_python(letter: str) -> str:
    code = ord(letter)
    if letter in SHORT:
        return SHORT[letter]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
