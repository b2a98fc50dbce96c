"""Generator of a database with years of sagas, by set-based SQL, because the engine would take days.

Each saga is a copy of a pattern that the engine itself has written (``stories``), with its own times, ids, keys and
numbers. Nearly all are closed; the open ones are among the newest, and the very newest are one of each pattern. Open
sagas are due ten years ahead by default, because a worker would run their steps on orders that do not exist.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import accumulate, pairwise
from typing import Any
from uuid import UUID

from django.db import connections, models, transaction

from sagas import clock
from sagas.conf import get_settings
from sagas.core.definition.saga import SagaDefinition
from sagas.exceptions import BadRequest, SagaError
from sagas.models import Saga, SagaAttempt, SagaHistory, SagaKey, SagaStep

from .stories import GENERATED_BY, KEY, NUMBER, Story, list_stories, live

BATCH = 20_000  # sagas in one transaction: about a tenth of a gigabyte, some seconds
NEWEST_PART, OPEN_PART = 0.05, 0.004  # open sagas are among the newest twentieth, and one in 250 of all
FEWEST_FOR_EACH = 20  # with fewer sagas per pattern, chance alone decides which patterns exist
PARKED = timedelta(days=3_650)
SAGA = "{saga}"
TABLES: tuple[type[models.Model], ...] = (Saga, SagaStep, SagaAttempt, SagaHistory, SagaKey)
UNSIGNED = {"signature": "", "signature_count": 0}
UNHOOKED = {"hook_due_at": None, "hook_tries": 0}  # no hook is called for a generated saga
# Texts with placeholders for the saga's own values.
FILLED = {
    "sagas_saga": ("input", "cause", "effects_left"), "sagas_sagastep": ("last_error", "result"),
    "sagas_sagaattempt": ("message",), "sagas_sagahistory": ("reason", "data"),
}  # fmt: skip


class RealSagas(SagaError):
    """The database has sagas that were not generated."""


@dataclass(frozen=True, kw_only=True)
class Mass:
    """Amount and kind of sagas to write.

    sagas: their number. definitions: theirs. days: period in which they were started. open: approximate number of open
    ones, at most one in twenty; None: one in 250. is_due: whether workers may execute the open ones.
    """

    sagas: int
    definitions: Sequence[type[SagaDefinition]]
    days: int = 365
    open: int | None = None
    is_due: bool = False

    @property
    def open_part(self) -> float:
        """Fraction of open sagas among the newest ones."""
        return (OPEN_PART if self.open is None else self.open / self.sagas) / NEWEST_PART


@dataclass(kw_only=True)
class Written:
    """Numbers of written rows.

    is_stopped: whether the generator was stopped before it was done.
    """

    sagas: int = 0
    steps: int = 0
    attempts: int = 0
    history: int = 0
    is_stopped: bool = False


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """Rows of one saga; their times are in seconds since it was created."""

    story: Story
    sagas: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    history: list[dict[str, Any]]

    @property
    def is_open(self) -> bool:
        """Whether the saga is open."""
        return self.sagas[0]["closed_at"] is None


def generate(
    mass: Mass,
    *,
    is_among_others: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[Written], None] = lambda _written: None,
) -> Written:
    """Write the sagas, oldest first, and update PostgreSQL's planner statistics.

    Raises: RealSagas if there are sagas that this function has not written, unless ``is_among_others``; BadRequest if
        more are to be open than count as newest.
    Tx: must not be inside one; opens one for each batch.
    """
    using, written = get_settings().database, Written()
    if mass.open_part > 1:
        raise BadRequest(f"At most {int(mass.sagas * NEWEST_PART)} of {mass.sagas} sagas can be open, not {mass.open}.")
    if not is_among_others and has_real_sagas(using):
        raise RealSagas("This database holds sagas that saga_generate did not write; use an empty one for the test.")
    patterns = [pattern for pattern in draw_patterns(mass) if mass.open != 0 or not pattern.is_open]
    run = {
        "sagas": mass.sagas, "days": mass.days, "newest": NEWEST_PART, "ends_at": clock.read_now(using),
        "one_of_each": len(patterns) if mass.sagas >= FEWEST_FOR_EACH * len(patterns) else 0,
        "written": Saga.objects.using(using).filter(started_by=GENERATED_BY).count(),
    }  # fmt: skip
    for first in range(1, mass.sagas + 1, BATCH):
        if should_stop():
            written.is_stopped = True
            break
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            _write_batch(
                cursor, mass, patterns, {**run, "first": first, "last": min(first + BATCH - 1, mass.sagas)}, written
            )
        progress(written)
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        for table in TABLES:
            cursor.execute(f"ANALYZE {table._meta.db_table}")
    return written


def has_real_sagas(using: str) -> bool:
    """Return whether the database has sagas that were not generated."""
    return Saga.objects.using(using).exclude(started_by=GENERATED_BY).exists()


def draw_patterns(mass: Mass) -> list[Pattern]:
    """Return the rows of one saga of every story and definition, each run and rolled back.

    Raises: SagaError if no definition has a step with an action.
    """
    using = get_settings().database
    patterns = []
    for definition in mass.definitions:
        for story in list_stories(definition):
            with clock.restored(), transaction.atomic(using=using):
                patterns.append(_read_pattern(live(definition, story), story, mass))
                transaction.set_rollback(True, using=using)
    if not patterns:
        raise SagaError("No saga definition has a step with an action; nothing can be generated.")
    return patterns


def _read_pattern(saga_id: UUID, story: Story, mass: Mass) -> Pattern:
    using = get_settings().database
    saga = Saga.objects.using(using).get(pk=saga_id)
    is_open = saga.closed_at is None
    parked = PARKED if is_open and not mass.is_due else timedelta()

    def read(row: models.Model, *also_parked: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for column in columns_of(type(row)):
            value = getattr(row, column)
            if isinstance(value, datetime):
                later = parked if column in ("due_at", "lease_until", *also_parked) else timedelta()
                value = (value + later - saga.created_at).total_seconds()
            values[column] = value
        # Like entries from before signing, copies have no signature: a copied one would match no other saga.
        return values | {column: empty for column, empty in (UNSIGNED | UNHOOKED).items() if column in values}

    rows = {"saga_id": saga_id}
    steps = list(SagaStep.objects.using(using).filter(**rows).order_by("position"))
    attempts = list(SagaAttempt.objects.using(using).filter(**rows).order_by("id"))
    history = SagaHistory.objects.using(using).filter(**rows).order_by("number")
    place_of = {step.pk: step.position for step in steps}
    live_of = {attempt.step_id: f"{attempt.direction}:{attempt.number}" for attempt in attempts if not attempt.ended_at}
    return Pattern(
        story=story,
        sagas=[_forget(saga_id, read(saga, *(() if story.is_late else ("deadline_at",))))],
        steps=[_forget(saga_id, {**read(step), "live": live_of.get(step.pk)}) for step in steps],
        attempts=[_forget(saga_id, {**read(attempt), "position": place_of[attempt.step_id]}) for attempt in attempts],
        history=[_forget(saga_id, read(row)) for row in history],
    )


def _forget(saga_id: UUID, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with a placeholder for every occurrence of the pattern's own id."""
    forgotten: dict[str, Any] = json.loads(json.dumps(values, default=str).replace(str(saga_id), SAGA))
    return forgotten


