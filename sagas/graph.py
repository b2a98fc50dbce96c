"""Draw a definition as a picture: SVG with a layout of its own, or Mermaid text.

Kinds are told by words and shapes, not by colour alone. All text is escaped. The drawing itself uses presentation
attributes and ``currentColor`` only, so it also stands inside a page with a strict content security policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise
from xml.sax.saxutils import escape, quoteattr

from .conf import get_settings
from .definition import SagaDefinition, Step, nothing_to_undo
from .participants import participant_label
from .states import Kind

# Pixels. A character of the monospaced font at 13 px is 7.8 px wide in the fonts that browsers bring.
CHAR, LINE, PADDING = 7.8, 18, 12
BOX_HEIGHT = 3 * LINE + PADDING
GAP_ACROSS, GAP_DOWN, MARGIN = 24, 44, 20
TITLE_HEIGHT = 34
MIN_BOX_WIDTH = 190

KIND_WORDS = {
    Kind.COMPENSATABLE: "compensatable ↩", Kind.PIVOT: "pivot ◆", Kind.RETRIABLE: "retriable ↻",
}  # fmt: skip

STYLE = (
    "<style>svg{color:#1d2430;background:#fff;font-family:ui-monospace,Menlo,Consolas,monospace}"
    "@media (prefers-color-scheme:dark){svg{color:#e6e9ef;background:#161a21}}</style>"
)


@dataclass(frozen=True, kw_only=True)
class _Box:
    """Place one step."""

    step: Step
    x: float
    y: float
    width: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        return self.y + BOX_HEIGHT


def draw_svg(
    definition: type[SagaDefinition], *, states: Mapping[str, str] | None = None, stands_alone: bool = True
) -> str:
    """Return a definition as an SVG document.

    ``states``: what to write and mark at each step of one saga, by step name (class ``state-…``).
    ``stands_alone``: with colours of its own for light and dark; False: inside a page, which brings them.
    """
    rows = _place(definition)
    boxes = [box for row in rows for box in row]
    width = max(box.x + box.width for box in boxes) + MARGIN
    height = boxes[-1].bottom + MARGIN + PADDING
    title, name = _title(definition), f"saga-{definition.name}-{definition.version}"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}"'
        f' height="{height:g}" role="img" aria-labelledby="{name}-title {name}-desc" fill="none"'
        ' stroke="currentColor" font-size="13" font-family="ui-monospace, Menlo, Consolas, monospace">'
    )
    parts = [
        head,
        f'<title id="{name}-title">{escape(title)}</title>',
        f'<desc id="{name}-desc">{escape(describe(definition))}</desc>',
        STYLE if stands_alone else "",
        _text(MARGIN, MARGIN + 4, title, weight="bold"),
        *(_arrow(above, below) for above, below in _list_arrows(rows)),
        *(_frame(row) for row in rows if len(row) > 1),
        *(_draw_box(definition, box, (states or {}).get(box.step.name, "")) for box in boxes),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part)


def draw_mermaid(definition: type[SagaDefinition]) -> str:
    """Return a definition as a Mermaid flowchart."""
    lines = ["---", f"title: {_title(definition)}", "---", "flowchart TD"]
    stages = _list_stages(definition)
    for number, stage in enumerate(stages):
        if len(stage) > 1:
            lines.append(f'  subgraph parallel{number}["side by side"]')
            lines += [f"    {_mermaid_node(definition, step)}" for step in stage]
            lines.append("  end")
        else:
            lines.append(f"  {_mermaid_node(definition, stage[0])}")
    for before, after in pairwise(stages):
        lines += [f"  s_{upper.name} --> s_{lower.name}" for upper in before for lower in after]
    return "\n".join(lines)


def describe(definition: type[SagaDefinition]) -> str:
    """Return a definition in sentences, for those who do not see the picture."""
    sentences = []
    for number, stage in enumerate(_list_stages(definition), start=1):
        steps = " and ".join(f"{step.name} ({step.kind.value})" for step in stage)
        sentences.append(f"{number}: {steps}{', side by side' if len(stage) > 1 else ''}.")
    return " ".join(sentences)


def _title(definition: type[SagaDefinition]) -> str:
    return f"Saga {definition.name}, version {definition.version}"


def _list_stages(definition: type[SagaDefinition]) -> list[list[Step]]:
    return [list(steps) for _, steps in groupby(definition.steps, key=lambda step: step.stage)]


def _describe_step(definition: type[SagaDefinition], step: Step) -> tuple[str, str, str]:
    """Return the three lines of a step: name, kind, and where it runs."""
    where = participant_label(definition, step) or "no participant"
    place = "with the start" if step.action is None else "external" if step.external else "local"
    queue = f", queue {step.queue}" if step.queue and step.queue != get_settings().default_queue else ""
    kind = KIND_WORDS[step.kind]
    if step.compensation is nothing_to_undo:
        kind += " nothing to undo"
    return step.name, kind, f"{where}, {place}{queue}"


def _place(definition: type[SagaDefinition]) -> list[list[_Box]]:
    """Return the boxes of each stage, rows below one another, each centred."""
    stages = _list_stages(definition)
    lines = {step.name: _describe_step(definition, step) for step in definition.steps}
    longest = max(len(line) for texts in lines.values() for line in texts)
    width = max(MIN_BOX_WIDTH, longest * CHAR + 2 * PADDING)
    widest = max(len(stage) for stage in stages)
    whole = max(widest * width + (widest - 1) * GAP_ACROSS, len(_title(definition)) * CHAR)
    rows, y = [], float(MARGIN + TITLE_HEIGHT)
    for stage in stages:
        used = len(stage) * width + (len(stage) - 1) * GAP_ACROSS
        x = MARGIN + PADDING + (whole - used) / 2
        rows.append([_Box(step=step, x=x + i * (width + GAP_ACROSS), y=y, width=width) for i, step in enumerate(stage)])
        y += BOX_HEIGHT + GAP_DOWN
    return rows


def _list_arrows(rows: list[list[_Box]]) -> Iterator[tuple[_Box, _Box]]:
    for above, below in pairwise(rows):
        for upper in above:
            for lower in below:
                yield upper, lower


def _arrow(above: _Box, below: _Box) -> str:
    end = below.y - 2
    tip = f"M{below.middle - 4:g} {end - 7:g}L{below.middle:g} {end:g}L{below.middle + 4:g} {end - 7:g}"
    return f'<path d="M{above.middle:g} {above.bottom:g}L{below.middle:g} {end:g}{tip}"/>'


def _frame(row: list[_Box]) -> str:
    """Return the dashed frame around steps that run side by side."""
    half = PADDING / 2
    x, y = row[0].x - half, row[0].y - half
    width = row[-1].x + row[-1].width - row[0].x + PADDING
    return (
        f'<g class="saga-group"><rect x="{x:g}" y="{y:g}" width="{width:g}" height="{BOX_HEIGHT + PADDING:g}" rx="6"'
        ' stroke-dasharray="4 4" opacity="0.6"/></g>'
    )


def _draw_box(definition: type[SagaDefinition], box: _Box, state: str) -> str:
    """Return one step: square corners and a second line for the pivot, round ones for a retriable step."""
    step = box.step
    radius = {Kind.COMPENSATABLE: 4, Kind.PIVOT: 0, Kind.RETRIABLE: BOX_HEIGHT / 2 - 6}[step.kind]
    classes = f"saga-step kind-{step.kind.value}" + (f" state-{state.replace(' ', '-')}" if state else "")
    inner = ""
    if step.kind is Kind.PIVOT:
        inner = f'<rect x="{box.x + 4:g}" y="{box.y + 4:g}" width="{box.width - 8:g}" height="{BOX_HEIGHT - 8:g}"/>'
    name, kind, where = _describe_step(definition, step)
    second = f"{kind}: {state}" if state else kind
    lines = [
        _text(
            box.middle, box.y + (place + 1) * LINE + 2, line, anchor="middle", weight="bold" if place == 0 else "normal"
        )
        for place, line in enumerate((name, second, where))
    ]
    outer = (
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{BOX_HEIGHT:g}" rx="{radius:g}"'
        f' stroke-width="{2 if step.kind is Kind.PIVOT else 1}"/>'
    )
    return f"<g class={quoteattr(classes)}>{outer}{inner}{''.join(lines)}</g>"


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-weight="{weight}" fill="currentColor" stroke="none">'
        f"{escape(text)}</text>"
    )


def _mermaid_node(definition: type[SagaDefinition], step: Step) -> str:
    opening, closing = {
        Kind.COMPENSATABLE: ("[", "]"), Kind.PIVOT: ("{{", "}}"), Kind.RETRIABLE: ("([", "])"),
    }[step.kind]  # fmt: skip
    text = "<br/>".join(_escape_mermaid(line) for line in _describe_step(definition, step))
    return f's_{step.name}{opening}"{text}"{closing}'


def _escape_mermaid(text: str) -> str:
    return text.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
