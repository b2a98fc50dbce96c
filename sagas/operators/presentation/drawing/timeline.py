"""Timelines: a lane for each step, bars for its attempts, compensations mirrored below the axis."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from .svg import attribute, draw_picture, element, shorten, symbol_at, text_at, tooltip
from .timescale import TimeScale, fit_scale

# Pixels. A character of the monospaced font at 12 px is 7.2 px wide.
CHAR = 7.2
LABEL_CHARS, LABEL_WIDTH = 26, 204
LANE, BAR, AXIS, MARGIN = 26, 14, 40, 16
MIN_BAR, ICON = 4, 12
NARROW = 8  # touching bars below this width are drawn as one, so the picture stays bounded
MAX_REPEATS = 5
HATCH = "saga-hatch"
TIMES = "\u00d7"  # the multiplication sign


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One attempt, or several merged ones."""

    start: float
    """Seconds."""
    end: float
    """Seconds; for a live one, the end of the axis."""
    word: str
    """How it ended."""
    tone: str
    """The class of its colour, without ``saga-tone-``."""
    icon_url: str
    """The symbol of how it ended."""
    label: str
    """Text of the tooltip."""
    count: int = 1
    """Number of attempts it represents."""
    last_start: float | None = None
    """Seconds; start of the last attempt, if there are several."""


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Time in which a step waited."""

    start: float
    """Seconds."""
    end: float
    """Seconds."""
    label: str
    """What it waited for."""


@dataclass(frozen=True, kw_only=True)
class Tick:
    """Moment within a bar."""

    at: float
    """Seconds."""
    label: str
    """What happened."""
    repeats: int = 0
    """How often it happened again, at times that are not known."""


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One direction of one step, or one event."""

    name: str
    """The step."""
    is_back: bool
    """Whether these are compensations."""
    bars: tuple[Bar, ...]
    """In order."""
    waits: tuple[Wait, ...]
    """In order."""
    url: str
    """The step's link."""
    is_chosen: bool = False
    """Whether the reader has selected it."""
    ticks: tuple[Tick, ...] = ()
    """In order."""
    spoken: str = ""
    """What it shows, in a sentence; empty: the number of attempts."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Content of a timeline."""

    lanes: tuple[Lane, ...]
    """Actions in the order of the steps, then compensations in reverse order."""
    begin: float
    """Seconds."""
    end: float
    """Seconds."""
    marks: tuple[tuple[float, str], ...]
    """Times that get a line, with their names."""
    title: str
    """The title."""
    description: str
    """The content in sentences."""
    format_time: Callable[[float], str]
    """Function that formats a time as a time of day."""
    format_span: Callable[[float], str]
    """Function that formats a number of seconds."""


def draw_timeline(timeline: Timeline) -> str:
    """Return the timeline as SVG for a page, which provides the colours."""
    spans = [(bar.start, bar.end) for lane in timeline.lanes for bar in lane.bars]
    scale = fit_scale(spans, timeline.begin, timeline.end)
    forward = [lane for lane in timeline.lanes if not lane.is_back]
    back = [lane for lane in timeline.lanes if lane.is_back]
    axis = MARGIN + len(forward) * LANE
    tops = [MARGIN + place * LANE for place in range(len(forward))]
    tops += [axis + AXIS + place * LANE for place in range(len(back))]
    width = LABEL_WIDTH + scale.width + 4 * MARGIN
    height = axis + AXIS + len(back) * LANE + MARGIN
    return draw_picture(
        _define_hatch(),
        *(_draw_lane(lane, top, width) for lane, top in zip([*forward, *back], tops, strict=True)),
        *_draw_cuts(timeline, scale, axis, height),
        *_draw_axis(timeline, scale, axis),
        *_draw_marks(timeline, scale, height),
        *(_draw_bars(lane, top, scale) for lane, top in zip([*forward, *back], tops, strict=True)),
        name="saga-timeline", title=timeline.title, description=timeline.description, width=width, height=height,
        has_links=True, class_="saga-timeline", font_size=12,
    )  # fmt: skip


def _define_hatch() -> str:
    line = element("path", d="M0 0V6", stroke="currentColor", stroke_width=1.5)
    pattern = element(
        "pattern", line, id=HATCH, patternUnits="userSpaceOnUse", width=6, height=6, patternTransform="rotate(45)"
    )
    return element("defs", pattern)


