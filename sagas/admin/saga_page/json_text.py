"""Indentation of JSON text without parsing the values: every number stays as the database wrote it.

A JSON parser would change numbers that do not fit its types, and would need the whole text; a beginning is enough here.
"""

import re
from dataclasses import dataclass

from django.db.models import F, TextField
from django.db.models.functions import Cast, Left

from ...core.visible import show_invisible

MAX_JSON_CHARS = 10_000
INDENT = "  "
PIECE = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class JsonText:
    """Excerpt of a JSON value."""

    text: str
    """The value, indented; at most MAX_JSON_CHARS characters."""
    is_cut: bool
    """Whether something is left out."""
    url: str = ""
    """URL of the whole value."""


def select_json(field: str) -> Left:
    """Return an expression for the beginning of a JSON column as text, one character longer than is shown."""
    return Left(Cast(F(field), TextField()), MAX_JSON_CHARS + 1)


def show_json_text(text: str, url: str = "") -> JsonText:
    """Return indented JSON text, or its beginning, with JSON escapes for invisible characters."""
    shown = show_invisible(lay_out(text), keep_lines=True)
    is_cut = len(text) > MAX_JSON_CHARS or len(shown) > MAX_JSON_CHARS
    return JsonText(text=shown[:MAX_JSON_CHARS], is_cut=is_cut, url=url)


def lay_out(text: str) -> str:
    """Return JSON text with one line per member."""
    parts: list[str] = []
    depth, is_fresh = 0, False
    for piece in PIECE.findall(text):
        if piece in "}]":
            depth -= 1
            parts.append(piece if is_fresh else f"\n{INDENT * depth}{piece}")
            is_fresh = False
            continue
        if is_fresh:
            parts.append(f"\n{INDENT * depth}")
        is_fresh = piece in "{["
        depth += is_fresh
        parts.append({",": f",\n{INDENT * depth}", ":": ": "}.get(piece, piece))
    return "".join(parts)
