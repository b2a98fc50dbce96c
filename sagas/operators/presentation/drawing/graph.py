"""Steps as a graph: one below the other, those of a group side by side."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from ....core.states import Kind
from .svg import CHAR, attribute, draw_picture, element, symbol_at, text_at

# Pixels.
LINE, PADDING = 18, 12
GAP_ACROSS, GAP_DOWN, GAP_IN_GROUP, GAP_COLUMNS, MARGIN = 24, 40, 16, 32, 20
TITLE_HEIGHT = 34
MIN_BOX_WIDTH = 190
ICON = 13
MAX_ACROSS = 4  # wider groups wrap: four boxes fit a laptop beside the admin's menu
MAX_DOWN = 16  # ranks in a column: two screens

STYLE = (
    "<style>svg{color:#1d2430;background:#fff;font-family:ui-monospace,Menlo,Consolas,monospace}"
    "@media (prefers-color-scheme:dark){svg{color:#e6e9ef;background:#161a21}}</style>"
)


@dataclass(frozen=True, kw_only=True)
class Mark:
    """State of a step of one saga."""

    word: str
    """The text."""
    tone: str
    """The class of its colour, without ``saga-tone-``."""
    icon_url: str
    """The symbol before the word."""
    url: str
    """The step's link."""
    is_chosen: bool = False
    """Whether the reader has selected it."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One step."""

    name: str
    """Its name."""
    kind: Kind
    """Its kind, which determines the shape."""
    rank: int
    """Its rank; steps of one rank run in parallel."""
    lines: tuple[str, ...]
    """Text below the name."""
    mark: Mark | None = None
    """Its state; None: a step of a definition."""


@dataclass(frozen=True, kw_only=True)
class _Box:
    """Node and its place."""

    node: Node
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, kw_only=True)
class _Rank:
    """Nodes of one rank and their places."""

    boxes: tuple[_Box, ...]
    column: float

    @property
    def is_group(self) -> bool:
        return len(self.boxes) > 1

    @property
    def border(self) -> float:
        return PADDING / 2 if self.is_group else 0

    @property
    def left(self) -> float:
        return min(box.x for box in self.boxes) - self.border

    @property
    def right(self) -> float:
        return max(box.x + box.width for box in self.boxes) + self.border

    @property
    def top(self) -> float:
        return self.boxes[0].y - self.border

    @property
    def bottom(self) -> float:
        return self.boxes[-1].y + self.boxes[-1].height + self.border

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2


def draw_graph(
    nodes: Sequence[Node], *, name: str, title: str, description: str, stands_alone: bool = True, caption: str = ""
) -> str:
    """Return the graph of steps as an SVG document.

    ``name``: prefix of the ids inside, so that one page can have several. ``stands_alone``: with its own colours for
    light and dark; False: inside a page, which provides them. ``caption``: text above the graph; the title is read by
    screen readers only.
    """
    ranks = _place(nodes, caption)
    right = max((rank.right for rank in ranks), default=MIN_BOX_WIDTH)
    width = max(right, MARGIN + len(caption) * CHAR) + MARGIN
    height = max((rank.bottom for rank in ranks), default=TITLE_HEIGHT) + MARGIN
    return draw_picture(
        STYLE if stands_alone else "",
        text_at(MARGIN, MARGIN + 4, caption, weight="bold") if caption else "",
        *(_arrow(above, below) for above, below in pairwise(ranks)),
        *(_frame(rank) for rank in ranks if rank.is_group),
        *(_draw_box(box) for rank in ranks for box in rank.boxes),
        name=name, title=title, description=description, width=width, height=height,
        has_links=any(node.mark for node in nodes), class_="saga-graph", font_size=13,
    )  # fmt: skip


def describe_nodes(nodes: Iterable[Node]) -> str:
    """Return a graph in sentences, for readers who do not see the picture."""
    sentences = []
    for number, rank in enumerate(list_ranks(nodes), start=1):
        steps = " and ".join(_describe_node(node) for node in rank)
        sentences.append(f"{number}: {steps}{', in parallel' if len(rank) > 1 else ''}.")
    return " ".join(sentences)


def list_ranks(nodes: Iterable[Node]) -> list[list[Node]]:
    """Return the nodes by rank, in order."""
    return [list(found) for _, found in groupby(nodes, key=lambda node: node.rank)]


def _describe_node(node: Node) -> str:
    return f"{node.name} ({node.kind.value}{f', {node.mark.word}' if node.mark else ''})"


