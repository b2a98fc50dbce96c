"""Flows: a lane for each participant, events as nodes, and arrows from an event to those that follow it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .svg import attribute, clean, draw_picture, element, shorten, symbol_at, text_at, tooltip

# Pixels. A character of the monospaced font at 11 px is 6.6 px wide.
CHAR = 6.6
LINE, NODE, PADDING, GAP_ACROSS, GAP_DOWN, MARGIN = 15, 40, 7, 26, 9, 8
ICON = 12
NAME_CHARS, LANE_CHARS = 26, 20


@dataclass(frozen=True, kw_only=True)
class FlowNode:
    """One event."""

    name: str
    lane: str
    """Its sender."""
    column: int
    word: str
    """Its state."""
    detail: str
    """What follows the word."""
    tone: str
    """The class of its colour, without ``saga-tone-``."""
    icon_url: str
    """The symbol before the word."""
    url: str
    is_expected: bool
    """Whether it is still to come, so that its frame is dashed."""
    is_chosen: bool = False
    causes: tuple[str, ...] = ()
    """Names of the nodes that lead to it."""

    @property
    def state(self) -> str:
        """Word and detail."""
        return f"{self.word} {self.detail}".strip()


@dataclass(frozen=True, kw_only=True)
class _Box:
    node: FlowNode
    x: float
    y: float
    width: float

    @property
    def middle(self) -> float:
        return self.y + NODE / 2


def draw_flow(lanes: Sequence[str], nodes: Sequence[FlowNode], *, title: str) -> str:
    """Return the flow as SVG for a page, which provides the colours."""
    tops, heights = _place_lanes(lanes, nodes)
    boxes = _place_nodes(lanes, nodes, tops)
    right = max((box.x + box.width for box in boxes.values()), default=0.0) + MARGIN
    return draw_picture(
        *(_draw_lane(name, tops[name], height, right, place) for place, (name, height) in enumerate(heights.items())),
        *(_draw_arrow(boxes[cause], box) for box in boxes.values() for cause in box.node.causes if cause in boxes),
        *(_draw_node(box) for box in boxes.values()),
        name="saga-flow", title=title, description=" ".join(_describe(node) for node in nodes), width=right,
        height=sum(heights.values()), has_links=True, class_="saga-flow", font_size=11,
    )  # fmt: skip


def _describe(node: FlowNode) -> str:
    after = f" after {' and '.join(node.causes)}" if node.causes else ""
    return f"{node.lane}: {node.name}{after}, {node.state}."


def _place_lanes(lanes: Sequence[str], nodes: Sequence[FlowNode]) -> tuple[dict[str, float], dict[str, float]]:
    """Return top and height of each lane: it has room for all of its nodes in one column."""
    tops: dict[str, float] = {}
    heights: dict[str, float] = {}
    top = 0.0
    for name in lanes:
        columns = [node.column for node in nodes if node.lane == name]
        rows = max((columns.count(column) for column in columns), default=1)
        tops[name], heights[name] = top, rows * (NODE + GAP_DOWN) + GAP_DOWN
        top += heights[name]
    return tops, heights


def _place_nodes(lanes: Sequence[str], nodes: Sequence[FlowNode], tops: dict[str, float]) -> dict[str, _Box]:
    left = MARGIN + max((min(len(name), LANE_CHARS) for name in lanes), default=0) * CHAR + 2 * MARGIN
    widths: dict[int, float] = {}
    for node in nodes:
        chars = max(min(len(node.name), NAME_CHARS), len(node.state) + 2)
        widths[node.column] = max(widths.get(node.column, 0.0), chars * CHAR + 2 * PADDING)
    lefts: dict[int, float] = {}
    for column in sorted(widths):
        lefts[column] = left
        left += widths[column] + GAP_ACROSS
    used: dict[tuple[str, int], int] = {}
    boxes = {}
    for node in nodes:
        row = used.setdefault((node.lane, node.column), 0)
        used[node.lane, node.column] += 1
        y = tops[node.lane] + GAP_DOWN + row * (NODE + GAP_DOWN)
        boxes[node.name] = _Box(node=node, x=lefts[node.column], y=y, width=widths[node.column])
    return boxes


def _draw_lane(name: str, top: float, height: float, right: float, place: int) -> str:
    ground = element("rect", class_="saga-ground", x=0, y=top, width=right, height=height, stroke="none")
    label = text_at(MARGIN, top + height / 2 + 4, shorten(name, LANE_CHARS))
    return element("g", tooltip(name), ground, label, class_=f"saga-lane{' saga-even' if place % 2 else ''}")


def _draw_arrow(cause: _Box, effect: _Box) -> str:
    """Return an arrow that turns right behind its cause and runs on in the lane of its effect."""
    begin, end = cause.x + cause.width, effect.x - 2
    turn = begin + GAP_ACROSS - 9
    middle = (begin + turn) / 2
    line = f"M{begin:g} {cause.middle:g}C{middle:g} {cause.middle:g} {middle:g} {effect.middle:g} {turn:g}"
    tip = f"M{end - 7:g} {effect.middle - 4:g}L{end:g} {effect.middle:g}L{end - 7:g} {effect.middle + 4:g}"
    dashes = "4 3" if effect.node.is_expected else None
    path = element("path", d=f"{line} {effect.middle:g}H{end:g}", stroke_dasharray=dashes)
    classes = f"saga-arrow saga-tone-{effect.node.tone}"
    label = tooltip(f"{cause.node.name} to {effect.node.name}")
    return element("g", label, path, element("path", d=tip), class_=classes)


def _draw_node(box: _Box) -> str:
    node = box.node
    dashes = "4 3" if node.is_expected else None
    frame = element(
        "rect", class_="saga-box", x=box.x, y=box.y, width=box.width, height=NODE, rx=5, stroke_dasharray=dashes
    )
    name = text_at(box.x + PADDING, box.y + LINE, shorten(node.name, NAME_CHARS), weight="bold", class_="saga-name")
    icon = symbol_at(box.x + PADDING, box.y + 2 * LINE - ICON + 4, node.icon_url, size=ICON)
    word = element("tspan", clean(node.word), class_="saga-state", font_weight="bold")
    state = element(
        "text", word, clean(f" {node.detail}" if node.detail else ""), x=box.x + PADDING + ICON + 4,
        y=box.y + 2 * LINE + 2, fill="currentColor", stroke="none",
    )  # fmt: skip
    classes = f"saga-step saga-tone-{node.tone}{' saga-chosen' if node.is_chosen else ''}"
    label = attribute(f"{node.name} of {node.lane}: {node.state}")
    group = element("g", tooltip(_describe(node)), frame, name, icon, state, class_=classes)
    current = "true" if node.is_chosen else None
    return element("a", group, href=attribute(node.url), aria_label=label, aria_current=current)


def list_lanes(nodes: Sequence[FlowNode]) -> Iterator[str]:
    """Yield the lanes in the order in which the flow first reaches them."""
    yield from dict.fromkeys(node.lane for node in sorted(nodes, key=lambda node: node.column))
