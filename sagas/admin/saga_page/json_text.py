"""Lay JSON text out for reading, without reading the values: every number stays as the database wrote it.

A parser would bend what does not fit its numbers, and would need the whole text; this one works on the beginning.
"""

from __future__ import annotations

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
    """Show a JSON value."""

    text: str
    """The value, indented; at most MAX_JSON_CHARS of it."""
    is_cut: bool
    """Whether something is left out."""
    url: str = ""
    """Where the whole of it is."""


def select_json(field: str) -> Left:
    """Return an expression for the beginning of a JSON column as text, one character more than is shown."""
    return Left(Cast(F(field), TextField()), MAX_JSON_CHARS + 1)


def show_json_text(text: str, url: str = "") -> JsonText:
    """Return JSON text, or the beginning of it, for a person: what could not be seen is an escape, as JSON knows it."""
    shown = show_invisible(lay_out(text), keep_lines=True)
    is_cut = len(text) > MAX_JSON_CHARS or len(shown) > MAX_JSON_CHARS
    return JsonText(text=shown[:MAX_JSON_CHARS], is_cut=is_cut, url=url)


def lay_out(text: str) -> str:
    """Return JSON text with a line for each member."""
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
