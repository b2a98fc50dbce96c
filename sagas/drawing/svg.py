"""Put SVG elements together, every name and text escaped."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from ..visible import show_invisible

# Pixels. A character of the monospaced font at 13 px is 7.8 px wide in the fonts that browsers bring.
CHAR = 7.8
FONT = "ui-monospace, Menlo, Consolas, monospace"


def element(tag: str, *children: str, **attributes: str | float | None) -> str:
    """Return an element. Underlines in names of attributes become dashes, one at the end is dropped; None is left out.

    ``children``: SVG already, not text.
    """
    written = [
        f" {name.rstrip('_').replace('_', '-')}={quoteattr(value if isinstance(value, str) else f'{value:g}')}"
        for name, value in attributes.items()
        if value is not None
    ]
    opening = f"<{tag}{''.join(written)}"
    return f"{opening}>{''.join(children)}</{tag}>" if children else f"{opening}/>"


def clean(text: str) -> str:
    """Return a text as SVG: escaped, and with what nobody could see, or is no character there, as an escape."""
    return escape(show_invisible(text))


def attribute(text: str) -> str:
    """Return a text that an attribute may hold; ``element`` escapes it."""
    return show_invisible(text)


def text_at(
    x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", class_: str | None = None
) -> str:
    """Return a line of text."""
    return element(
        "text", clean(text), x=x, y=y, class_=class_, text_anchor=anchor, font_weight=weight, fill="currentColor",
        stroke="none",
    )  # fmt: skip


def shorten(text: str, limit: int) -> str:
    """Return a text of at most ``limit`` characters, cut in its middle: names differ at both ends."""
    if len(text) <= limit:
        return text
    half = (limit - 1) // 2
    return f"{text[: limit - 1 - half]}…{text[-half:]}"
