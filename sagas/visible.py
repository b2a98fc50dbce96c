"""Make visible what a text hides: controls, marks that turn the direction of writing around, and what has no width.

Texts from outside (errors, business keys, reasons, names) are stored as they came, and shown so that none can pass for
another one. Pure Python, for every place that shows texts to people.
"""

from __future__ import annotations

import unicodedata

# Not counted as unprintable by Unicode's categories, and still nothing is seen of them: fillers, blank letters, the
# joiner and the selectors of variants. Source: Unicode 15, Default_Ignorable_Code_Point, and U+2800.
BLANK = frozenset(
    map(
        chr,
        (
            0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2800, 0x3164, *range(0xFE00, 0xFE10),
            0xFFA0, 0x16FE4, *range(0xE0100, 0xE01F0),
        ),
    )
)  # fmt: skip
LINES = frozenset("\n\t")
SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def show_invisible(text: str, *, keep_lines: bool = False) -> str:
    r"""Return a text with an escape such as ``\u202e`` for each character that nobody could see.

    Escapes are those of JSON, so that JSON text stays what it was. ``keep_lines``: whether line ends and tabs stay, for
    texts that stand in a block of their own. A mark that would be put on top of what stands before the text is shown as
    an escape, too.
    """
    if text.isascii() and text.isprintable():
        return text
    kept = LINES if keep_lines else frozenset()
    shown = [letter if letter in kept or not is_hidden(letter) else _escape(letter) for letter in text]
    if text and unicodedata.category(text[0]).startswith("M"):
        shown[0] = _escape(text[0])
    return "".join(shown)


def is_hidden(letter: str) -> bool:
    """Tell whether nobody could see a character, or tell it from none."""
    if letter in BLANK:
        return True
    return not letter.isprintable() and unicodedata.category(letter) != "Zs"


def count_visible(text: str) -> int:
    """Return how many characters of a text can be seen by themselves: no blanks, nothing hidden, no combining marks."""
    return sum(1 for letter in text if unicodedata.category(letter)[0] not in "CMZ" and letter not in BLANK)


def _escape(letter: str) -> str:
    if letter in SHORT:
        return SHORT[letter]
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))
