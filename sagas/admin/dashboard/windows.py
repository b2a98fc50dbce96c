"""Rows of time windows: how many sagas were started and closed, how they ended and how long they took."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ...operators.presentation.drawing.charts import Part
from ...operators.presentation.times import describe_span
from ...operators.queries.statistics import MAX_DURATIONS, Statistics, Window

HEADS = ("Started", "Closed", "Completed", "Compensated", "Abandoned", "p50 duration", "p95 duration")


@dataclass(frozen=True, kw_only=True)
class WindowRow:
    """Row of one time window."""

    label: str
    counted: str
    """Age of the statistics."""
    cells: tuple[str, ...]
    """One for each of ``HEADS``."""
    note: str
    """What was left out; empty when nothing was."""


def build_row(window: Window, label: str, counted: Statistics, age: str) -> WindowRow:
    """Return the row of a window from its statistics."""
    data = counted.data
    whole, _ = read_took(data, window)
    newest = whole[0] if whole else 0
    return WindowRow(
        label=label,
        counted=age,
        cells=tuple(_list_cells(data, window, whole)) if data else ("-",) * len(HEADS),
        note=f"Durations of the {newest:,} sagas closed last." if newest >= MAX_DURATIONS else "",
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


def _list_cells(data: Mapping[str, Any], window: Window, whole: tuple[int, float, float] | None) -> Iterator[str]:
    counts = {state: sum(parts) for state, parts in sum_ended(data, window).items()}
    closed = sum(counts.values())
    yield f"{sum(row['sagas'] for row in data.get('begun', [])):,}"
    yield f"{closed:,}, {_show_rate(closed / (window.length.total_seconds() / 60))}"
    yield from (show_share(count, closed) for count in counts.values())
    yield from (show_seconds(seconds) for seconds in whole[1:]) if whole else ("-", "-")


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
