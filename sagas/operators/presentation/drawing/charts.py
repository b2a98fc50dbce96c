"""Charts of values over time. Every chart stands beside a table with the same numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from .axes import Axis
from .svg import FONT, attribute, clean, element, shorten, tooltip

GAP = 1.0
LEAST_HEIGHT = 1.5  # so that one among a thousand is still visible
# Pixels of a large chart, and of its text: a character of the font at 11 px is 6.6 px wide.
WIDTH, PLOT_HEIGHT, LINE = 496.0, 130.0, 18.0
FONT_SIZE, TEXT = 11, 6.6
RIGHT = 16.0
SWATCH = 10.0


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Chart with the same values in words."""

    svg: str
    """The picture; every name and text in it is escaped."""
    rows: tuple[tuple[str, ...], ...]
    """The same as a table: label and values."""
    summary: str
    """The same in a sentence, for readers who do not see the picture."""
    heads: tuple[str, ...] = ()
    """Heads of the columns of values; empty: the only one has the name of the chart."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Part of the time axis."""

    tick: str
    """Its beginning, in a few characters."""
    label: str
    """Its beginning and end."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Values of one kind, one for each part."""

    name: str
    role: str
    """The class of its colour, without ``saga-series-``."""
    values: tuple[float | None, ...]
    """None: there is none."""
    texts: tuple[str, ...]
    """The values in readable form."""
    is_dashed: bool = False
    """Whether its line is dashed."""


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a large chart draws its parts."""

    left: float
    top: float
    step: float
    axis: Axis

    @property
    def bottom(self) -> float:
        return self.top + PLOT_HEIGHT

    def middle(self, place: int) -> float:
        return self.left + (place + 0.5) * self.step

    def height(self, value: float) -> float:
        return self.axis.place(value) * PLOT_HEIGHT


def draw_trend(
    values: Sequence[float],
    labels: Sequence[str],
    texts: Sequence[str] | None = None,
    *,
    width: int = 120,
    height: int = 28,
    summary: str = "",
) -> Chart:
    """Return a small chart of bars that names its highest value; ``texts`` are the values in readable form."""
    shown = list(texts) if texts is not None else [f"{value:g}" for value in values]
    top = max([value for value in values if value > 0], default=0.0)
    step = width / max(len(values), 1)
    parts = [element("line", class_="saga-chart-floor", x1=0, y1=height, x2=width, y2=height)]
    for place, value in enumerate(values):
        if value > 0:
            size = max(value / top * height, LEAST_HEIGHT)
            label = tooltip(f"{labels[place]}: {shown[place]}")
            bar = {"x": place * step, "y": height - size, "width": max(step - GAP, 0.5), "height": size}
            parts.append(element("rect", label, **{name: f"{number:.2f}" for name, number in bar.items()}))
    highest = shown[list(values).index(top)] if top else ""
    parts += [_text(width + 4, y, text) for y, text in ((9, highest), (height, "0" if top else ""))]
    whole = width + 4 + len(highest or "0") * TEXT
    svg = element(
        "svg", *parts, class_="saga-chart", viewBox=f"0 0 {whole:g} {height}", width=whole, height=height, role="img",
        aria_label=attribute(summary), focusable="false", font_family=FONT, font_size=FONT_SIZE,
    )  # fmt: skip
    return Chart(svg=svg, rows=tuple(zip(labels, shown, strict=True)), summary=summary)


def draw_stack(
    parts: Sequence[Part], stacked: Sequence[Series], marks: Series, axis: Axis, *, unit: str, summary: str
) -> Chart:
    """Return a chart of stacked bars, the first series at the bottom, with a mark across each part.

    A line would lead from part to part, as if there were values between them.
    """
    legend = _draw_legend(stacked, [marks], unit)
    where = _lay_out(parts, axis, legend.height)
    columns = [_draw_column(where, stacked, place) for place in range(len(parts))]
    return _compose(parts, [*stacked, marks], where, legend, columns, [_draw_marks(where, marks)], summary)


def draw_lines(parts: Sequence[Part], series: Sequence[Series], axis: Axis, *, unit: str, summary: str) -> Chart:
    """Return a chart of lines, which are interrupted where there is no value."""
    legend = _draw_legend([], series, unit)
    where = _lay_out(parts, axis, legend.height)
    return _compose(
        parts, series, where, legend, [""] * len(parts), [_draw_line(where, one) for one in series], summary
    )


@dataclass(frozen=True, kw_only=True)
class _Legend:
    """Names of the series with their colours, and the unit below them."""

    svg: str
    height: float


def _draw_legend(bars: Sequence[Series], lines: Sequence[Series], unit: str) -> _Legend:
    x, y, drawn = 0.0, LINE - 6, []
    for one in (*bars, *lines):
        needed = SWATCH + 5 + len(one.name) * TEXT + 16
        if x and x + needed > WIDTH:
            x, y = 0.0, y + LINE
        middle = y - FONT_SIZE / 2 + 2
        swatch = element("rect", x=x, y=middle - SWATCH / 2, width=SWATCH, height=SWATCH, fill="currentColor")
        if one in lines:
            swatch = _draw_path(one, f"M{x:g} {middle:g}h{SWATCH:g}")
        drawn.append(element("g", swatch, class_=f"saga-series-{one.role}"))
        drawn.append(_text(x + SWATCH + 5, y, one.name))
        x += needed
    drawn.append(_text(0, y + LINE, unit))
    return _Legend(svg="".join(drawn), height=y + LINE + 14)


def _lay_out(parts: Sequence[Part], axis: Axis, top: float) -> _Place:
    left = max(len(label) for _, label in axis.ticks) * TEXT + 8
    return _Place(left=left, top=top, step=(WIDTH - RIGHT - left) / max(len(parts), 1), axis=axis)


def _compose(
    parts: Sequence[Part],
    series: Sequence[Series],
    where: _Place,
    legend: _Legend,
    columns: Sequence[str],
    lines: Sequence[str],
    summary: str,
) -> Chart:
    """Return the whole: legend, axes, bars, lines, and above them the groups that show values on hover and focus."""
    height = where.bottom + 2 * LINE + 6
    readings = [_draw_reading(where, part, series, place) for place, part in enumerate(parts)]
    svg = element(
        "svg", legend.svg, *_draw_values(where), *_draw_times(where, parts), *columns, *lines, *filter(None, readings),
        class_="saga-plot", viewBox=f"0 0 {WIDTH:g} {height:g}", width=WIDTH, height=height, role="group",
        aria_label=attribute(summary), fill="none", font_family=FONT, font_size=FONT_SIZE,
    )  # fmt: skip
    rows = tuple((part.label, *(one.texts[place] for one in series)) for place, part in enumerate(parts))
    return Chart(svg=svg, rows=rows, summary=summary, heads=tuple(one.name for one in series))


def _draw_values(where: _Place) -> Iterator[str]:
    """Yield the lines and labels of the values; the first is the baseline."""
    for number, (value, label) in enumerate(where.axis.ticks):
        y = where.bottom - where.height(value)
        class_ = "saga-chart-floor" if number else "saga-chart-base"
        yield element("line", class_=class_, x1=where.left, y1=y, x2=WIDTH - RIGHT, y2=y)
        yield _text(where.left - 5, y + 4, label, anchor="end")


def _draw_times(where: _Place, parts: Sequence[Part]) -> Iterator[str]:
    """Yield the labels of the time axis that have room, each at the beginning of its part."""
    widest = max((len(part.tick) for part in parts), default=1) * TEXT + 12
    every = max(1, -(-int(widest) // max(int(where.step), 1)))
    for place in range(0, len(parts), every):
        x = where.left + place * where.step
        if x + widest <= WIDTH:
            yield element("line", class_="saga-chart-base", x1=x, y1=where.bottom, x2=x, y2=where.bottom + 4)
            yield _text(x, where.bottom + LINE - 2, parts[place].tick)


def _draw_column(where: _Place, stacked: Sequence[Series], place: int) -> str:
    sizes = [max(where.height(value), LEAST_HEIGHT) if (value := one.values[place]) else 0.0 for one in stacked]
    fit = min(1.0, PLOT_HEIGHT / max(sum(sizes), 1.0))
    y, drawn = where.bottom, []
    for one, size in zip(stacked, sizes, strict=True):
        if size:
            y -= size * fit
            bar = {"x": where.left + place * where.step + GAP, "width": max(where.step - 2 * GAP, GAP)}
            bar |= {"y": y, "height": size * fit}
            shape = element("rect", fill="currentColor", **{name: f"{number:.2f}" for name, number in bar.items()})
            drawn.append(element("g", shape, class_=f"saga-series-{one.role}"))
    return "".join(drawn)


def _draw_line(where: _Place, one: Series) -> str:
    """Return a line with a point at each value."""
    known = [(place, value) for place, value in enumerate(one.values) if value is not None]
    drawn = []
    # Neighbours in the list and on the axis have the same difference of their numbers.
    for _, found in groupby(enumerate(known), key=lambda item: item[1][0] - item[0]):
        points = [(where.middle(place), where.bottom - where.height(value)) for _, (place, value) in found]
        d = "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points)
        drawn += [element("path", class_="saga-halo", d=d, stroke_width=6), _draw_path(one, d)]
        drawn += [element("circle", cx=f"{x:.2f}", cy=f"{y:.2f}", r=2.5, fill="currentColor") for x, y in points]
    return element("g", *drawn, class_=f"saga-series-{one.role}") if drawn else ""


def _draw_marks(where: _Place, one: Series) -> str:
    """Return a mark at each value above zero."""
    drawn = []
    for place, value in enumerate(one.values):
        if value:
            d = f"M{where.left + place * where.step:.2f} {where.bottom - where.height(value):.2f}h{where.step:.2f}"
            drawn += [element("path", class_="saga-halo", d=d, stroke_width=4), _draw_path(one, d)]
    return element("g", *drawn, class_=f"saga-series-{one.role}") if drawn else ""


def _draw_path(one: Series, d: str) -> str:
    dashes = "4 2" if one.is_dashed else None
    return element("path", d=d, stroke="currentColor", stroke_width=2, stroke_dasharray=dashes)


def _draw_reading(where: _Place, part: Part, series: Sequence[Series], place: int) -> str:
    """Return the group that shows the values of a part on hover and focus; empty where there are none."""
    values = [f"{one.name} {one.texts[place]}" for one in series if one.values[place]]
    if not values:
        return ""
    text = f"{part.label}: {', '.join(values)}"
    area = element(
        "rect", class_="saga-hit", x=where.left + place * where.step, y=where.top, width=where.step, height=PLOT_HEIGHT,
        pointer_events="all",
    )  # fmt: skip
    shown = _text(0, where.bottom + 2 * LINE, shorten(text, int(WIDTH / TEXT)), class_="saga-reading")
    return element("g", tooltip(text), area, shown, class_="saga-point", tabindex=0, role="img")


def _text(x: float, y: float, text: str, *, anchor: str = "start", class_: str | None = None) -> str:
    if not text:
        return ""
    return element("text", clean(text), x=x, y=y, class_=class_, text_anchor=anchor, fill="currentColor")