def _draw_lane(lane: Lane, top: float, width: float) -> str:
    """Return name and background of a lane. A shortened name is complete in the tooltip and for screen readers."""
    classes = f"saga-lane{' saga-chosen' if lane.is_chosen else ''}"
    ground = element("rect", class_="saga-ground", x=0, y=top, width=width, height=LANE, stroke="none")
    direction = "compensation" if lane.is_back else "action"
    name = shorten(lane.name, LABEL_CHARS - 2 * lane.is_back)
    label = text_at(MARGIN, top + LANE / 2 + 4, f"↩ {name}" if lane.is_back else name)
    spoken = lane.spoken or f"{lane.name}, {direction}: {sum(bar.count for bar in lane.bars)} attempts"
    current = "true" if lane.is_chosen else None
    link = element(
        "a", tooltip(spoken), label, href=attribute(lane.url), aria_label=attribute(spoken),
        aria_current=current,
    )  # fmt: skip
    return element("g", ground, link, class_=classes)


def _draw_cuts(timeline: Timeline, scale: TimeScale, axis: float, height: float) -> Iterator[str]:
    """Yield a band for each gap that is cut out, with its length if there is room."""
    cuts = [stretch for stretch in scale.stretches if stretch.is_cut]
    reached = 0.0
    for cut in cuts:
        left, right = LABEL_WIDTH + cut.left, LABEL_WIDTH + cut.right
        label = timeline.format_span(cut.end - cut.start)
        zigzag = f"M{left + 3:g} {axis + 4:g}l{(right - left - 6) / 4:g} -6l{(right - left - 6) / 2:g} 12"
        band = element("rect", x=left, y=MARGIN / 2, width=right - left, height=height - MARGIN, stroke="none")
        sides = f"M{left:g} {MARGIN / 2:g}V{height - MARGIN / 2:g}M{right:g} {MARGIN / 2:g}V{height - MARGIN / 2:g}"
        begin, half = (left + right) / 2 - len(label) * CHAR / 2, len(label) * CHAR / 2
        has_room = len(cuts) <= 10 and 2 * half <= 72 and begin > reached
        words = text_at(begin + half, axis + 34, label, anchor="middle") if has_room else ""
        reached = begin + 2 * half + 4 if has_room else reached
        yield element(
            "g", tooltip(f"{label} without anything, not drawn to scale"), band,
            element("path", d=sides, stroke_dasharray="2 3"),
            element("path", d=f"{zigzag}l{(right - left - 6) / 4:g} -6"), words, class_="saga-cut",
        )  # fmt: skip


def _draw_axis(timeline: Timeline, scale: TimeScale, axis: float) -> Iterator[str]:
    """Yield the line with its times: the time of day at the beginning and after every cut, then the time since it."""
    y, reached, tick = axis + 4, -1e9, scale.tick
    for stretch in scale.stretches:
        left, right = LABEL_WIDTH + stretch.left, LABEL_WIDTH + stretch.right
        if stretch.is_cut:
            continue
        yield element("path", class_="saga-axis", d=f"M{left:g} {y:g}H{right:g}")
        label = timeline.format_time(stretch.start)
        if left < reached + 8:
            continue
        yield _draw_tick(left, y, label)
        reached = left + len(label) * CHAR
        count = 1
        while stretch.start + count * tick <= stretch.end:
            x = LABEL_WIDTH + scale.place(stretch.start + count * tick)
            label = f"+{timeline.format_span(count * tick)}"
            if x >= reached + 8 and x + len(label) * CHAR <= LABEL_WIDTH + scale.width + 3 * MARGIN:
                yield _draw_tick(x, y, label)
                reached = x + len(label) * CHAR
            count += 1


def _draw_tick(x: float, y: float, label: str) -> str:
    line = element("path", d=f"M{x:g} {y - 4:g}v9")
    return element("g", line, text_at(x, y + 17, label), class_="saga-axis")


def _draw_marks(timeline: Timeline, scale: TimeScale, height: float) -> Iterator[str]:
    """Yield a line for each mark, with its name beside it unless another name is there; the tooltip has all names."""
    taken: list[tuple[float, float]] = []
    for moment, name in timeline.marks[::-1]:  # the last one is the end, which must be named
        x, length = LABEL_WIDTH + scale.place(moment), len(name) * CHAR
        line = element("path", d=f"M{x:g} {MARGIN / 2:g}V{height - MARGIN / 2:g}", stroke_dasharray="6 3")
        is_late = x > LABEL_WIDTH + scale.width / 2
        left, right = (x - 4 - length, x - 4) if is_late else (x + 4, x + 4 + length)
        is_free = all(right + 4 < other_left or left > other_right + 4 for other_left, other_right in taken)
        label = text_at(x + (-4 if is_late else 4), MARGIN - 5, name, anchor="end" if is_late else "start")
        yield element("g", tooltip(name), line, label if is_free else "", class_="saga-mark")
        taken += [(left, right)] if is_free else []


