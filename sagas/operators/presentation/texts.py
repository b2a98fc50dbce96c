"""External texts on a page: invisible characters are shown, and writing direction does not leak out of the text."""

from typing import Any

from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeData, SafeString

from ...core.visible import show_invisible

__all__ = ["set_apart", "show_invisible"]


def set_apart(value: Any, *, keep_lines: bool = False) -> SafeString:
    """Return a text as HTML, isolated from its surroundings if it contains more than printable ASCII.

    HTML stays HTML. ``keep_lines``: for a block of its own that keeps line ends.
    """
    text = str(value)
    if text.isascii() and (text.isprintable() or (keep_lines and text.replace("\n", "").isprintable())):
        return conditional_escape(text)
    shown = show_invisible(text, keep_lines=keep_lines or isinstance(text, SafeData))
    return format_html("<bdi>{}</bdi>", SafeString(shown) if isinstance(text, SafeData) else shown)
