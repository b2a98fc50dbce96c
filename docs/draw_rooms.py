"""Picture of the engine's rooms, drawn from the import contract that keeps them apart.

Usage: ``python docs/draw_rooms.py`` writes ``docs/explanation/rooms.svg`` anew.
"""

import ast
import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "explanation" / "rooms.svg"
CONTRACT = "Rooms: imports go down only"

# Pixels.
WIDTH = 960
MARGIN = 16
BOX_HEIGHT = 58
GAP = 12
NAME_SIZE = 15
TEXT_SIZE = 11
CHARACTER = 6.1  # of a text of that size, on average


def read_layers() -> list[list[str]]:
    """Return the rooms of each layer, from the top."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["name"] == CONTRACT)
    return [[room.strip() for room in layer.replace("|", ":").split(":")] for layer in layers]


def describe_room(room: str) -> str:
    """Return the first sentence of a room's docstring.

    Raises: FileNotFoundError for a room that does not exist.
    """
    package = ROOT / "sagas" / room
    path = package / "__init__.py" if package.is_dir() else package.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return docstring.partition("\n")[0].removesuffix(".")


def wrap(text: str, width: float) -> list[str]:
    """Return the first two lines of a text in a box of so many pixels."""
    lines = [""]
    for word in text.split():
        if lines[-1] and (len(lines[-1]) + 1 + len(word)) * CHARACTER > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines if len(lines) <= 2 else [lines[0], f"{lines[1]} …"]


def draw_room(room: str, x: float, y: float, width: float) -> str:
    """Return one box as SVG."""
    middle = x + width / 2
    parts = [
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{BOX_HEIGHT}" rx="6" fill="none" stroke="currentColor"/>',
        f'<text x="{middle:g}" y="{y + 20:g}" font-size="{NAME_SIZE}" font-weight="bold">{escape(room)}</text>',
    ]
    for number, line in enumerate(wrap(describe_room(room), width - 12)):
        baseline = y + 36 + number * 14
        parts.append(f'<text x="{middle:g}" y="{baseline:g}" font-size="{TEXT_SIZE}">{escape(line)}</text>')
    return "\n".join(parts)


def draw_rooms() -> str:
    """Return the picture: a row for each layer; whatever stands in it may import what stands below."""
    layers = read_layers()
    height = 2 * MARGIN + len(layers) * (BOX_HEIGHT + GAP) - GAP
    boxes = []
    for row, rooms in enumerate(layers):
        width = (WIDTH - 2 * MARGIN - (len(rooms) - 1) * GAP) / len(rooms)
        y = MARGIN + row * (BOX_HEIGHT + GAP)
        boxes += [draw_room(room, MARGIN + n * (width + GAP), y, width) for n, room in enumerate(rooms)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" color="#333"'
        ' font-family="system-ui, sans-serif" text-anchor="middle" fill="currentColor">\n'
        "<title>Rooms of the engine: imports go down only</title>\n"
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n' + "\n".join(boxes) + "\n</svg>\n"
    )


if __name__ == "__main__":
    PICTURE.write_text(draw_rooms())