def _draw_bars(lane: Lane, top: float, scale: TimeScale) -> str:
    y = top + (LANE - BAR) / 2
    parts = [_draw_wait(wait, y, scale) for wait in lane.waits]
    bars = merge_bars(lane.bars, scale)
    for place, bar in enumerate(bars):
        following = scale.place(bars[place + 1].start) if place + 1 < len(bars) else scale.width + 3 * MARGIN
        parts.append(_draw_bar(bar, y, scale, following))
    parts += [_draw_tick_of(tick, y, scale) for tick in lane.ticks]
    return "".join(parts)


def _draw_tick_of(tick: Tick, y: float, scale: TimeScale) -> str:
    """Return a line across a bar, and a shorter one below it for each repetition, as far as they have room."""
    x = LABEL_WIDTH + scale.place(tick.at)
    again = "".join(f"M{x + 3 * place:g} {y + BAR:g}v5" for place in range(min(tick.repeats, MAX_REPEATS)))
    path = element("path", d=f"M{x:g} {y - 3:g}v{BAR + 6:g}{again}", stroke_width=1.5)
    return element("g", tooltip(tick.label), path, class_="saga-tick")


def _draw_wait(wait: Wait, y: float, scale: TimeScale) -> str:
    left, right = scale.place(wait.start), scale.place(wait.end)
    if right - left < MIN_BAR:
        return ""
    rectangle = element(
        "rect", x=LABEL_WIDTH + left, y=y + 2, width=right - left, height=BAR - 4, fill=f"url(#{HATCH})",
        stroke_dasharray="3 2",
    )  # fmt: skip
    return element("g", tooltip(wait.label), rectangle, class_="saga-wait")


def _draw_bar(bar: Bar, y: float, scale: TimeScale, following: float) -> str:
    """Return a bar with its symbol inside or else beside it, if there is room, and the number of attempts."""
    left, width = scale.place(bar.start), _width(bar, scale)
    rectangle = element("rect", x=LABEL_WIDTH + left, y=y, width=width, height=BAR, rx=2)
    x = left + 3 if width >= ICON + 4 else left + width + 2
    room = (left + width if width >= ICON + 4 else following) - x
    parts = [tooltip(bar.label), rectangle]
    if room >= ICON:
        parts.append(symbol_at(LABEL_WIDTH + x, y + 1, bar.icon_url, size=ICON))
        x += ICON + 2
    count = f"{TIMES}{bar.count}"
    room = (left + width if width >= ICON + 4 + len(count) * CHAR else following) - x
    if bar.count > 1 and room >= len(count) * CHAR:
        x = x if width >= ICON + 4 + len(count) * CHAR else max(x, left + width + 2)
        parts.append(text_at(LABEL_WIDTH + x, y + BAR - 3, count))
    return element("g", *parts, class_=f"saga-attempt saga-tone-{bar.tone}")


def merge_bars(bars: Sequence[Bar], scale: TimeScale) -> list[Bar]:
    """Return bars with narrow touching ones merged; a merged bar shows how the last one ended."""
    merged: list[Bar] = []
    is_narrow = False
    for bar in bars:
        narrow = scale.place(bar.end) - scale.place(bar.start) < NARROW
        before = merged[-1] if merged else None
        if before and is_narrow and narrow and scale.place(bar.start) < _right(before, scale) + 1:
            count = before.count + bar.count
            label = f"{count} attempts, the last of them: {bar.label}"
            merged[-1] = replace(bar, start=before.start, count=count, label=label, last_start=bar.start)
        else:
            merged.append(bar)
        is_narrow = narrow
    return merged


def _width(bar: Bar, scale: TimeScale) -> float:
    # A clock that was set back lets the last attempt of a merged bar begin before the first.
    last = bar.start if bar.last_start is None else max(bar.start, bar.last_start)
    return max(scale.place(last) + MIN_BAR, scale.place(bar.end)) - scale.place(bar.start)


def _right(bar: Bar, scale: TimeScale) -> float:
    return scale.place(bar.start) + _width(bar, scale)
