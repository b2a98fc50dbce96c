"""Cut what errors and people say to one line, and say of a repeat that it is one."""

from __future__ import annotations

from dataclasses import dataclass

MAX_LINE_CHARS = 48


@dataclass(frozen=True, kw_only=True)
class Folded:
    """Show a text in one line."""

    line: str
    """Its beginning, or where the same was said before."""
    whole: str = ""
    """All of it; empty when the line says it all."""


def fold(text: str, *, repeats: str = "") -> Folded:
    """Return a text in one line. ``repeats``: where the same was said before, if it was."""
    if repeats and text:
        return Folded(line=f"same as {repeats}", whole=text)
    first, *more = text.strip().splitlines() or [""]
    if not more and len(first) <= MAX_LINE_CHARS:
        return Folded(line=first)
    return Folded(line=f"{first[:MAX_LINE_CHARS].rstrip()}…", whole=text)


def fold_error(text: str, *, repeats: str = "") -> Folded:
    """Return an error (class and message) in one line, its class without the modules."""
    if repeats and text:
        return fold(text, repeats=repeats)
    path, colon, message = text.partition(":")
    short = f"{path.rpartition('.')[2]}{colon}{message}" if " " not in path else text
    folded = fold(short)
    return Folded(line=folded.line, whole=text if folded.line != text else "")
