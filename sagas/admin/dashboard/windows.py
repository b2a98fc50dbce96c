"""Cards of time windows: how many sagas were started and closed, how they ended and how long they took."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ...operators.presentation.drawing.charts import Chart, Part, draw_trend
from ...operators.presentation.times import describe_span
from ...operators.queries.statistics import MAX_DURATIONS, Statistics, Window

WIDTH, HEIGHT = 260, 44


@dataclass(frozen=True, kw_only=True)
class WindowCard:
    """Card of one time window."""

    label: str
    counted: str
    """Age of the statistics."""
    facts: tuple[tuple[str, str], ...]
    closed: Chart
    """Number of closed sagas over time."""
    durations: Chart
    """95th percentile of durations over time."""
    note: str
    """What was left out; empty when nothing was."""


def build_card(window: Window, label: str, counted: Statistics, age: str) -> WindowCard:
    """Return the card of a window from its statistics."""
    data = counted.data
    ended = sum_ended(data, window)
    closed = sum(sum(parts) for parts in ended.values())
    labels = [part.label for part in list_parts(read_since(data), window)]
    totals = [sum(parts[place] for parts in ended.values()) for place in range(window.parts)]
    whole, took = read_took(data, window)
    p95 = [seconds[1] if seconds else 0.0 for seconds in took]
    looked_at = whole[0] if whole else 0
    return WindowCard(
        label=label,
        counted=age,
        facts=tuple(_list_facts(data, ended, closed, whole, window)),
        closed=draw_trend(
            totals,
            labels,
            [f"{total:,}" for total in totals],
            width=WIDTH,
            height=HEIGHT,
            summary=f"Closed sagas, {label.lower()}: {closed:,}",
        ),
        durations=draw_trend(
            p95,
            labels,
            [show_seconds(seconds) if seconds else "none closed" for seconds in p95],
            width=WIDTH,
            height=HEIGHT,
            summary=f"p95 duration, {label.lower()}",
        ),
        note=f"Durations of the {looked_at:,} sagas closed last." if looked_at >= MAX_DURATIONS else "",
    )


def sum_ended(data: Mapping[str, Any], window: Window) -> dict[str, list[int]]:
    """Return the number of sagas that ended in each part, by state."""
    found = data.get("ended", [])
    states = ("completed", "compensated", "abandoned")
    return {state: sum_parts([row for row in found if row["state"] == state], window) for state in states}


def sum_parts(rows: Iterable[Mapping[str, Any]], window: Window) -> list[int]:
    """Return the number of sagas in each part."""
    sums = [0] * window.parts
    for row in rows:
        sums[_place(row["part"], window)] += row["sagas"]
    return sums


def _place(part: int, window: Window) -> int:
    """Return the index of a part; numbers out of range count as the first or the last part."""
    return min(max(part, 1), window.parts) - 1


def read_took(
    data: Mapping[str, Any], window: Window
) -> tuple[tuple[int, float, float] | None, list[tuple[float, float] | None]]:
    """Return count, median and 95th percentile of the whole window, and the percentiles of each part."""
    whole: tuple[int, float, float] | None = None
    parts: list[tuple[float, float] | None] = [None] * window.parts
    for row in data.get("took", []):
        if row["part"] is None:
            whole = (row["sagas"], *row["seconds"]) if row["seconds"] else None
        elif row["seconds"]:
            place = _place(row["part"], window)
            parts[place] = max(parts[place] or (0.0, 0.0), tuple(row["seconds"]))
    return whole, parts


def _list_facts(
    data: Mapping[str, Any],
    ended: Mapping[str, list[int]],
    closed: int,
    whole: tuple[int, float, float] | None,
    window: Window,
) -> list[tuple[str, str]]:
    if not data:
        return [("Statistics", "not counted yet")]
    minutes = window.length.total_seconds() / 60
    counts = {state: sum(parts) for state, parts in ended.items()}
    return [
        ("Started", f"{sum(row['sagas'] for row in data.get('begun', [])):,}"),
        ("Closed", f"{closed:,}, {_show_rate(closed / minutes)}"),
        ("Completed", show_share(counts["completed"], closed)),
        ("Compensated", show_share(counts["compensated"], closed)),
        ("Abandoned", show_share(counts["abandoned"], closed)),
        ("p50 duration", show_seconds(whole[1]) if whole else "-"),
        ("p95 duration", show_seconds(whole[2]) if whole else "-"),
    ]


def show_share(count: int, total: int) -> str:
    """Return a share in percent, with its number."""
    if not total:
        return "-"
    share = 100 * count / total
    # Only all are 100 %, and only none are 0 %.
    shown = f"{share:.1f}" if 0.05 <= share <= 99.95 or count in (0, total) else ("> 99.9" if share > 50 else "< 0.1")
    return f"{shown} % ({count:,})"


def _show_rate(per_minute: float) -> str:
    if per_minute >= 60:
        return f"{per_minute / 60:,.1f} a second"
    return f"{per_minute:.1f} a minute" if per_minute >= 0.1 or not per_minute else "less than 0.1 a minute"


def show_seconds(seconds: float) -> str:
    """Return a number of seconds as a span of time."""
    return describe_span(timedelta(seconds=max(seconds, 0.0)))


def read_since(data: Mapping[str, Any]) -> datetime | None:
    """Return the beginning of the time that was counted; None: not counted yet."""
    return datetime.fromisoformat(data["since"]).astimezone(UTC) if data else None


def list_parts(since: datetime | None, window: Window) -> list[Part]:
    """Return the parts of a window; numbered, if it has no beginning."""
    if since is None:
        return [Part(tick=f"{place + 1}", label=f"{place + 1}") for place in range(window.parts)]
    is_short, length = window.length <= timedelta(days=1), window.length / window.parts
    tick, first = ("%H:%M", "%H:%M") if is_short else ("%a %d", "%a %d %H:%M")
    begins = [since + place * length for place in range(window.parts)]
    return [Part(tick=f"{at:{tick}}", label=f"{at:{first}} to {at + length:%H:%M} UTC") for at in begins]