def _place(nodes: Sequence[Node], caption: str) -> list[_Rank]:
    """Return the boxes of each rank, ranks below one another, each centred; wide groups take several rows.

    Graphs that would be too long continue in further columns.
    """
    ranks = list_ranks(nodes)
    columns = -(-len(ranks) // MAX_DOWN) or 1
    rows = -(-len(ranks) // columns)
    longest = max((_count_chars(node) for node in nodes), default=0)
    lines = max((1 + len(node.lines) + bool(node.mark) for node in nodes), default=1)
    size = max(MIN_BOX_WIDTH, longest * CHAR + 2 * PADDING), lines * LINE + PADDING
    placed: list[_Rank] = []
    left, top = float(MARGIN), float(MARGIN + (TITLE_HEIGHT if caption else PADDING / 2))
    for first in range(0, len(ranks), rows or 1):
        column = ranks[first : first + rows]
        placed += _place_column(column, left, top, size)
        left = max(rank.right for rank in placed) + GAP_COLUMNS
    return placed


def _place_column(ranks: Sequence[Sequence[Node]], left: float, top: float, size: tuple[float, float]) -> list[_Rank]:
    width, height = size
    widest = min(MAX_ACROSS, max(len(rank) for rank in ranks))
    whole = widest * width + (widest - 1) * GAP_ACROSS
    placed, y = [], top
    for rank in ranks:
        boxes = []
        for first in range(0, len(rank), MAX_ACROSS):
            row = rank[first : first + MAX_ACROSS]
            used = len(row) * width + (len(row) - 1) * GAP_ACROSS
            x = left + PADDING / 2 + (whole - used) / 2
            boxes += [
                _Box(node=node, x=x + place * (width + GAP_ACROSS), y=y, width=width, height=height)
                for place, node in enumerate(row)
            ]
            y += height + GAP_IN_GROUP
        placed.append(_Rank(boxes=tuple(boxes), column=left))
        y += GAP_DOWN - GAP_IN_GROUP
    return placed


def _count_chars(node: Node) -> int:
    """Return the length of the longest line; the icon counts as three characters."""
    state = len(node.mark.word) + 3 if node.mark else 0
    return max(len(node.name), state, *map(len, node.lines))


def _arrow(above: _Rank, below: _Rank) -> str:
    end = below.top - 2
    line = f"M{above.middle:g} {above.bottom:g}"
    if below.column > above.column:
        gutter = below.column - GAP_COLUMNS / 2
        line += f"v{GAP_IN_GROUP}H{gutter:g}V{below.top - GAP_IN_GROUP:g}H{below.middle:g}"
    tip = f"M{below.middle - 4:g} {end - 7:g}L{below.middle:g} {end:g}L{below.middle + 4:g} {end - 7:g}"
    return element("path", class_="saga-arrow", d=f"{line}L{below.middle:g} {end:g}{tip}")


def _frame(rank: _Rank) -> str:
    """Return the dashed frame around steps that run side by side."""
    rectangle = element(
        "rect", x=rank.left, y=rank.top, width=rank.right - rank.left, height=rank.bottom - rank.top, rx=6,
        stroke_dasharray="4 4", opacity=0.6,
    )  # fmt: skip
    return element("g", rectangle, class_="saga-group")


def _draw_box(box: _Box) -> str:
    """Return one step: square corners and a second line for the pivot, round ones for a retriable step."""
    node, middle = box.node, box.x + box.width / 2
    is_pivot = node.kind is Kind.PIVOT
    radius = {Kind.COMPENSATABLE: 4, Kind.PIVOT: 0, Kind.RETRIABLE: box.height / 2 - 6}[node.kind]
    parts = [
        element(
            "rect", class_="saga-box", x=box.x, y=box.y, width=box.width, height=box.height, rx=radius,
            stroke_width=2 if is_pivot else 1,
        )
    ]  # fmt: skip
    if is_pivot:
        parts.append(element("rect", x=box.x + 4, y=box.y + 4, width=box.width - 8, height=box.height - 8))
    for place, line in enumerate((node.name, *node.lines), start=1):
        weight = "bold" if place == 1 else "normal"
        parts.append(text_at(middle, box.y + place * LINE + 2, line, anchor="middle", weight=weight))
    classes = f"saga-step kind-{node.kind.value}"
    if node.mark is None:
        return element("g", *parts, class_=classes)
    parts.append(_draw_mark(node.mark, middle, box.y + (len(node.lines) + 2) * LINE + 2))
    classes += f" saga-tone-{node.mark.tone}{' saga-chosen' if node.mark.is_chosen else ''}"
    group = element("g", *parts, class_=classes)
    label = f"{node.name}, {node.kind.value}: {node.mark.word}"
    current = "true" if node.mark.is_chosen else None
    url = attribute(node.mark.url)
    return element("a", group, href=url, aria_label=attribute(label), aria_current=current)


def _draw_mark(mark: Mark, middle: float, y: float) -> str:
    """Return icon and word, centred together."""
    left = middle - (len(mark.word) * CHAR + ICON + 5) / 2
    icon = symbol_at(left, y - ICON + 2, mark.icon_url, size=ICON)
    return icon + text_at(left + ICON + 5, y, mark.word, class_="saga-state")
