"""Keep database connections usable between transactions."""

from __future__ import annotations

from django.db import connections


def refresh_connection(using: str, *, is_broken: bool = False) -> None:
    """Drop a connection that broke or grew too old, so that the next statement opens a new one.

    A connection inside a transaction (only tests call from inside one) is left alone: closing it would lose that.
    """
    connection = connections[using]
    if connection.in_atomic_block:
        return
    if is_broken:
        connection.close()
    else:
        connection.close_if_unusable_or_obsolete()
