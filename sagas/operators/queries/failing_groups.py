"""Failure groups that many open sagas fail with now: a flood of one failure is one line of the list.

One statement on the index of failing open sagas; the rest of the tables does not matter.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connections

from ...conf import get_settings

FEWEST = 6  # more than five sagas of one failure are one line
MOST_GROUPS = 20
TIMES = ("oldest_at", "newest_at")

COLLECT = """(
    WITH counted AS (
        SELECT failing_group, count(*) AS sagas, min(severity) AS severity, min(created_at) AS oldest_at,
            max(created_at) AS newest_at
        FROM sagas_saga WHERE closed_at IS NULL AND failing_group <> ''
        GROUP BY failing_group HAVING count(*) >= {fewest}
        ORDER BY sagas DESC, failing_group LIMIT {most}
    ), found AS (
        SELECT counted.failing_group AS key, sagas, counted.severity, oldest_at, newest_at,
            saga.definition, step.name AS step, failed.direction, failed.error_class, failed.message
        FROM counted CROSS JOIN LATERAL (
            SELECT saga_id, step_id, direction, error_class, message FROM sagas_sagaattempt AS attempt
            WHERE attempt.error_group = counted.failing_group AND attempt.error_group <> ''
            ORDER BY attempt.started_at DESC LIMIT 1
        ) AS failed
        JOIN sagas_saga AS saga ON saga.id = failed.saga_id JOIN sagas_sagastep AS step ON step.id = failed.step_id
    )
    SELECT coalesce(jsonb_agg(found ORDER BY severity, sagas DESC, key), '[]') FROM found
)"""
GROUPS = COLLECT.format(fewest=FEWEST, most=MOST_GROUPS)  # the groups as a JSON array, the most severe first


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
        cursor.execute(f"SELECT {GROUPS}::text")
        return build_failing_groups(json.loads(cursor.fetchone()[0]))


def build_failing_groups(rows: Iterable[Mapping[str, Any]]) -> list[FailingGroup]:
    """Return the groups of a value of ``GROUPS``."""
    return [
        FailingGroup(**{**row, **{name: datetime.fromisoformat(row[name]).astimezone(UTC) for name in TIMES}})
        for row in rows
    ]
