"""Write a saga with everything that belongs to it as one JSON document, for archives and export.

PostgreSQL builds the text, so numbers stay exact and no stored value can fail to be read.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.db import connections

from .conf import get_settings

SELECT_DOCUMENTS = """
    SELECT to_jsonb(saga) || jsonb_build_object(
        'keys', coalesce((
            SELECT jsonb_object_agg(key.name, key.value) FROM sagas_sagakey AS key WHERE key.saga_id = saga.id
        ), '{}'),
        'steps', coalesce((
            SELECT jsonb_agg(to_jsonb(step) - 'saga_id' || jsonb_build_object('attempts', coalesce((
                SELECT jsonb_agg(to_jsonb(attempt) - 'saga_id' - 'step_id' ORDER BY attempt.id)
                FROM sagas_sagaattempt AS attempt WHERE attempt.step_id = step.id
            ), '[]')) ORDER BY step.position)
            FROM sagas_sagastep AS step WHERE step.saga_id = saga.id
        ), '[]'),
        'history', coalesce((
            SELECT jsonb_agg(to_jsonb(entry) - 'saga_id' ORDER BY entry.number)
            FROM sagas_sagahistory AS entry WHERE entry.saga_id = saga.id
        ), '[]')
    ) AS document
    FROM sagas_saga AS saga WHERE saga.id = ANY(%s) ORDER BY saga.id
"""
COMPACT = "SELECT document::text FROM (" + SELECT_DOCUMENTS + ") AS found"  # noqa: S608 - constants
PRETTY = "SELECT jsonb_pretty(document) FROM (" + SELECT_DOCUMENTS + ") AS found"  # noqa: S608 - constants


def write_documents(saga_ids: Iterable[UUID], *, pretty: bool = False) -> list[str]:
    """Return one JSON text for each saga that is there, in the order of their ids.

    Shape: the columns of the saga, ``keys`` (an object), ``steps`` (each with its columns and ``attempts``),
    ``history``; times are ISO 8601 texts.
    """
    with connections[get_settings().database].cursor() as cursor:
        cursor.execute(PRETTY if pretty else COMPACT, [list(saga_ids)])
        return [row[0] for row in cursor.fetchall()]
