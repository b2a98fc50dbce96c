"""SQL statements that write a saga, built from its models' own table and column names.

A statement gets its rows as one JSON text, so that any number of rows is one parameter.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from django.db import connections
from django.db.models import Model

from ...conf import get_settings
from ...models import Saga, SagaAttempt, SagaKey, SagaStep

Statement = tuple[str, list[Any]]

SAGA_COLUMNS = (
    "state", "hold", "attention", "revision", "history_count", "cause", "abort_request", "abort_actor", "abort_reason",
    "effects_left", "queue", "other_queues", "pivot_passed_at", "due_at", "woken_at", "most_attempts", "severity",
    "failing_group", "operated_at", "signature", "signature_count", "updated_at", "closed_at",
    "hook_due_at", "hook_tries", "owed", "owed_due_at",
)  # fmt: skip
STEP_COLUMNS = (
    "state", "hold", "attention", "waiting_for", "due_at", "lease_token", "lease_until", "action_attempts",
    "compensation_attempts",
    "budget_used", "budget_started_at", "epoch", "result", "is_assumed", "is_woken", "last_error", "started_at",
    "finished_at",
)  # fmt: skip
KEY_COLUMNS = ("saga_id", "name", "value")
CLOSE_COLUMNS = ("ended_at", "outcome", "effect", "settles", "error_class", "message", "traceback", "error_group")
OPEN_COLUMNS = (
    "saga_id", "step_id", "direction", "number", "epoch", "lease_token", "worker", "started_at", "deadline_at",
    "is_assumed", *CLOSE_COLUMNS,
)  # fmt: skip
HISTORY_COLUMNS = (
    "saga_id", "number", "at", "what", "step", "from_state", "to_state", "actor", "reason", "data", "signature",
)  # fmt: skip


@cache
def _describe_record(model: type[Model], columns: tuple[str, ...], guards: tuple[tuple[str, str], ...] = ()) -> str:
    """Return ``v(column type, ...)``, the record of a jsonb_to_recordset call, with the guard columns first.

    Cached, because the types of a model's columns do not change while a process runs.
    """
    connection = connections[get_settings().database]
    found = {
        field.column: str(field.db_type(connection)).split(" GENERATED")[0] for field in model._meta.concrete_fields
    }
    types = [*guards, *((column, found[column].replace("serial", "int")) for column in columns)]
    return "v(" + ", ".join(f"{column} {kind}" for column, kind in types) + ")"


def _as_json(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as JSON text, with times, ids and enumerations as PostgreSQL reads them."""
    return json.dumps(list(rows), default=_as_text)


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def values_of(row: Any, columns: Iterable[str]) -> dict[str, Any]:
    """Return a row's values by column, unaffected by later changes of the row."""
    values = {column: getattr(row, column) for column in columns}
    if isinstance(values.get("attention"), list):
        values["attention"] = list(values["attention"])
    return values


def insert(model: Any, columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> Statement:
    """Return the INSERT of rows."""
    picked = _pick(columns)
    record = _describe_record(model, columns)
    sql = (
        f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) SELECT {picked}"
        f" FROM jsonb_to_recordset(%s::jsonb) AS {record}"
    )
    return sql, [_as_json(rows)]


def insert_first_attempts(columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> Statement:
    """Return the INSERT of attempts whose steps are inserted by the clause ``steps`` of the same statement."""
    record = _describe_record(SagaAttempt, columns, (("step_name", "text"),))
    sql = (
        f"INSERT INTO sagas_sagaattempt (saga_id, step_id, {', '.join(columns)})"
        f" SELECT steps.saga_id, steps.id, {_pick(columns)} FROM jsonb_to_recordset(%s::jsonb) AS {record}"
        " JOIN steps ON steps.name = v.step_name"
    )
    return sql, [_as_json(rows)]


def upsert_keys(rows: Iterable[Mapping[str, Any]]) -> Statement:
    """Return the INSERT of business keys, which replaces those of the same name."""
    sql, values = insert(SagaKey, KEY_COLUMNS, rows)
    return f"{sql} ON CONFLICT (saga_id, name) DO UPDATE SET value = EXCLUDED.value", values


def update_saga(saga: Saga, *, revision: int, state: str, history_count: int) -> Statement:
    """Return the UPDATE of a saga's row, guarded by the revision, state and history count that were read."""
    sql = (
        f"UPDATE sagas_saga AS s SET ({', '.join(SAGA_COLUMNS)}) = ({_pick(SAGA_COLUMNS)})"
        f" FROM jsonb_to_recordset(%s::jsonb) AS {_describe_record(Saga, SAGA_COLUMNS)}"
        " WHERE s.id = %s AND s.revision = %s AND s.state = %s AND s.history_count = %s"
    )
    return sql, [_as_json([values_of(saga, SAGA_COLUMNS)]), saga.pk, revision, state, history_count]


def update_steps(rows: Iterable[tuple[SagaStep, Mapping[str, Any]]]) -> Statement:
    """Return the UPDATE of steps, each guarded by its state and lease token as they were read."""
    guards = (("id", "bigint"), ("old_state", "text"), ("old_token", "uuid"))
    sql = (
        f"UPDATE sagas_sagastep AS s SET ({', '.join(STEP_COLUMNS)}) = ({_pick(STEP_COLUMNS)})"
        f" FROM jsonb_to_recordset(%s::jsonb) AS {_describe_record(SagaStep, STEP_COLUMNS, guards)}"
        " WHERE s.id = v.id AND s.state = v.old_state AND s.lease_token IS NOT DISTINCT FROM v.old_token"
    )
    values = [
        {**values_of(step, STEP_COLUMNS), "id": step.pk, "old_state": old["state"], "old_token": old["lease_token"]}
        for step, old in rows
    ]
    return sql, [_as_json(values)]


def close_attempts(rows: Iterable[Mapping[str, Any]]) -> Statement:
    """Return the UPDATE of ended attempts by token; an attempt with a definite outcome is not updated."""
    sql = (
        f"UPDATE sagas_sagaattempt AS a SET ({', '.join(CLOSE_COLUMNS)}) = ({_pick(CLOSE_COLUMNS)})"
        f" FROM jsonb_to_recordset(%s::jsonb) AS {_describe_record(SagaAttempt, CLOSE_COLUMNS, (('token', 'uuid'),))}"
        " WHERE a.lease_token = v.token AND (a.outcome IS NULL OR a.outcome = 'unknown')"
    )
    return sql, [_as_json(rows)]


def _pick(columns: Iterable[str]) -> str:
    return ", ".join(f"v.{column}" for column in columns)
