"""Small bar charts. Every chart stands beside a table with the same numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from .svg import attribute, element, tooltip

GAP = 1.0
LEAST_HEIGHT = 1.5  # so that one among a thousand is still visible


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Chart with the same values in words."""

    svg: str
    """The picture; every name and text in it is escaped."""
    rows: tuple[tuple[str, str], ...]
    """The same as a table: label and value."""
    summary: str
    """The same in a sentence, for readers who do not see the picture."""


def draw_bars(
    values: Sequence[float],
    labels: Sequence[str],
    texts: Sequence[str] | None = None,
    *,
    width: int = 120,
    height: int = 28,
    summary: str = "",
) -> Chart:
    """Return a chart of bars from left to right; ``texts`` are the values in readable form."""
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
    svg = element(
        "svg", *parts, class_="saga-chart", viewBox=f"0 0 {width} {height}", width=width, height=height, role="img",
        aria_label=attribute(summary), focusable="false",
    )  # fmt: skip
    return Chart(svg=svg, rows=tuple(zip(labels, shown, strict=True)), summary=summary)
