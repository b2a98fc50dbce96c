"""Statistics of the dashboard, counted periodically and kept in a small table, so no page counts a million rows.

Sweepers count each set at its own pace and for at most a twentieth of the time. Several sweepers share the work by an
advisory lock. Without a sweeper the dashboard counts for itself, under a time-out, once the statistics are old. Each
set records when it was counted.
"""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from django.db import Error, connections

from ... import clock
from ...conf import get_settings
from ...models import Saga, SagaStatistic
from ...moments import in_utc
from ...transactions import own_transaction
from .. import presentation
from . import definition_statistics
from .failing_groups import GROUPS

logger = logging.getLogger(__name__)

STATEMENT_TIMEOUT_OF_SWEEPS, STATEMENT_TIMEOUT_OF_PAGES = "5s", "2s"
LOOK_SECONDS = 5.0  # how often a sweeper checks whether a set is to be counted
PART_OF_TIME = 20  # a set that takes a second to count is counted every twenty seconds at most
# A set that takes milliseconds is counted this often, so that a young project also sees its day and its week.
QUICK_PACE_SECONDS, QUICK_PART_OF_TIME = 15.0, 2_000
REST_SECONDS = 300.0  # how long a process skips a set that it could not count
STALE = 4  # a page counts a set itself when it is older than its pace times this
# The series of due work has a point for each five minutes of a day, and for each hour of a week.
FINE_SECONDS, COARSE_SECONDS = 300, 3_600
# Newest rows that durations and failures are computed from: 100,000 sagas take a quarter of a second.
MAX_DURATIONS, MAX_FAILURES, TOP_STEPS = 100_000, 20_000, 8


