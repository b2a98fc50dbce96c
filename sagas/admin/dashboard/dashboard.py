"""Front page of the console: what operators must do, whether workers are alive, and how sagas went lately."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ...monitoring.liveness import MAX_DUE, Liveness, read_liveness
from ...operators.presentation import Badge, DisplayState, badge_of_state
from ...operators.presentation.badges import Tone
from ...operators.presentation.times import describe_distance, describe_moment, describe_span
from ...operators.queries import statistics
from ...operators.queries.statistics import DAY, FAILING, HOUR, OPEN, WEEK, Statistics
from ..ui.addresses import find_saga_url, find_url
from ..ui.menu import NEEDS
from ..ui.saved_views import list_url
from .chart_section import ChartSection, build_charts
from .windows import WindowCard, build_card

WINDOW_LABELS = {HOUR: "Last hour", DAY: "Last 24 hours", WEEK: "Last 7 days"}
OLD_AFTER = timedelta(minutes=5)  # older statistics of open sagas are marked as old
CLOSED_STATES = (DisplayState.COMPLETED, DisplayState.COMPENSATED, DisplayState.ABANDONED)
TILES = (
    ("Retrying", DisplayState.WAITING_FOR_RETRY),
    ("Overdue", DisplayState.OVERDUE),
    ("Compensating", DisplayState.COMPENSATING),
    ("Running", DisplayState.RUNNING),
)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """Count that links to the list."""

    label: str
    count: str
    url: str
    badge: Badge
    """Its icon and colour."""
    detail: str = ""
    """Further text."""


@dataclass(frozen=True, kw_only=True)
class WorkWarning:
    """WorkWarning about workers or late work."""

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
    work: tuple[tuple[str, str, str], ...]
    """Facts about workers and due work: label, text and URL."""
    charts: ChartSection
    windows: tuple[WindowCard, ...]
    failing: tuple[FailingStep, ...]
    failing_counted: str
    failures_url: str
    log_url: str


def build_dashboard(site: str, span: str = "") -> Dashboard:
    """Return the dashboard of an admin site as of now; stale statistics are counted anew.

    ``span``: code of the time window of the charts.
    """
    liveness = read_liveness()
    found = statistics.read_statistics(statistics.ON_DASHBOARD)
    if stale := statistics.list_stale(found, liveness.now):
        found |= statistics.count_stale(stale)
    opened = found[OPEN]
    return Dashboard(
        warnings=tuple(_list_warnings(liveness, site)),
        tiles=tuple(_list_tiles(opened.data, site)),
        states=tuple(_list_states(opened.data, site)),
        counted=describe_counting(opened, liveness.now),
        is_old=opened.computed_at is None or liveness.now - opened.computed_at > OLD_AFTER,
        work=tuple(_list_work(liveness, site)),
        charts=build_charts(span, found, liveness.now),
        windows=tuple(
            build_card(window, label, found[window.name], describe_counting(found[window.name], liveness.now))
            for window, label in WINDOW_LABELS.items()
        ),
        failing=tuple(_list_failing(found[FAILING].data, site)),
        failing_counted=describe_counting(found[FAILING], liveness.now),
        failures_url=find_url(site, "sagas_saga_failures"),
        log_url=find_url(site, "sagas_saga_log"),
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


def _list_tiles(data: Mapping[str, Any], site: str) -> Iterator[Tile]:
    needs = int(data.get("needs", 0))
    yield Tile(
        label="Needs attention",
        count=show_count(needs, data),
        url=list_url(site, **NEEDS),
        badge=Badge(word="", icon="hand" if needs else "check", tone=Tone.URGENT if needs else Tone.GOOD),
    )
    states = data.get("states", {})
    for label, state in TILES:
        count, badge = int(states.get(state.value, 0)), badge_of_state(state)
        tone = badge.tone if count else Tone.QUIET
        shown = Badge(word="", icon=badge.icon, tone=tone)
        yield Tile(label=label, count=show_count(count, data), url=list_url(site, display=state.value), badge=shown)
    today = {state: int(data.get("today", {}).get(state.value, 0)) for state in CLOSED_STATES}
    yield Tile(
        label="Closed today",
        count=show_count(sum(today.values()), data),
        url=list_url(site, closed="today"),
        badge=Badge(word="", icon="check", tone=Tone.QUIET),
        detail=", ".join(f"{count:,} {state.value}" for state, count in today.items() if count),
    )


def show_count(count: int, data: Mapping[str, Any]) -> str:
    """Return a count as text, or a dash when nothing has been counted."""
    return f"{count:,}" if data else "-"


def _list_states(data: Mapping[str, Any], site: str) -> Iterator[StateRow]:
    states = data.get("states", {})
    for state in DisplayState:
        if count := int(states.get(state.value, 0)):
            yield StateRow(badge=badge_of_state(state), count=f"{count:,}", url=list_url(site, display=state.value))


def _list_work(liveness: Liveness, site: str) -> Iterator[tuple[str, str, str]]:
    workers = find_url(site, "sagas_sagaworker_changelist")
    yield "Workers", f"{len(liveness.workers):,}", workers
    swept = describe_distance(liveness.last_sweep_at, liveness.now) if liveness.last_sweep_at else "never"
    yield "Last sweep", swept, workers
    yield "Due now", _count_up_to(liveness.due), ""
    if liveness.owed_hooks:
        yield "Closed sagas with a pending on_closed hook", _count_up_to(liveness.owed_hooks), ""
    if liveness.oldest_due_at is None:
        yield "Oldest due step", "none", ""
        return
    where = f"{liveness.oldest_definition}: {liveness.oldest_step or 'the next step'}"
    since = f"for {describe_span(liveness.oldest_due_age)}, since {describe_moment(liveness.oldest_due_at)}"
    yield "Oldest due step", f"{where}, {since}", find_saga_url(site, liveness.oldest_id)


def _count_up_to(count: int) -> str:
    return f"more than {MAX_DUE:,}" if count > MAX_DUE else f"{count:,}"


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
