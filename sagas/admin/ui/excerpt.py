"""Excerpts: errors and operators' texts in one line, and repeats as a reference."""

from dataclasses import dataclass

MAX_LINE_CHARS = 48


@dataclass(frozen=True, kw_only=True)
class Folded:
    """Text cut to one line."""

    line: str
    """Its beginning, or a reference to the same text before."""
    whole: str = ""
    """The whole text; empty when the line holds all of it."""


def fold(text: str, *, repeats: str = "") -> Folded:
    """Return a text cut to one line. ``repeats``: where the same text came before, if it did."""
    if repeats and text:
        return Folded(line=f"same as {repeats}", whole=text)
    first, *more = text.strip().splitlines() or [""]
    if not more and len(first) <= MAX_LINE_CHARS:
        return Folded(line=first)
    return Folded(line=f"{first[:MAX_LINE_CHARS].rstrip()}…", whole=text)


def fold_error(text: str, *, repeats: str = "") -> Folded:
    """Return an error (class and message) cut to one line, its class without the module."""
    if repeats and text:
        return fold(text, repeats=repeats)
    path, colon, message = text.partition(":")
    short = f"{path.rpartition('.')[2]}{colon}{message}" if " " not in path else text
    folded = fold(short)
    return Folded(line=folded.line, whole=text if folded.line != text else "")