@dataclass(frozen=True, kw_only=True)
class Window:
    """Time window that ends now."""

    name: str
    """Name that its statistics are stored under."""
    length: timedelta
    """Its length."""
    parts: int
    """Number of parts it is divided into."""
    pace: timedelta
    """How often it is counted."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """One set of statistics."""

    data: Mapping[str, Any]
    """The counted values; empty: not counted yet."""
    computed_at: datetime | None
    """When they were counted; None: never."""


OPEN, FAILING, DUE, DEFINITIONS = "open", "failing", "due", "definitions"
HOUR = Window(name="hour", length=timedelta(hours=1), parts=12, pace=timedelta(seconds=30))
DAY = Window(name="day", length=timedelta(hours=24), parts=24, pace=timedelta(minutes=2))
WEEK = Window(name="week", length=timedelta(days=7), parts=28, pace=timedelta(minutes=15))
WINDOWS = (HOUR, DAY, WEEK)
DEFINITIONS_LATELY = {window: f"{DEFINITIONS}_{window.name}" for window in (DAY, WEEK)}
ON_DASHBOARD: Mapping[str, timedelta] = {
    OPEN: timedelta(seconds=15),
    FAILING: timedelta(minutes=1),
    DUE: timedelta(seconds=30),
    **{window.name: window.pace for window in WINDOWS},
}
SLOW = frozenset({DAY.name, WEEK.name, *DEFINITIONS_LATELY.values()})
PACES: Mapping[str, timedelta] = {
    **ON_DASHBOARD,
    DEFINITIONS: timedelta(minutes=1),
    **{name: window.pace for window, name in DEFINITIONS_LATELY.items()},
}

COUNT_WINDOW = """(
    WITH span AS (SELECT {now} - {length} AS since, {now} AS until), ended AS (
        SELECT width_bucket(extract(epoch FROM closed_at), extract(epoch FROM since), extract(epoch FROM until),
            {parts}) AS part, state, count(*) AS sagas
        FROM span, sagas_saga
        WHERE state IN ('completed', 'compensated', 'abandoned') AND closed_at IS NOT NULL
        AND closed_at >= {now} - {length} GROUP BY 1, 2
    ), begun AS (
        SELECT width_bucket(extract(epoch FROM created_at), extract(epoch FROM since), extract(epoch FROM until),
            {parts}) AS part, count(*) AS sagas
        FROM span, sagas_saga WHERE created_at >= {now} - {length} GROUP BY 1
    ), needing AS (
        SELECT width_bucket(extract(epoch FROM created_at), extract(epoch FROM since), extract(epoch FROM until),
            {parts}) AS part, count(*) AS sagas
        FROM span, ({needs}) AS found WHERE created_at >= {now} - {length} GROUP BY 1
    ), lately AS (
        SELECT state, closed_at, extract(epoch FROM closed_at - created_at) AS seconds FROM sagas_saga
        WHERE closed_at >= {now} - {length} ORDER BY closed_at DESC LIMIT {max_durations}
    ), took AS (
        SELECT width_bucket(extract(epoch FROM closed_at), extract(epoch FROM since), extract(epoch FROM until),
            {parts}) AS part, count(*) AS sagas,
            percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY seconds) AS seconds
        FROM span, lately GROUP BY GROUPING SETS ((1), ())
    )
    SELECT jsonb_build_object(
        'since', (SELECT since FROM span), 'until', (SELECT until FROM span),
        'begun', (SELECT coalesce(jsonb_agg(begun), '[]') FROM begun),
        'needing', (SELECT coalesce(jsonb_agg(needing), '[]') FROM needing),
        'ended', (SELECT coalesce(jsonb_agg(ended), '[]') FROM ended),
        'took', (SELECT coalesce(jsonb_agg(took), '[]') FROM took)
    )
)"""
COUNT_FAILING = """(
    WITH lately AS MATERIALIZED (
        SELECT id, error_group FROM sagas_sagaattempt
        WHERE error_group <> '' AND outcome <> 'refused' AND started_at >= {now} - interval '24 hours'
        ORDER BY started_at DESC LIMIT {max_failures}
    ), counted AS (
        SELECT count(*) AS failures, max(id) AS newest FROM lately GROUP BY error_group
    ), placed AS (
        SELECT saga.definition, step.name AS step, attempt.direction, attempt.error_class, counted.failures, newest
        FROM counted JOIN sagas_sagaattempt AS attempt ON attempt.id = counted.newest
        JOIN sagas_sagastep AS step ON step.id = attempt.step_id JOIN sagas_saga AS saga ON saga.id = attempt.saga_id
    ), steps AS (
        SELECT definition, step, direction, sum(failures)::bigint AS failures, count(*) AS groups,
            (array_agg(error_class ORDER BY failures DESC, newest DESC))[1] AS error_class
        FROM placed GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3 LIMIT {top_steps}
    )
    SELECT jsonb_build_object(
        'steps', (SELECT coalesce(jsonb_agg(steps ORDER BY failures DESC, definition, step), '[]') FROM steps),
        'is_capped', (SELECT count(*) >= {max_failures} FROM lately)
    )
)"""
COUNT_OPEN = """(
    SELECT jsonb_build_object(
        'states', (SELECT coalesce(jsonb_object_agg(display_state, sagas), '{{}}') FROM ({states}) AS found),
        'needs', (SELECT count(*) FROM ({needs}) AS found),
        'today', (SELECT coalesce(jsonb_object_agg(state, sagas), '{{}}') FROM (
            SELECT state, count(*) AS sagas FROM sagas_saga
            WHERE state IN ('completed', 'compensated', 'abandoned') AND closed_at IS NOT NULL AND closed_at >= %s
            GROUP BY state
        ) AS found),
        'groups', {groups}
    )
)"""
# Each point is the highest age within its time; what is older than a day becomes one point an hour.
COUNT_DUE = """(
    WITH measured AS (
        SELECT floor(extract(epoch FROM {now}))::bigint AS at, coalesce((
            SELECT extract(epoch FROM {now} - due_at) FROM sagas_saga WHERE due_at <= {now} ORDER BY due_at LIMIT 1
        ), 0) AS seconds
    ), points AS (
        SELECT (point->>0)::bigint AS at, (point->>1)::numeric AS seconds
        FROM sagas_sagastatistic AS known, jsonb_array_elements(known.data->'points') AS point
        WHERE known.name = '{name}'
        UNION ALL SELECT at, seconds FROM measured
    ), kept AS (
        SELECT points.at - mod(
                points.at, CASE WHEN points.at > measured.at - {day} THEN {fine} ELSE {coarse} END
            ) AS at, max(points.seconds) AS seconds
        FROM points, measured WHERE points.at BETWEEN measured.at - {week} AND measured.at GROUP BY 1
    )
    SELECT jsonb_build_object('points', (SELECT jsonb_agg(jsonb_build_array(at, seconds) ORDER BY at) FROM kept))
)"""
REFRESH = """
    INSERT INTO sagas_sagastatistic (name, data, computed_at, seconds)
    SELECT name, {data}, {now}, extract(epoch FROM clock_timestamp() - statement_timestamp())
    FROM (VALUES {wanted}) AS wanted (name, pace)
    WHERE NOT EXISTS (
        SELECT 1 FROM sagas_sagastatistic AS known
        WHERE known.name = wanted.name
        AND known.computed_at > {now} - greatest(
            least(wanted.pace, greatest({quick_pace}, known.seconds * {quick_part})), known.seconds * {part}
        ) * interval '1 second'
    ) AND pg_try_advisory_xact_lock(hashtext('sagas_sagastatistic'), hashtext(wanted.name))
    ON CONFLICT (name) DO UPDATE
    SET data = excluded.data, computed_at = excluded.computed_at, seconds = excluded.seconds
    RETURNING name, data::text, computed_at AT TIME ZONE 'UTC'
