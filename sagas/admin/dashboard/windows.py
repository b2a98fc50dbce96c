"""Cards of time windows: how many sagas were started and closed, how they ended and how long they took."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ...operators.presentation.drawing.charts import Chart, draw_bars
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
    ended = _sum_ended(data, window)
    closed = sum(sum(parts) for parts in ended.values())
    labels = _list_labels(data, window)
    totals = [sum(parts[place] for parts in ended.values()) for place in range(window.parts)]
    whole, p95 = _read_took(data, window)
    looked_at = whole[0] if whole else 0
    return WindowCard(
        label=label,
        counted=age,
        facts=tuple(_list_facts(data, ended, closed, whole, window)),
        closed=draw_bars(
            totals,
            labels,
            [f"{total:,}" for total in totals],
            width=WIDTH,
            height=HEIGHT,
            summary=f"Closed sagas, {label.lower()}: {closed:,}",
        ),
        durations=draw_bars(
            p95,
            labels,
            [_show_seconds(seconds) if seconds else "none closed" for seconds in p95],
            width=WIDTH,
            height=HEIGHT,
            summary=f"p95 duration, {label.lower()}",
        ),
        note=f"Durations of the {looked_at:,} sagas closed last." if looked_at >= MAX_DURATIONS else "",
    )


def _sum_ended(data: Mapping[str, Any], window: Window) -> dict[str, list[int]]:
    """Return the number of sagas that ended in each part, by state."""
    ended = {state: [0] * window.parts for state in ("completed", "compensated", "abandoned")}
    for row in data.get("ended", []):
        ended[row["state"]][_place(row["part"], window)] += row["sagas"]
    return ended


def _place(part: int, window: Window) -> int:
    """Return the index of a part; numbers out of range count as the first or the last part."""
    return min(max(part, 1), window.parts) - 1


def _read_took(data: Mapping[str, Any], window: Window) -> tuple[tuple[int, float, float] | None, list[float]]:
    """Return count, median and 95th percentile of the whole window, and the 95th percentile of each part."""
    whole, parts = None, [0.0] * window.parts
    for row in data.get("took", []):
        if row["part"] is None:
            whole = (row["sagas"], *row["seconds"]) if row["seconds"] else None
        elif row["seconds"]:
            place = _place(row["part"], window)
            parts[place] = max(parts[place], row["seconds"][1])
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
        ("Started", f"{data.get('started', 0):,}"),
        ("Closed", f"{closed:,}, {_show_rate(closed / minutes)}"),
        ("Completed", _show_share(counts["completed"], closed)),
        ("Compensated", _show_share(counts["compensated"], closed)),
        ("Abandoned", _show_share(counts["abandoned"], closed)),
        ("Median duration", _show_seconds(whole[1]) if whole else "-"),
        ("p95 duration", _show_seconds(whole[2]) if whole else "-"),
    ]


def _show_share(count: int, total: int) -> str:
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


def _show_seconds(seconds: float) -> str:
    return describe_span(timedelta(seconds=max(seconds, 0.0)))


def _list_labels(data: Mapping[str, Any], window: Window) -> list[str]:
    """Return a label with the beginning of each part."""
    if not data:
        return [f"{place + 1}" for place in range(window.parts)]
    since = datetime.fromisoformat(data["since"]).astimezone(UTC)
    pattern = "%H:%M" if window.length <= timedelta(days=1) else "%a %d %H:%M"
    return [f"from {since + place * window.length / window.parts:{pattern}} UTC" for place in range(window.parts)]
