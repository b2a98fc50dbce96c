"""Tables for a terminal: aligned by what is seen, and no wider than there is room for.

Pure: no Django import.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .visible_text import cut, escape, measure, pad

GAP = "  "
MAX_CELL_CHARS = 10_000


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column, given in the order of its importance."""

    title: str
    least: int | None = None
    """How far its cells may be cut; None: never. Units: columns of the terminal."""


def describe_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Return a table as lines; each cell is one line of visible characters.

    ``width``: columns of the terminal; None: as many as it takes. The first column is always there; each further one
    is if there is room for the least that it needs, and what is left widens the first of those that were cut.
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
    """Return the width of each column that is shown, by its place."""
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
