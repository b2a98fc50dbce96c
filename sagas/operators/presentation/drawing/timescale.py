"""Mapping of time to pixels: a true scale where attempts run, long gaps cut out and marked.

Without the cuts a saga that was tried for a second and then hourly for a day would be one dot and an empty line.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH = 720.0  # pixels, cuts included; fits a laptop beside the admin's menu
MIN_WIDTH = 340.0  # pixels for the uncut parts, however many cuts there are
LONG = 20  # a gap this many times the usual span (the lower quartile) is long
TOUCHING = 5.0  # pixels; starts that are closer to one another cannot be distinguished
CROWDED = 0.25  # the share of such starts from which on cuts are worth an untrue scale
MIN_SPAN = 0.001  # seconds; an attempt that takes no time still has a width
MAX_CUTS = 40
WIDE_CUT, NARROW_CUT, MANY_CUTS = 44.0, 14.0, 10  # pixels of a cut with its length in words, without, and when
STEPS = (
    *(base * 10.0**power for power in range(-3, 1) for base in (1, 2, 5)),
    10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 21600.0, 43200.0, 86400.0,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Time span that is drawn or cut out."""

    start: float
    """Seconds."""
    end: float
    """Seconds."""
    left: float
    """Pixels."""
    right: float
    """Pixels."""
    is_cut: bool
    """Whether it is cut out and only marked."""


@dataclass(frozen=True, kw_only=True)
class TimeScale:
    """Axis: times in seconds to pixels from 0."""

    stretches: tuple[Stretch, ...]
    """In order, without holes."""

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.stretches[-1].right

    @property
    def tick(self) -> float:
        """Seconds between two ticks that leave room for their labels."""
        drawn = next((stretch for stretch in self.stretches if not stretch.is_cut), None)
        if drawn is None:
            return STEPS[-1]
        seconds = (drawn.end - drawn.start) / (drawn.right - drawn.left) * 90
        return next((step for step in STEPS if step >= seconds), max(STEPS[-1], seconds))

    def place(self, moment: float) -> float:
        """Return the pixel of a time; outside of the scale, its nearest end."""
        starts = [stretch.start for stretch in self.stretches]
        stretch = self.stretches[max(0, bisect_right(starts, moment) - 1)]
        share = (moment - stretch.start) / max(stretch.end - stretch.start, MIN_SPAN)
        return stretch.left + min(1.0, max(0.0, share)) * (stretch.right - stretch.left)


def fit_scale(spans: Iterable[tuple[float, float]], begin: float, end: float) -> TimeScale:
    """Return a scale from ``begin`` to ``end`` on which the spans can be distinguished.

    It is true from end to end if that is enough; otherwise long gaps are cut out.
    """
    end = max(end, begin + MIN_SPAN)
    ran = sorted((min(end, max(begin, start)), min(end, max(begin, stop))) for start, stop in spans)
    cuts = _choose_cuts(ran, begin, end) if _is_crowded(ran, (end - begin) / WIDTH) else []
    return TimeScale(stretches=tuple(_lay_out(cuts, begin, end)))


def _is_crowded(ran: Sequence[tuple[float, float]], seconds_per_pixel: float) -> bool:
    steps = [other[0] - one[0] for one, other in pairwise(ran)]
    touching = sum(step < TOUCHING * seconds_per_pixel for step in steps)
    return bool(steps) and touching >= CROWDED * len(steps)


def _choose_cuts(ran: Sequence[tuple[float, float]], begin: float, end: float) -> list[tuple[float, float]]:
    gaps = list(_list_gaps(ran, begin, end))
    long = _list_long(gaps, [*gaps, *ran])
    if len(long) > MAX_CUTS:
        # So many gaps are the rule, not the exception: only gaps that are long among gaps count.
        long = _list_long(gaps, gaps)
    return sorted(sorted(long, key=lambda gap: gap[0] - gap[1])[:MAX_CUTS])


def _list_long(gaps: Iterable[tuple[float, float]], usual: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    lengths = sorted(stop - start for start, stop in usual if stop > start)
    limit = LONG * max(MIN_SPAN, lengths[(len(lengths) - 1) // 4] if lengths else 0)
    return [gap for gap in gaps if gap[1] - gap[0] > limit]


def _list_gaps(ran: Sequence[tuple[float, float]], begin: float, end: float) -> Iterator[tuple[float, float]]:
    reached = begin
    for start, stop in ran:
        if start > reached:
            yield reached, start
        reached = max(reached, stop)
    if end > reached:
        yield reached, end


def _lay_out(cuts: Sequence[tuple[float, float]], begin: float, end: float) -> Iterator[Stretch]:
    drawn = max(MIN_SPAN, end - begin - sum(stop - start for start, stop in cuts))
    cut_width = WIDE_CUT if len(cuts) <= MANY_CUTS else NARROW_CUT
    width = max(MIN_WIDTH, WIDTH - len(cuts) * cut_width)
    reached, x = begin, 0.0
    for start, stop in cuts:
        if start > reached:
            right = x + (start - reached) / drawn * width
            yield Stretch(start=reached, end=start, left=x, right=right, is_cut=False)
            x = right
        yield Stretch(start=start, end=stop, left=x, right=x + cut_width, is_cut=True)
        reached, x = stop, x + cut_width
    if end > reached or not cuts:
        yield Stretch(start=reached, end=end, left=x, right=x + (end - reached) / drawn * width, is_cut=False)
