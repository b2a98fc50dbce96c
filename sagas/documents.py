"""Write a saga with everything that belongs to it as one JSON document, for archives and export.

PostgreSQL builds the text, so numbers stay exact and no stored value can fail to be read.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.db import connections

from .conf import get_settings

# As json and not jsonb: the rows become text at once, which is three times as fast.
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
    ) AS history
    FROM sagas_saga AS saga WHERE saga.id = ANY(%s) ORDER BY saga.id
"""
# json_agg breaks lines between elements; inside a JSON text a line break is always escaped, so it can go.
COMPACT = "SELECT replace(row_to_json(document)::text, chr(10), '') FROM (" + SELECT_DOCUMENTS + ") AS document"  # noqa: S608
PRETTY = "SELECT jsonb_pretty(to_jsonb(document)) FROM (" + SELECT_DOCUMENTS + ") AS document"  # noqa: S608 - constants


def write_documents(saga_ids: Iterable[UUID], *, pretty: bool = False) -> list[str]:
    """Return one JSON text for each saga that is there, in the order of their ids.

    Shape: the columns of the saga, ``keys`` (an object), ``steps`` (each with its columns and ``attempts``),
    ``history``; times are ISO 8601 texts.
    """
    with connections[get_settings().database].cursor() as cursor:
        cursor.execute(PRETTY if pretty else COMPACT, [list(saga_ids)])
        return [row[0] for row in cursor.fetchall()]
