"""SVG elements with every name and text escaped."""

from xml.sax.saxutils import escape, quoteattr

from ....core.visible import show_invisible

# Pixels. A character of the monospaced font at 13 px is 7.8 px wide in browsers' fonts.
CHAR = 7.8
FONT = "ui-monospace, Menlo, Consolas, monospace"


def element(tag: str, *children: str, **attributes: str | float | None) -> str:
    """Return an element. Underscores in attribute names become hyphens, a trailing one is dropped; None is left out.

    ``children``: SVG, not text.
    """
    written = [
        f" {name.rstrip('_').replace('_', '-')}={quoteattr(value if isinstance(value, str) else f'{value:g}')}"
        for name, value in attributes.items()
        if value is not None
    ]
    opening = f"<{tag}{''.join(written)}"
    return f"{opening}>{''.join(children)}</{tag}>" if children else f"{opening}/>"


def clean(text: str) -> str:
    """Return a text as SVG: escaped, and with invisible or invalid characters as visible escapes."""
    return escape(show_invisible(text))


def attribute(text: str) -> str:
    """Return a text for an attribute; ``element`` escapes it."""
    return show_invisible(text)


def tooltip(text: str) -> str:
    """Return a text that is shown on hover and read by screen readers."""
    return f"<title>{clean(text)}</title>"


def symbol_at(x: float, y: float, url: str, *, size: float) -> str:
    """Return a symbol of a symbol file."""
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
    """Return a whole picture: an image to screen readers or, if it has links, a group, so that they can be reached.

    ``name``: prefix of the ids inside, so that one page can have several. ``more``: attributes.
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
    """Return a text of at most ``limit`` characters, cut in its middle because names differ at both ends."""
    if len(text) <= limit:
        return text
    half = (limit - 1) // 2
    return f"{text[: limit - 1 - half]}…{text[-half:]}"
