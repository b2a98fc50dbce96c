"""Recent failures, grouped by step, exception class and message.

Reads a bounded number of the newest failures of a window, by an index that contains failures alone. So a page costs the
same however many failures there are. First and last time of a group are looked up by its key, also beyond the window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connections

from ... import clock
from ...conf import get_settings
from ...core.error_groups import describe_pattern
from ...core.states import Direction
from ...models import SagaAttempt
from ...moments import in_utc

MAX_FAILURES = 20_000
MAX_GROUPS = 50
MAX_OPEN = 20_000
BUCKETS = 24

READ_GROUPS = """
    WITH lately AS MATERIALIZED (
        SELECT id, saga_id, error_group, started_at FROM sagas_sagaattempt
        WHERE error_group <> '' AND started_at >= %(since)s AND started_at <= %(now)s
        ORDER BY started_at DESC LIMIT %(max_failures)s
    ), opened AS MATERIALIZED (
        SELECT id FROM sagas_saga WHERE closed_at IS NULL ORDER BY created_at DESC LIMIT %(max_open)s
    ), counted AS (
        SELECT error_group, count(*) AS failures, count(DISTINCT saga_id) AS sagas,
            count(DISTINCT opened.id) AS open_sagas, max(lately.id) AS newest
        FROM lately LEFT JOIN opened ON opened.id = lately.saga_id
        GROUP BY error_group ORDER BY failures DESC, error_group LIMIT %(max_groups)s
    ), trends AS (
        SELECT error_group, json_object_agg(bucket, failures) AS trend FROM (
            SELECT error_group, count(*) AS failures, width_bucket(
                extract(epoch FROM started_at), extract(epoch FROM %(since)s::timestamptz),
                extract(epoch FROM %(now)s::timestamptz) + 0.000001, %(buckets)s
            ) AS bucket FROM lately GROUP BY 1, 3
        ) AS found GROUP BY error_group
    )
    SELECT counted.error_group, failures, sagas, open_sagas, saga.definition, step.name, attempt.direction,
        attempt.outcome, attempt.error_class, attempt.message, attempt.started_at AT TIME ZONE 'UTC', (
            SELECT min(started_at) AT TIME ZONE 'UTC' FROM sagas_sagaattempt AS first
            WHERE first.error_group = counted.error_group AND first.error_group <> ''
        ), trend, (SELECT count(*) FROM lately), (SELECT count(*) FROM opened)
    FROM counted JOIN trends USING (error_group)
    JOIN sagas_sagaattempt AS attempt ON attempt.id = counted.newest
    JOIN sagas_sagastep AS step ON step.id = attempt.step_id
    JOIN sagas_saga AS saga ON saga.id = attempt.saga_id
    ORDER BY failures DESC, counted.error_group
"""


@dataclass(frozen=True, kw_only=True)
class FailureGroup:
    """Failures with the same cause."""

    key: str
    """The key it is stored under."""
    definition: str
    step: str
    direction: str
    """Action or compensation."""
    outcome: str
    """The outcome of the newest one."""
    error_class: str
    message: str
    """The message of the newest one."""
    pattern: str
    """The message pattern that all of them share."""
    failures: int
    """Number of failures in the window."""
    sagas: int
    """Number of sagas in the window."""
    open_sagas: int
    """Number of those sagas that are still open."""
    first_at: datetime
    """Time of the first failure ever."""
    last_at: datetime
    """Time of the last failure."""
    trend: tuple[int, ...]
    """Number of failures in each part of the window."""


@dataclass(frozen=True, kw_only=True)
class GroupName:
    """What the failures of a group have in common."""

    definition: str
    step: str
    direction: str
    """Action or compensation."""
    error_class: str
    pattern: str
    """Pattern of their messages; an error text."""

    @property
    def words(self) -> str:
        """Definition, step and error class; no error text."""
        step = self.step if self.direction == Direction.ACTION else f"compensation of {self.step}"
        return f"{self.definition}, {step}, {self.error_class.rpartition('.')[2]}"


@dataclass(frozen=True, kw_only=True)
class Failures:
    """Failure groups of a window."""

    groups: tuple[FailureGroup, ...]
    """The most frequent first."""
    since: datetime
    until: datetime
    bucket: timedelta
    """The length of one part of the window."""
    is_capped: bool
    """Whether only the newest failures were read, because there were too many."""
    is_open_capped: bool
    """Whether only the newest open sagas were read, because there were too many."""


def read_failures(length: timedelta) -> Failures:
    """Return the failure groups of a window that ends now."""
    using = get_settings().database
    now = clock.read_now(using)
    values: dict[str, Any] = {
        "since": now - length, "now": now, "max_failures": MAX_FAILURES, "max_open": MAX_OPEN,
        "max_groups": MAX_GROUPS, "buckets": BUCKETS,
    }  # fmt: skip
    with connections[using].cursor() as cursor:
        cursor.execute(READ_GROUPS, values)
        rows = cursor.fetchall()
    return Failures(
        groups=tuple(_build(row) for row in rows),
        since=now - length,
        until=now,
        bucket=length / BUCKETS,
        is_capped=bool(rows) and rows[0][13] >= MAX_FAILURES,
        is_open_capped=bool(rows) and rows[0][14] >= MAX_OPEN,
    )


def find_group(key: str) -> GroupName | None:
    """Return what a failure group has in common, by its newest failure; None when no failure of it is stored."""
    attempts = SagaAttempt.objects.using(get_settings().database).filter(error_group=key).exclude(error_group="")
    fields = ("saga__definition", "step__name", "direction", "error_class", "message")
    found = attempts.order_by("-started_at").values_list(*fields).first()
    if found is None:
        return None
    definition, step, direction, error_class, message = found
    return GroupName(
        definition=definition,
        step=step,
        direction=direction,
        error_class=error_class,
        pattern=describe_pattern(message),
    )


def _build(row: Sequence[Any]) -> FailureGroup:
    trend: Mapping[str, int] = row[12]
    return FailureGroup(
        key=row[0],
        failures=row[1],
        sagas=row[2],
        open_sagas=row[3],
        definition=row[4],
        step=row[5],
        direction=row[6],
        outcome=row[7] or "",
        error_class=row[8],
        message=row[9],
        pattern=describe_pattern(row[9]),
        last_at=in_utc(row[10], zone=UTC),
        first_at=in_utc(row[11], zone=UTC),
        trend=tuple(int(trend.get(str(place), 0)) for place in range(1, BUCKETS + 1)),
    )
