"""Charts of the dashboard: each answers one question about a time window."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...operators.presentation.drawing.axes import fit_counts, fit_log_spans, fit_spans
from ...operators.presentation.drawing.charts import Chart, Series, draw_lines, draw_stack
from ...operators.queries.statistics import DAY, DUE, FINE_SECONDS, HOUR, WEEK, Statistics, Window
from ...operators.time_windows import TIME_WINDOWS, TimeWindow
from .windows import list_parts, read_since, read_took, show_seconds, sum_ended, sum_parts

WINDOWS: Mapping[str, Window] = {"1h": HOUR, "24h": DAY, "7d": WEEK}
DEFAULT_SPAN = "24h"
LENGTHS = {HOUR: "5 minutes", DAY: "hour", WEEK: "6 hours"}


@dataclass(frozen=True, kw_only=True)
class Question:
    """Chart with the question that it answers."""

    name: str
    """Name in ids."""
    question: str
    title: str
    """What the chart shows."""
    chart: Chart


@dataclass(frozen=True, kw_only=True)
class ChartSection:
    """Charts of one time window."""

    span: TimeWindow
    """The window."""
    spans: tuple[TimeWindow, ...]
    """Windows to choose from."""
    right: Question
    """Whether all is right."""
    slow: Question
    """Whether it is slow."""
    waiting: Question
    """Whether work is waiting."""


def build_charts(span: str, found: Mapping[str, Statistics], now: datetime) -> ChartSection:
    """Return the charts of a window; a code that names none has the default one, because the page is the admin's."""
    code = span if span in WINDOWS else DEFAULT_SPAN
    window, label = WINDOWS[code], TIME_WINDOWS[code].label
    return ChartSection(
        span=TIME_WINDOWS[code],
        spans=tuple(TIME_WINDOWS[known] for known in WINDOWS),
        right=_ask_whether_right(found[window.name], window, label, now),
        slow=_ask_whether_slow(found[window.name], window, label, now),
        waiting=_ask_whether_waiting(found[DUE], window, label, now),
    )


def _ask_whether_right(counted: Statistics, window: Window, label: str, now: datetime) -> Question:
    data = counted.data
    sums = {**sum_ended(data, window), "needs": sum_parts(data.get("needing", []), window)}
    begun = sum_parts(data.get("begun", []), window)
    stacked = [
        _count("completed", "good", sums["completed"]),
        _count("compensated", "back", sums["compensated"]),
        _count("abandoned", "muted", sums["abandoned"]),
        _count("needs attention", "bad", sums["needs"]),
    ]
    totals = {state: sum(parts) for state, parts in sums.items()}
    summary = (
        f"{label}: {sum(begun):,} started; {totals['completed']:,} completed, {totals['compensated']:,} compensated and"
        f" {totals['abandoned']:,} abandoned. Of those started, {totals['needs']:,} need an operator now."
    )
    highest = max(*(sum(parts) for parts in zip(*sums.values(), strict=True)), *begun)
    chart = draw_stack(
        list_parts(read_since(data) or now - window.length, window), stacked, _count("started", "run", begun),
        fit_counts(highest), unit=f"Sagas per {LENGTHS[window]}", summary=summary,
    )  # fmt: skip
    title = f"Started and closed per {LENGTHS[window]}; needing an operator, by start"
    return Question(name="right", question="Is it all right?", title=title, chart=chart)


def _count(name: str, role: str, values: Sequence[int]) -> Series:
    return Series(name=name, role=role, values=tuple(values), texts=tuple(f"{value:,}" for value in values))


def _ask_whether_slow(counted: Statistics, window: Window, label: str, now: datetime) -> Question:
    whole, took = read_took(counted.data, window)
    p50, p95 = ([seconds[place] if seconds else None for seconds in took] for place in (0, 1))
    known = [seconds for seconds in (*p50, *p95) if seconds is not None]
    summary = f"{label}: no saga was closed."
    if whole:
        summary = f"{label}: half of the closed sagas took at most {show_seconds(whole[1])},"
        summary += f" and 95 % of them at most {show_seconds(whole[2])}."
    chart = draw_lines(
        list_parts(read_since(counted.data) or now - window.length, window),
        [_time("p50", "run", p50), _time("p95", "back", p95, is_dashed=True)],
        fit_log_spans(known), unit="Time, on a logarithmic scale", summary=summary,
    )  # fmt: skip
    return Question(name="slow", question="Is it slow?", title="Duration, start to end", chart=chart)


def _ask_whether_waiting(counted: Statistics, window: Window, label: str, now: datetime) -> Question:
    until = counted.computed_at or now
    since, length = until - window.length, window.length / window.parts
    ages: list[float | None] = [None] * window.parts
    for at, seconds in counted.data.get("points", []):
        # A point that began before the window belongs to its first part.
        distance = timedelta(seconds=at - since.timestamp())
        if timedelta(seconds=-FINE_SECONDS) < distance <= window.length:
            place = min(max(int(distance / length), 0), window.parts - 1)
            ages[place] = max(ages[place] or 0.0, float(seconds))
    known = [age for age in ages if age is not None]
    summary = f"{label}: not measured yet."
    if known:
        last = show_seconds(counted.data["points"][-1][1])
        summary = f"{label}: the oldest due step waited at most {show_seconds(max(known))}, and lately {last}."
    chart = draw_lines(
        list_parts(since, window), [_time("oldest due step", "run", ages)], fit_spans(max(known, default=0.0)),
        unit="Highest age", summary=summary,
    )  # fmt: skip
    return Question(name="waiting", question="Is work waiting?", title="Oldest due step", chart=chart)


def _time(name: str, role: str, values: Sequence[float | None], *, is_dashed: bool = False) -> Series:
    texts = tuple("-" if value is None else show_seconds(value) for value in values)
    return Series(name=name, role=role, values=tuple(values), texts=texts, is_dashed=is_dashed)
