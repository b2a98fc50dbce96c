"""Time window of a page, read from its URL."""

from django.http import HttpRequest

from ...operators.time_windows import TIME_WINDOWS, TimeWindow
from .base_filter import read_choice

PARAMETER = "span"


def find_window(request: HttpRequest, default: str) -> TimeWindow:
    """Return the time window of a URL, or the default one.

    Raises: QueryRefused.
    """
    return TIME_WINDOWS[read_choice(request, PARAMETER, TIME_WINDOWS) or default]
