"""Rate limits as written in settings: ``60/minute``. Independent of tables and requests."""

import re
from dataclasses import dataclass

# DRF reads the first letter only; these are its usual spellings.
_UNITS = {
    1: ("s", "sec", "secs", "second", "seconds"),
    60: ("m", "min", "mins", "minute", "minutes"),
    3600: ("h", "hr", "hrs", "hour", "hours"),
    86400: ("d", "day", "days"),
}
_SECONDS = {unit: seconds for seconds, units in _UNITS.items() for unit in units}
_RATE = re.compile(r"([0-9]+)/([a-z]+)")
# An allowance is counted by moving a moment of the database, and its moments are whole microseconds.
MOST_PER_SECOND = 1_000_000
_MOST_DIGITS = len(str(MOST_PER_SECOND * max(_UNITS)))
_FORM = (
    "Write a whole number, a slash, and s, m, h or d, or one of the words second, minute, hour and day: 60/minute, 5/s."
)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A number of times in a period."""

    count: int
    """How often in a period, and how often at once."""
    period_seconds: int
    """The period."""


def parse_rate(text: object) -> Rate:
    """Return the rate that a setting writes.

    Raises: ValueError that says what is wrong and what to write instead.
    """
    match = _RATE.fullmatch(text) if isinstance(text, str) else None
    if match is None or match[2] not in _SECONDS:
        raise ValueError(f"{_quote(text)} is not a rate. {_FORM}")
    digits, period_seconds = match[1].lstrip("0"), _SECONDS[match[2]]
    if not digits:
        raise ValueError(f"{_quote(text)} would refuse everything. {_FORM} The minimum is 1/day.")
    # The length first: int() refuses very long texts.
    if len(digits) > _MOST_DIGITS or int(digits) > MOST_PER_SECOND * period_seconds:
        raise ValueError(
            f"{_quote(text)} exceeds the maximum, {MOST_PER_SECOND}/second: "
            "time is measured in microseconds. Write a smaller number."
        )
    return Rate(count=int(digits), period_seconds=period_seconds)


def _quote(text: object) -> str:
    """Show a value without what would spoil a terminal, and not all of a very long one."""
    shown = ascii(text)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
