"""Front page of the console: what operators must do, whether workers are alive, and how sagas went lately."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ...core.severity import Severity
from ...monitoring.liveness import Liveness, read_liveness
from ...operators.actor import Actor
from ...operators.presentation import Badge, DisplayState, badge_of_state
from ...operators.presentation.times import describe_distance, describe_span
from ...operators.queries import statistics
from ...operators.queries.failing_groups import build_failing_groups
from ...operators.queries.statistics import DAY, FAILING, HOUR, OPEN, WEEK, Statistics
from ..ui.addresses import find_saga_url, find_url
from ..ui.list_order import SEVEREST
from ..ui.menu import NEEDS
from ..ui.saved_views import list_url
from .attention import AttentionRow, list_attention
from .chart_section import ChartSection, build_charts
from .event_section import EventSection, build_event_section
from .tiles import Tile, list_tiles
from .windows import HEADS, WindowRow, build_row

WINDOW_LABELS = {HOUR: "Last hour", DAY: "Last 24 hours", WEEK: "Last 7 days"}
OLD_AFTER = timedelta(minutes=5)  # older statistics of open sagas are marked as old


@dataclass(frozen=True, kw_only=True)
class WorkWarning:
    """Warning about workers or late work."""

    text: str
    advice: str
    url: str = ""
    """Page with details."""


@dataclass(frozen=True, kw_only=True)
class StateRow:
    """Number of open sagas in a display state."""

    badge: Badge
    count: str
    url: str


@dataclass(frozen=True, kw_only=True)
class FailingStep:
    """Step that fails often."""

    definition: str
    step: str
    direction: str
    failures: str
    error: str
    """The class of its most frequent error."""
    groups: int
    """Number of failure groups."""
    url: str
    """List of the open sagas at this step."""


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """Data of the front page."""

    warnings: tuple[WorkWarning, ...]
    tiles: tuple[Tile, ...]
    states: tuple[StateRow, ...]
    counted: str
    """When open sagas were counted."""
    is_old: bool
    """Whether that is longer ago than ``OLD_AFTER``."""
    attention: tuple[AttentionRow, ...]
    """What needs attention, the most severe first."""
    attention_url: str
    """List of everything that does."""
    open_url: str
    """List of all open sagas."""
    charts: ChartSection
    events: EventSection | None
    """What waits between participants; None while events are off."""
    window_heads: tuple[str, ...]
    windows: tuple[WindowRow, ...]
    failing: tuple[FailingStep, ...]
    failing_counted: str


def build_dashboard(site: str, reader: Actor, span: str = "") -> Dashboard:
    """Return the dashboard of an admin site as of now; stale statistics are counted anew.

    ``reader``: who sees it. ``span``: code of the time window of the charts.
    """
    liveness = read_liveness()
    found = statistics.read_statistics(statistics.ON_DASHBOARD)
    if stale := statistics.list_stale(found, liveness.now):
        found |= statistics.count_stale(stale)
    opened, now = found[OPEN], liveness.now
    groups = [group for group in build_failing_groups(opened.data.get("groups", [])) if group.severity < Severity.OPEN]
    return Dashboard(
        warnings=tuple(_list_warnings(liveness, site)),
        tiles=tuple(list_tiles(opened.data, groups, liveness, site)),
        states=tuple(_list_states(opened.data, site)),
        counted=describe_counting(opened, now),
        is_old=opened.computed_at is None or now - opened.computed_at > OLD_AFTER,
        attention=list_attention(groups, now, site, reader),
        attention_url=list_url(site, **NEEDS),
        open_url=list_url(site, by=SEVEREST),
        charts=build_charts(span, found, now),
        events=build_event_section(now, site, reader, has_time=not stale),
        window_heads=HEADS,
        windows=tuple(
            build_row(window, label, found[window.name], describe_counting(found[window.name], now))
            for window, label in WINDOW_LABELS.items()
        ),
        failing=tuple(_list_failing(found[FAILING].data, site)),
        failing_counted=describe_counting(found[FAILING], now),
    )


def describe_counting(counted: Statistics, now: datetime) -> str:
    """Return the age of a set of statistics in words."""
    if counted.computed_at is None:
        return "not counted yet"
    age = max(now - counted.computed_at, timedelta())
    return "counted just now" if age < timedelta(seconds=1) else f"counted {describe_span(age)} ago"


def _list_warnings(liveness: Liveness, site: str) -> Iterator[WorkWarning]:
    workers = find_url(site, "sagas_sagaworker_changelist")
    if not liveness.workers:
        seen = (
            f"The last sweep was {describe_distance(liveness.last_sweep_at, liveness.now)}."
            if liveness.last_sweep_at
            else ""
        )
        yield WorkWarning(
            text=f"No worker was seen recently. {seen}".strip(),
            advice="Start a worker, or manage.py saga_sweep --loop --run; manage.py saga_doctor shows what is wrong.",
            url=workers,
        )
    if liveness.is_late:
        yield WorkWarning(
            text=f"Work has been due for {describe_span(liveness.oldest_due_age)} and no worker has done it.",
            advice=f"Check that a worker serves queue {liveness.oldest_queue}.",
            url=find_saga_url(site, liveness.oldest_id),
        )


def _list_states(data: Mapping[str, Any], site: str) -> Iterator[StateRow]:
    states = data.get("states", {})
    for state in DisplayState:
        if count := int(states.get(state.value, 0)):
            yield StateRow(badge=badge_of_state(state), count=f"{count:,}", url=list_url(site, display=state.value))


def _list_failing(data: Mapping[str, Any], site: str) -> Iterator[FailingStep]:
    for row in data.get("steps", []):
        yield FailingStep(
            definition=row["definition"],
            step=row["step"],
            direction=row["direction"],
            failures=f"{row['failures']:,}",
            error=str(row["error_class"]).rpartition(".")[2],
            groups=row["groups"],
            url=list_url(site, step=row["step"]),
        )
