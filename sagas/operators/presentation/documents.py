"""JSON documents of sagas with all their rows, for archives and export.

PostgreSQL builds the text, so numbers stay exact and every stored value can be read.
"""

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import connections

from ...conf import get_settings
from ...models.history import OPERATOR_ACTED
from ..visibility import Visibility, show_error

# json and not jsonb: the rows become text at once, which is three times as fast.
SELECT_DOCUMENTS = """
    SELECT saga.*, (
        SELECT coalesce(json_object_agg(key.name, key.value ORDER BY key.name), '{}')
        FROM sagas_sagakey AS key WHERE key.saga_id = saga.id
    ) AS keys, (
        SELECT coalesce(json_agg(step ORDER BY step.position), '[]') FROM (
            SELECT step.*, (
                SELECT coalesce(json_agg(attempt ORDER BY attempt.id), '[]')
                FROM sagas_sagaattempt AS attempt WHERE attempt.step_id = step.id
            ) AS attempts
            FROM sagas_sagastep AS step WHERE step.saga_id = saga.id
        ) AS step
    ) AS steps, (
        SELECT coalesce(json_agg(entry ORDER BY entry.number), '[]')
        FROM sagas_sagahistory AS entry WHERE entry.saga_id = saga.id
    ) AS history, (
        SELECT coalesce(json_agg(event ORDER BY event.id), '[]')
        FROM sagas_trackedevent AS event WHERE event.saga_id = saga.id
    ) AS events
    FROM sagas_saga AS saga WHERE saga.id = ANY(%s) ORDER BY saga.id
"""
# json_agg adds line breaks between elements; inside JSON strings they are always escaped, so all can be removed.
COMPACT = "SELECT replace(row_to_json(document)::text, chr(10), '') FROM (" + SELECT_DOCUMENTS + ") AS document"  # noqa: S608
PRETTY = "SELECT jsonb_pretty(to_jsonb(document)) FROM (" + SELECT_DOCUMENTS + ") AS document"  # noqa: S608 - constants


def write_documents(saga_ids: Iterable[UUID], *, pretty: bool = False) -> list[str]:
    """Return one JSON text for each saga that exists, in the order of their ids.

    Shape: the columns of the saga, ``keys`` (an object), ``steps`` (each with its columns and ``attempts``),
    ``history``, ``events`` (recorded for a choreographed saga); times are ISO 8601 texts.
    """
    with connections[get_settings().database].cursor() as cursor:
        cursor.execute(PRETTY if pretty else COMPACT, [list(saga_ids)])
        return [row[0] for row in cursor.fetchall()]


def strip_document(text: str, visibility: Visibility, *, indent: int | None = None) -> str:
    """Return a document as text without what a reader may not see."""
    if visibility.has_payloads:
        return text
    separators = (",", ":") if indent is None else None
    stripped = _strip_payloads(json.loads(text), with_errors=visibility.has_errors)
    return json.dumps(stripped, ensure_ascii=False, separators=separators, indent=indent)


def _strip_payloads(document: dict[str, Any], *, with_errors: bool) -> dict[str, Any]:
    """Return a document without input, results and tracebacks; error classes stay, and their texts if wanted.

    What operators wrote and did stays, too: every operator may know who did what, and why.
    """
    left = [
        {name: value for name, value in effect.items() if name != "result"}
        for effect in _list(document, "effects_left")
    ]
    shown = {
        **{name: value for name, value in document.items() if name != "input"},
        "cause": _strip(document.get("cause") or {}, *([] if with_errors else ["message"])) or None,
        "effects_left": left if document.get("effects_left") is not None else None,
        "steps": [_strip_step(step, with_errors=with_errors) for step in _list(document, "steps")],
        "history": [_strip_entry(entry, with_errors=with_errors) for entry in _list(document, "history")],
    }
    return {**shown, "has_payloads": False, "has_errors": with_errors}


def _strip_step(step: dict[str, Any], *, with_errors: bool) -> dict[str, Any]:
    attempts = [
        _strip(attempt, "traceback", *([] if with_errors or attempt.get("is_assumed") else ["message"]))
        for attempt in _list(step, "attempts")
    ]
    last_error = show_error(step.get("last_error") or "", with_errors=with_errors)
    return {**_strip(step, "result"), "last_error": last_error, "attempts": attempts}


def _strip_entry(entry: dict[str, Any], *, with_errors: bool) -> dict[str, Any]:
    if entry.get("what") == OPERATOR_ACTED:
        return entry
    is_error = entry.get("actor") is None and bool(entry.get("step"))
    reason = entry.get("reason") or ""
    return {**_strip(entry, "data"), "reason": show_error(reason, with_errors=with_errors) if is_error else reason}


def _strip(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _list(row: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return row.get(name) or []
