"""Lay small bar charts out; templates turn them into SVG. Every chart stands beside a table with the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GAP = 1.0
LEAST_HEIGHT = 1.5  # so that one among a thousand is still seen


@dataclass(frozen=True, kw_only=True)
class Bar:
    """Be one bar."""

    x: str
    y: str
    width: str
    height: str
    label: str
    """What it stands for, and how much it is."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Be a chart."""

    width: int
    height: int
    bars: tuple[Bar, ...]
    rows: tuple[tuple[str, str], ...]
    """The same as a table: what, how much."""
    summary: str
    """The same in a sentence, for those who do not see it."""


def draw_bars(
    values: Sequence[float],
    labels: Sequence[str],
    texts: Sequence[str] | None = None,
    *,
    width: int = 120,
    height: int = 28,
    summary: str = "",
) -> Chart:
    """Return a chart of bars from the left to the right; ``texts`` are the values as people read them."""
    shown = list(texts) if texts is not None else [f"{value:g}" for value in values]
    top = max([value for value in values if value > 0], default=0.0)
    step = width / max(len(values), 1)
    bars = []
    for place, value in enumerate(values):
        if value <= 0:
            continue
        size = max(value / top * height, LEAST_HEIGHT)
        bars.append(
            Bar(
                x=f"{place * step:.2f}",
                y=f"{height - size:.2f}",
                width=f"{max(step - GAP, 0.5):.2f}",
                height=f"{size:.2f}",
                label=f"{labels[place]}: {shown[place]}",
            )
        )
    rows = tuple(zip(labels, shown, strict=True))
    return Chart(width=width, height=height, bars=tuple(bars), rows=rows, summary=summary)
