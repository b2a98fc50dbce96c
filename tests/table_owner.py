"""Owner of the engine's tables, whom no trigger stops from forging history."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection


@contextmanager
def as_table_owner() -> Iterator[Any]:
    """Act as the owner of the tables: disable the trigger that keeps history append-only."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a table with pending constraints cannot be altered
        cursor.execute("ALTER TABLE sagas_sagahistory DISABLE TRIGGER sagas_history_is_append_only")
        yield cursor
        cursor.execute("ALTER TABLE sagas_sagahistory ENABLE TRIGGER sagas_history_is_append_only")
