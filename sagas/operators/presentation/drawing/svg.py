"""SVG elements, every name and text escaped."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from ....core.visible import show_invisible

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


def tooltip(text: str) -> str:
    """Return the text that a pointer shows and a screen reader reads."""
    return f"<title>{clean(text)}</title>"


def symbol_at(x: float, y: float, url: str, *, size: float) -> str:
    """Return a symbol from a file of symbols."""
    return element("use", href=url, x=x, y=y, width=size, height=size, stroke="none")


def draw_picture(
    *parts: str,
    name: str,
    title: str,
    description: str,
    width: float,
    height: float,
    has_links: bool,
    **more: str | float,
) -> str:
    """Return a whole picture: one image to screen readers, or a group, so that its links can be reached.

    ``name``: what the ids inside begin with, so that several stand in one page. ``more``: attributes.
    """
    heading = [
        f'<title id="{name}-title">{clean(title)}</title>',
        f'<desc id="{name}-desc">{clean(description)}</desc>',
    ]
    return element(
        "svg", "\n", "\n".join([*heading, *filter(None, parts)]), "\n",
        xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width:g} {height:g}", width=width, height=height,
        role="group" if has_links else "img", aria_labelledby=f"{name}-title {name}-desc", fill="none",
        stroke="currentColor", font_family=FONT, **more,
    )  # fmt: skip


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