@cache
def columns_of(model: type[models.Model]) -> tuple[str, ...]:
    """Return the columns that a copy takes from its pattern."""
    own = {"id", "saga_id", "step_id", "lease_token"}
    return tuple(found.column for found in model._meta.concrete_fields if found.column and found.column not in own)


def _write_batch(
    cursor: Any, mass: Mass, patterns: Sequence[Pattern], numbers: Mapping[str, Any], written: Written
) -> None:
    """Write the sagas of these numbers.

    Tx: must be inside one.
    """
    cursor.execute("SET LOCAL statement_timeout = 0")
    cursor.execute(PATTERNS, [json.dumps(list(_share_out(patterns, mass.open_part)))])
    cursor.execute(NUMBERED, numbers)
    cursor.execute("ANALYZE generated_saga")
    written.sagas += _copy(cursor, Saga, _number(patterns, "sagas"), {"id": "n.id"})
    written.steps += _copy(
        cursor, SagaStep, _number(patterns, "steps"), {"saga_id": "n.id", "lease_token": _token("v.live")},
        guards={"live": "text"},
    )  # fmt: skip
    written.attempts += _copy(
        cursor, SagaAttempt, _number(patterns, "attempts"),
        {"saga_id": "n.id", "step_id": "t.id", "lease_token": _token("v.direction || ':' || v.number")},
        guards={"position": "integer"},
        join="JOIN sagas_sagastep t ON t.saga_id = n.id AND t.position = v.position",
    )  # fmt: skip
    written.history += _copy(cursor, SagaHistory, _number(patterns, "history"), {"saga_id": "n.id"})
    cursor.execute(KEYS)
    # Check foreign keys now: inside a larger transaction, pending checks would be kept for each row.
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    cursor.execute("DROP TABLE generated_saga, generated_pattern")


def _number(patterns: Sequence[Pattern], table: str) -> list[dict[str, Any]]:
    return [{"pattern": number, **row} for number, pattern in enumerate(patterns) for row in getattr(pattern, table)]


