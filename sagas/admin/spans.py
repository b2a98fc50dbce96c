"""Choose the window of time that a page looks at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.http import HttpRequest

from .choosing import SPANS, read_choice

PARAMETER = "span"


@dataclass(frozen=True, kw_only=True)
class Span:
    """Hold a window that ends now."""

    code: str
    """What the URL calls it."""
    label: str
    """What people call it."""
    length: timedelta
    """How long it is."""


def list_spans() -> list[Span]:
    """Return the windows, the shortest first."""
    return [Span(code=code, label=label, length=length) for code, (label, length) in SPANS.items()]


def find_span(request: HttpRequest, default: str) -> Span:
    """Return the window of a URL, or the default one where it names none.

    Raises: QueryRefused.
    """
    spans = {span.code: span for span in list_spans()}
    return spans[read_choice(request, PARAMETER, spans) or default]
