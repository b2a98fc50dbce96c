"""Liveness of the engine, in one statement: sweepers and workers, due work, and how long it has been due."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import connections

from .. import clock
from ..conf import get_settings
from ..moments import in_utc

MAX_DUE = 1_000  # limit of the counts of due sagas and owed hooks
# Far more than a wake-up interval and a few sweeps: work due for so long was not woken, or finds no free worker.
LATE = timedelta(seconds=60)

READ = """
    WITH moment AS (SELECT statement_timestamp() + %(shift)s * interval '1 second' AS now), oldest AS (
        SELECT id, definition, due_at, queue FROM sagas_saga
        WHERE due_at <= statement_timestamp() + %(shift)s * interval '1 second' ORDER BY due_at LIMIT 1
    )
    SELECT moment.now AT TIME ZONE 'UTC', oldest.id, oldest.definition, oldest.due_at AT TIME ZONE 'UTC',
        oldest.queue, (
        SELECT name FROM sagas_sagastep
        WHERE saga_id = oldest.id AND (due_at <= moment.now OR lease_until <= moment.now)
        ORDER BY coalesce(due_at, lease_until), position LIMIT 1
    ), (
        SELECT count(*) FROM (
            SELECT 1 FROM sagas_saga WHERE due_at <= statement_timestamp() + %(shift)s * interval '1 second'
            LIMIT %(max_due)s + 1
        ) AS due
    ), (
        SELECT coalesce(jsonb_agg(jsonb_build_array(name, version, queues) ORDER BY name), '[]')::text
        FROM sagas_sagaworker WHERE last_sweep_at >= moment.now - %(seen)s * interval '1 second' AND queues <> '[]'
    ), (SELECT max(last_sweep_at) AT TIME ZONE 'UTC' FROM sagas_sagaworker), (
        SELECT count(*) FROM (SELECT 1 FROM sagas_saga WHERE hook_due_at IS NOT NULL LIMIT %(max_due)s + 1) AS owed
    )
    FROM moment LEFT JOIN oldest ON true
"""


@dataclass(frozen=True, kw_only=True)
class SeenWorker:
    """Process that executes steps and has a recent heartbeat."""

    name: str
    version: str
    """Version of the engine."""
    queues: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Liveness:
    """State of sweeping and executing at one moment."""

    now: datetime
    """When the state was read."""
    oldest_id: UUID | None
    """Saga that has been due longest; None: nothing is due."""
    oldest_definition: str
    oldest_step: str
    """Its due step; empty between steps."""
    oldest_due_at: datetime | None
    oldest_queue: str
    due: int
    """Number of due sagas; MAX_DUE + 1: more than MAX_DUE."""
    workers: tuple[SeenWorker, ...]
    """Processes that execute steps, by name; without those that serve no queue, as they only send wake-ups or ended."""
    last_sweep_at: datetime | None
    """When any process swept last; None: no sweep is known."""
    owed_hooks: int
    """Number of owed calls of on_closed hooks; MAX_DUE + 1: more than MAX_DUE."""

    @property
    def oldest_due_age(self) -> timedelta:
        """How long the oldest due saga has waited; zero if none is due."""
        return self.now - self.oldest_due_at if self.oldest_due_at else timedelta()

    @property
    def last_sweep_age(self) -> timedelta | None:
        """How long ago the last sweep was; None: no sweep is known."""
        return self.now - self.last_sweep_at if self.last_sweep_at else None

    @property
    def is_late(self) -> bool:
        """Whether work has been due for so long that no worker seems to execute it."""
        return self.oldest_due_age > LATE


def read_liveness() -> Liveness:
    """Return the current liveness; nothing is cached."""
    settings = get_settings()
    values = {
        "shift": clock.shift_seconds(), "seen": settings.worker_seen_within.total_seconds(), "max_due": MAX_DUE,
    }  # fmt: skip
    with connections[settings.database].cursor() as cursor:
        cursor.execute(READ, values)
        row = cursor.fetchone()
    return Liveness(
        now=in_utc(row[0], zone=UTC),
        oldest_id=row[1],
        oldest_definition=row[2] or "",
        oldest_due_at=in_utc(row[3], zone=UTC) if row[3] else None,
        oldest_queue=row[4] or "",
        oldest_step=row[5] or "",
        due=row[6],
        workers=tuple(
            SeenWorker(name=name, version=version, queues=frozenset(queues))
            for name, version, queues in json.loads(row[7])
        ),
        last_sweep_at=in_utc(row[8], zone=UTC) if row[8] else None,
        owed_hooks=row[9],
    )
