"""Time windows that end now, by the codes that URLs and filters use."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, kw_only=True)
class TimeWindow:
    """Time window that ends now."""

    code: str
    """Its name in a URL."""
    label: str
    """Its name on a page."""
    length: timedelta
    """Its length."""


TIME_WINDOWS = {
    window.code: window
    for window in (
        TimeWindow(code="15m", label="Last 15 minutes", length=timedelta(minutes=15)),
        TimeWindow(code="1h", label="Last hour", length=timedelta(hours=1)),
        TimeWindow(code="24h", label="Last 24 hours", length=timedelta(hours=24)),
        TimeWindow(code="7d", label="Last 7 days", length=timedelta(days=7)),
        TimeWindow(code="30d", label="Last 30 days", length=timedelta(days=30)),
    )
}
