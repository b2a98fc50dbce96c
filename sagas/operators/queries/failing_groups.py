"""Failure groups that many open sagas fail with now: a flood of one failure is one line of the list.

One statement on the index of failing open sagas; the rest of the tables does not matter.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connections

from ...conf import get_settings
from ...moments import in_utc

FEWEST = 6  # more than five sagas of one failure are one line
MOST_GROUPS = 20

READ = """
    WITH counted AS (
        SELECT failing_group, count(*) AS sagas, min(severity) AS severity, min(created_at) AS oldest,
            max(created_at) AS newest
        FROM sagas_saga WHERE closed_at IS NULL AND failing_group <> ''
        GROUP BY failing_group HAVING count(*) >= %(fewest)s
        ORDER BY sagas DESC, failing_group LIMIT %(most)s
    )
    SELECT counted.failing_group, sagas, counted.severity, oldest AT TIME ZONE 'UTC', newest AT TIME ZONE 'UTC',
        saga.definition, step.name, failed.direction, failed.error_class, failed.message
    FROM counted CROSS JOIN LATERAL (
        SELECT saga_id, step_id, direction, error_class, message FROM sagas_sagaattempt AS attempt
        WHERE attempt.error_group = counted.failing_group AND attempt.error_group <> ''
        ORDER BY attempt.started_at DESC LIMIT 1
    ) AS failed
    JOIN sagas_saga AS saga ON saga.id = failed.saga_id JOIN sagas_sagastep AS step ON step.id = failed.step_id
    ORDER BY counted.severity, sagas DESC, counted.failing_group
"""


@dataclass(frozen=True, kw_only=True)
class FailingGroup:
    """Open sagas that fail with the same error at the same step now."""

    key: str
    """The key it is stored under."""
    sagas: int
    severity: int
    """The severity of its most severe saga."""
    oldest_at: datetime
    """Start of its oldest saga."""
    newest_at: datetime
    """Start of its newest saga."""
    definition: str
    step: str
    direction: str
    """Action or compensation."""
    error_class: str
    message: str
    """The newest message."""


def read_failing_groups() -> list[FailingGroup]:
    """Return the groups of more than five sagas, the most severe first."""
    with connections[get_settings().database].cursor() as cursor:
        cursor.execute(READ, {"fewest": FEWEST, "most": MOST_GROUPS})
        return [_build(*row) for row in cursor.fetchall()]


def _build(key: str, sagas: int, severity: int, oldest: datetime, newest: datetime, *rest: Any) -> FailingGroup:
    definition, step, direction, error_class, message = rest
    return FailingGroup(
        key=key, sagas=sagas, severity=severity, oldest_at=in_utc(oldest, zone=UTC), newest_at=in_utc(newest, zone=UTC),
        definition=definition, step=step, direction=direction, error_class=error_class, message=message,
    )  # fmt: skip