def _share_out(patterns: Sequence[Pattern], open_part_of_newest: float) -> Iterator[dict[str, Any]]:
    """Yield each pattern's share of the range from 0 to 1, for the newest sagas and for the others."""
    for is_newest in (False, True):
        open_part = open_part_of_newest if is_newest else 0.0
        weights = [
            (open_part if pattern.is_open else 1 - open_part)
            * pattern.story.weight
            / sum(other.story.weight for other in patterns if other.is_open is pattern.is_open)
            for pattern in patterns
        ]
        ends = [0.0, *accumulate(weights)]
        ends[-1] = max(1.0, ends[-1])  # despite rounding, each number belongs to a pattern
        for number, (low, high) in enumerate(pairwise(ends)):
            yield {"pattern": number, "is_newest": is_newest, "low": low, "high": high}


PATTERNS = """
    CREATE TEMP TABLE generated_pattern ON COMMIT DROP AS SELECT * FROM jsonb_to_recordset(%s::jsonb)
    AS v(pattern integer, is_newest boolean, low double precision, high double precision)"""
NUMBERED = """
    CREATE TEMP TABLE generated_saga ON COMMIT DROP AS
    SELECT r.n, r.at, p.pattern, 'GEN-' || upper(lpad(to_hex(%(written)s + r.n), 8, '0')) AS key,
        (lpad(to_hex((extract(epoch FROM r.at) * 1000)::bigint), 12, '0') || '7' || substr(r.noise, 1, 3)
         || '8' || substr(r.noise, 4, 15))::uuid AS id
    FROM (
        SELECT n, md5(n::text || %(ends_at)s) AS noise,
            ('x' || substr(md5(n::text), 1, 8))::bit(32)::bigint / 4294967296.0 AS roll,
            n > %(sagas)s * (1 - %(newest)s) AS is_newest,
            %(ends_at)s::timestamptz - interval '1 hour'
                - (%(sagas)s - n) * (%(days)s * interval '1 day' / %(sagas)s) AS at
        FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n) AS r
    JOIN generated_pattern p ON p.is_newest = r.is_newest AND CASE
        WHEN r.n > %(sagas)s - %(one_of_each)s THEN p.pattern = %(sagas)s - r.n
        ELSE r.roll >= p.low AND r.roll < p.high END"""

# A reference of its own, and a customer that many sagas share.
KEYS = """
    INSERT INTO sagas_sagakey (saga_id, name, value)
    SELECT id, 'reference', key FROM generated_saga
    UNION ALL SELECT id, 'customer', 'CUST-' || lpad((n %% 5000)::text, 5, '0') FROM generated_saga""".replace(
    "%%", "%"
)


def _copy(
    cursor: Any,
    model: type[models.Model],
    rows: list[dict[str, Any]],
    own: dict[str, str],
    *,
    guards: dict[str, str] | None = None,
    join: str = "",
) -> int:
    """Write the rows of one table for every saga of the batch.

    own: expressions by column that replace the pattern's values. guards: extra columns of the pattern only.
    Returns: the number of rows.
    """
    columns, table = columns_of(model), model._meta.db_table
    filled = {column: _fill(column, _type_of(model, column)) for column in FILLED.get(table, ())}
    expressions = {**{column: _shift(model, column) for column in columns}, **filled, **own}
    kinds = {column: _type_of(model, column, is_pattern=True) for column in columns}
    record = ", ".join(f"{column} {kind}" for column, kind in ({"pattern": "integer"} | kinds | (guards or {})).items())
    cursor.execute(
        f"INSERT INTO {table} ({', '.join(expressions)}) SELECT {', '.join(expressions.values())}"
        f" FROM generated_saga n JOIN jsonb_to_recordset(%s::jsonb) AS v({record}) USING (pattern) {join} ORDER BY n.n",
        [json.dumps(rows)],
    )
    return int(cursor.rowcount)


def _shift(model: type[models.Model], column: str) -> str:
    if isinstance(model._meta.get_field(column), models.DateTimeField):
        return f"n.at + v.{column} * interval '1 second'"
    return f"v.{column}"


def _fill(column: str, kind: str) -> str:
    text = f"v.{column}::text"
    for place, value in ((SAGA, "n.id::text"), (KEY, "n.key"), (NUMBER, "n.n::text")):
        text = f"replace({text}, '{place}', {value})"
    return f"{text}::{kind}"


def _token(attempt: str) -> str:
    """Return the SQL of an attempt's lease token, equal in its own row and in its step's; NULL for NULL."""
    return f"md5(n.id::text || ':' || v.position || ':' || {attempt})::uuid"


def _type_of(model: type[models.Model], column: str, *, is_pattern: bool = False) -> str:
    found = model._meta.get_field(column)
    if is_pattern and isinstance(found, models.DateTimeField):
        return "double precision"
    return str(found.db_type(connections[get_settings().database]))
