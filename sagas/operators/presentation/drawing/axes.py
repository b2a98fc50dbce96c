"""Axes of charts: round ticks on a linear or a logarithmic scale. Units: values of time in seconds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from .timescale import STEPS

TICKS = 4  # parts of an axis, so that labels have room
MAX_LOG_TICKS = 6
DAY = 86_400.0
UNITS = ((DAY, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
# At least six times apart, so that no two labels of a logarithmic axis touch.
LADDER = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, *(DAY * 10.0**power for power in range(40)))
LARGE = ((1e12, "tn"), (1e9, "bn"), (1e6, "m"), (1e3, "k"))


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Scale of values, from its first tick to its last."""

    ticks: tuple[tuple[float, str], ...]
    """Values in order, with their labels."""
    is_log: bool = False
    """Whether equal distances are equal ratios."""

    def place(self, value: float) -> float:
        """Return the share of the axis at a value, from 0 to 1; values beyond an end are at that end."""
        low, high = self.ticks[0][0], self.ticks[-1][0]
        inside = min(max(value, low), high)
        if self.is_log:
            return log10(inside / low) / log10(high / low)
        return (inside - low) / (high - low)


def fit_counts(highest: float) -> Axis:
    """Return an axis from 0 for whole numbers."""
    return _fit_linear(highest, _round_up(max(1.0, highest / TICKS)), name_count)


def fit_spans(highest: float) -> Axis:
    """Return an axis from 0 for spans of time; its ticks are round on a clock."""
    wanted = max(1.0, highest / TICKS)
    step = next((step for step in STEPS if step >= wanted), 0.0) or DAY * _round_up(wanted / DAY)
    return _fit_linear(highest, step, name_span)


def fit_log_spans(spans: Sequence[float]) -> Axis:
    """Return a logarithmic axis that contains spans of time; a shorter one than its first tick is drawn there."""
    lowest, highest = (min(spans), max(spans)) if spans else (1.0, 60.0)
    first = max((place for place, tick in enumerate(LADDER) if tick <= lowest), default=0)
    last = next((place for place, tick in enumerate(LADDER) if tick >= highest), len(LADDER) - 1)
    length = max(1, last - first)
    every = ceil(length / (MAX_LOG_TICKS - 1))
    last = min(first + every * ceil(length / every), len(LADDER) - 1)
    places = [*range(min(first, last - 1), last, every), last]
    return Axis(ticks=tuple((LADDER[place], name_span(LADDER[place])) for place in places), is_log=True)


def name_count(value: float) -> str:
    """Return a round number in a few characters."""
    for size, name in LARGE:
        if value >= size * (1 if size > 1e3 else 10):
            return f"{value / size:.4g}{name}"
    return f"{value:,.0f}"


def name_span(seconds: float) -> str:
    """Return a round span of time in its largest unit."""
    for size, name in UNITS:
        if seconds >= size:
            return f"{name_count(seconds / size) if seconds >= 10_000 * size else f'{seconds / size:g}'} {name}"
    return f"{seconds * 1000:g} ms" if seconds else "0"


def _fit_linear(highest: float, step: float, name: Callable[[float], str]) -> Axis:
    count = max(1, ceil(highest / step))
    return Axis(ticks=tuple((place * step, name(place * step)) for place in range(count + 1)))


def _round_up(value: float) -> float:
    """Return the next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** floor(log10(value))
    return next(base * power for base in (1, 2, 5, 10) if base * power >= value * (1 - 1e-9))
