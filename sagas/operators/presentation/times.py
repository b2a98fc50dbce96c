"""Times and time spans as text for operators."""

import math
from datetime import datetime, timedelta

from ...moments import in_utc

UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def describe_span(span: timedelta) -> str:
    """Return a span in at most two units, such as ``3 h 5 min``; below ten seconds with a decimal."""
    seconds = abs(span.total_seconds())
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    place = next(place for place, (_, size) in enumerate(UNITS) if seconds >= size)
    name, size = UNITS[place]
    whole, rest = divmod(int(seconds), size)
    if place + 1 == len(UNITS):
        return f"{whole} {name}"
    smaller, smaller_size = UNITS[place + 1]
    return f"{whole} {name} {rest // smaller_size} {smaller}" if rest >= smaller_size else f"{whole} {name}"


def describe_distance(moment: datetime, now: datetime) -> str:
    """Return how far away a time is, in whole seconds at least: ``in 5 min``, ``5 min ago`` or ``now``."""
    seconds = math.ceil((in_utc(moment) - in_utc(now)).total_seconds())
    if not seconds:
        return "now"
    span = f"{abs(seconds)} s" if abs(seconds) < 10 else describe_span(timedelta(seconds=seconds))
    return f"in {span}" if seconds > 0 else f"{span} ago"


def describe_time(moment: datetime) -> str:
    """Return a time of day to the second, in UTC whatever the project's time zone."""
    return f"{in_utc(moment):%H:%M:%S}"


def describe_moment(moment: datetime) -> str:
    """Return a time to the second, in UTC whatever the project's time zone."""
    return f"{in_utc(moment):%Y-%m-%d %H:%M:%S} UTC"
