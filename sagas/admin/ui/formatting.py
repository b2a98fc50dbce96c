"""Formatting of moments and durations."""

from dataclasses import dataclass
from datetime import datetime

from ...moments import in_utc
from ...operators.presentation.times import describe_distance, describe_moment, describe_span


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Point in time as a page shows it."""

    iso: str
    """ISO 8601 in UTC."""
    text: str
    """Text to the second."""
    distance: str
    """Distance from now in words."""


def show_moment(moment: datetime, now: datetime) -> Moment:
    """Return a point in time as a page shows it."""
    return Moment(iso=in_utc(moment).isoformat(), text=describe_moment(moment), distance=describe_distance(moment, now))


def show_duration(started_at: datetime | None, ended_at: datetime | None, now: datetime) -> str:
    """Return a duration in words, up to now if it has not ended; empty if it has not begun."""
    if started_at is None:
        return ""
    return describe_span(ended_at - started_at) if ended_at else f"{describe_span(now - started_at)} so far"