"""

_looked_at = float("-inf")
_failed_at: dict[str, float] = {}  # when this process failed to count a set


def refresh_after_sweep() -> None:
    """Count sets that are old, at most every LOOK_SECONDS in one process; a failure is logged and the next set counted.

    Tx: must not be inside one; opens one for each set.
    """
    global _looked_at  # noqa: PLW0603 - one pace per process
    if monotonic() - _looked_at < LOOK_SECONDS:
        return
    _looked_at = monotonic()
    for name in PACES:
        if _is_resting(name):
            continue
        try:
            refresh([name], timeout=STATEMENT_TIMEOUT_OF_SWEEPS)
        except Error as error:
            logger.warning("Statistics could not be counted.", extra={"statistics": name, "error": str(error)})
            _failed_at[name] = monotonic()


def refresh(names: Sequence[str], *, timeout: str, slack: int = 1) -> dict[str, Statistics]:
    """Count, in one statement, the sets older than ``slack`` times their pace that no other process is counting.

    Returns: those that were counted.
    Tx: opens one, or joins the caller's.
    """
    using, now = get_settings().database, _now_sql()
    cases: list[str] = []
    wanted: list[str] = []
    values: list[Any] = []
    for name in names:
        data, data_values = _compile(name)
        cases.append(f"WHEN '{name}' THEN {data}")
        wanted.append("(%s::text, %s::float)")
        values += data_values
    paces = [value for name in names for value in (name, PACES[name].total_seconds() * slack)]
    sql = REFRESH.format(
        data=f"CASE name {' '.join(cases)} END", now=now, wanted=", ".join(wanted), part=PART_OF_TIME,
        quick_pace=QUICK_PACE_SECONDS, quick_part=QUICK_PART_OF_TIME,
    )  # fmt: skip
    is_joined = connections[using].in_atomic_block
    with own_transaction(using, joins=True), connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('statement_timeout'), set_config('statement_timeout', %s, true)", [timeout]
        )
        before = cursor.fetchone()[0]
        cursor.execute(sql, [*values, *paces])
        found = cursor.fetchall()
        if is_joined:
            # The rest of a request shares the transaction (ATOMIC_REQUESTS), and may take longer.
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])
    return {name: Statistics(data=json.loads(text), computed_at=in_utc(at, zone=UTC)) for name, text, at in found}


def read_statistics(names: Collection[str] = tuple(PACES)) -> dict[str, Statistics]:
    """Return sets as last counted."""
    found = SagaStatistic.objects.using(get_settings().database).filter(name__in=list(names))
    rows = {row.name: row for row in found}
    return {
        name: Statistics(data=rows[name].data, computed_at=rows[name].computed_at)
        if name in rows
        else Statistics(data={}, computed_at=None)
        for name in names
    }


def list_stale(found: Mapping[str, Statistics], now: datetime) -> list[str]:
    """Return which of the sets are long out of date, without those that this process recently failed to count."""
    old = []
    for name, counted in found.items():
        is_old = counted.computed_at is None or now - counted.computed_at > PACES[name] * STALE
        if is_old and not _is_resting(name):
            old.append(name)
    return old


def _is_resting(name: str) -> bool:
    return monotonic() - _failed_at.get(name, float("-inf")) < REST_SECONDS


def count_stale(names: Sequence[str]) -> dict[str, Statistics]:
    """Count sets from a page, within STATEMENT_TIMEOUT_OF_PAGES; a set that fails keeps its values.

    Returns: those that were counted.
    """
    try:
        return refresh(names, timeout=STATEMENT_TIMEOUT_OF_PAGES, slack=STALE)
    except Error as error:
        logger.warning("Statistics could not be counted.", extra={"error": str(error)})
        # The next page skips the sets that probably took long, and counts the rest.
        _failed_at.update(dict.fromkeys([name for name in names if name in SLOW] or names, monotonic()))
        return {}


def _compile(name: str) -> tuple[str, list[Any]]:
    """Return the expression that counts a set, with its parameters."""
    now = _now_sql()
    if name == OPEN:
        return _compile_open()
    if name == FAILING:
        return COUNT_FAILING.format(now=now, max_failures=MAX_FAILURES, top_steps=TOP_STEPS), []
    if name == DUE:
        return _compile_due(now), []
    if name == DEFINITIONS:
        return definition_statistics.compile_stored(), []
    for window, lately in DEFINITIONS_LATELY.items():
        if name == lately:
            length = _length_sql(window)
            return definition_statistics.compile_lately(now=now, length=length, max_durations=MAX_DURATIONS), []
    window = next(window for window in WINDOWS if window.name == name)
    needs_sql, needs_values = _compile_needs()
    sql = COUNT_WINDOW.format(
        now=now, length=_length_sql(window), parts=window.parts, max_durations=MAX_DURATIONS, needs=needs_sql
    )
    return sql, needs_values


def _length_sql(window: Window) -> str:
    return f"interval '{window.length.total_seconds():.0f} seconds'"


def _compile_due(now: str) -> str:
    day, week = (f"{window.length.total_seconds():.0f}" for window in (DAY, WEEK))
    return COUNT_DUE.format(now=now, name=DUE, day=day, week=week, fine=FINE_SECONDS, coarse=COARSE_SECONDS)


def _compile_needs() -> tuple[str, list[Any]]:
    """Return the query of the starts of the sagas that need an operator, with its parameters."""
    needs = Saga.objects.using(get_settings().database).filter(presentation.needs_operator()).order_by()
    sql, values = needs.values("created_at").query.sql_with_params()
    return sql, list(values)


def _compile_open() -> tuple[str, list[Any]]:
    needs_sql, needs_values = _compile_needs()
    states_sql, states_values = presentation.select_open_states().query.sql_with_params()
    sql = COUNT_OPEN.format(states=states_sql, needs=needs_sql, groups=GROUPS)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return sql, [*states_values, *needs_values, midnight]


def _now_sql() -> str:
    # The statement's time, not the clock's: an index can only be searched by a stable expression.
    return f"(statement_timestamp() + {clock.shift_seconds():f} * interval '1 second')"
