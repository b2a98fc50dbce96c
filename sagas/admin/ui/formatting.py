"""Show moments and spans of time, and know who may see payloads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ...moments import in_utc
from ...operators.presentation.times import describe_distance, describe_moment, describe_span

PAYLOAD_PERMISSION = "sagas.view_payload"


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Show a point in time."""

    iso: str
    """For machines."""
    text: str
    """To the second."""
    distance: str
    """From now."""


def show_moment(moment: datetime, now: datetime) -> Moment:
    """Return a point in time for a person."""
    return Moment(iso=in_utc(moment).isoformat(), text=describe_moment(moment), distance=describe_distance(moment, now))


def show_duration(started_at: datetime | None, ended_at: datetime | None, now: datetime) -> str:
    """Return how long something took, or has taken so far; empty when it has not begun."""
    if started_at is None:
        return ""
    return describe_span(ended_at - started_at) if ended_at else f"{describe_span(now - started_at)} so far"


def may_see_payloads(user: Any) -> bool:
    """Tell whether a person may see inputs, results and error texts."""
    return bool(user.has_perm(PAYLOAD_PERMISSION))
