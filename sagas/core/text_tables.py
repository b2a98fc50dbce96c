"""Tables for a terminal, aligned by displayed width and no wider than the terminal.

Pure: no Django import.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from .visible import CUT, escape

GAP = "  "
MAX_CELL_CHARS = 10_000
# Medial vowels and final consonants of Hangul are drawn as part of the syllable before them.
JOINED_JAMO = range(0x1160, 0x1200)


@dataclass(frozen=True, kw_only=True)
class Column:
    """Column of a table; columns are given in order of importance."""

    title: str
    least: int | None = None
    """The width to which cells may be cut; None: never. Units: columns of the terminal."""


def describe_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Return a table as lines; each cell is one line of visible characters.

    ``width``: columns of the terminal; None: no limit. The first column is always shown. Each further one is shown if
    its least width fits, and the remaining width goes to cut columns, in order.
    """
    cells = [[column.title for column in columns]]
    cells += [[escape(cell[:MAX_CELL_CHARS]) for cell in row] for row in rows]
    natural = [max(measure(row[place]) for row in cells) for place in range(len(columns))]
    widths = dict(enumerate(natural)) if width is None else _fit(columns, natural, width)
    return [
        GAP.join(pad(cut(row[place], columns_wide), columns_wide) for place, columns_wide in widths.items()).rstrip()
        for row in cells
    ]


def _fit(columns: Sequence[Column], natural: Sequence[int], width: int) -> dict[int, int]:
    """Return the width of each shown column by its place."""
    chosen: dict[int, int] = {}
    spare = width
    for place, column in enumerate(columns):
        need = natural[place] if column.least is None else min(natural[place], column.least)
        taken = need + (len(GAP) if chosen else 0)
        if not chosen or taken <= spare:
            chosen[place] = need
            spare -= taken
    for place, need in chosen.items():
        more = max(0, min(natural[place] - need, spare))
        chosen[place] += more
        spare -= more
    return chosen


def measure(text: str) -> int:
    """Return how many columns of a terminal a text occupies."""
    return len(text) if text.isascii() else sum(map(_measure_one, text))


def cut(text: str, columns: int) -> str:
    """Return a text cut to at most ``columns`` columns, with an ellipsis for the missing end."""
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
    """Return a text padded with spaces to ``columns`` columns."""
    return text + " " * (columns - measure(text))


def _measure_one(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me") or ord(character) in JOINED_JAMO:
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
