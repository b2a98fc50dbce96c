"""Database connections between transactions: renewed when broken or bent, and their errors told apart."""

from __future__ import annotations

from typing import Any

from django.db import InterfaceError, OperationalError, connections

# Deadlock and serialization failure: certainly rolled back, and nobody's fault.
SERIALIZATION_SQLSTATE = "40001"
CONFLICT_SQLSTATES = frozenset({"40P01", SERIALIZATION_SQLSTATE})
# Lock and statement time-outs, and conflicts: Django calls them operational, but the database is well.
STATEMENT_SQLSTATES = frozenset({"55P03", "57014"}) | CONFLICT_SQLSTATES
READ_ONLY_SQLSTATE = "25006"  # an InternalError to Django, although only the server's present state is wrong


def refresh_connection(using: str, *, is_broken: bool = False) -> None:
    """Drop a connection that broke or grew too old, so that the next statement opens a new one.

    A connection inside a transaction (only tests call from inside one) is left alone: closing it would lose that.
    """
    connection = connections[using]
    if connection.in_atomic_block:
        return
    if is_broken:
        drop_connection(using)
    else:
        connection.close_if_unusable_or_obsolete()


def refresh_connections() -> None:
    """Refresh every connection that this thread has."""
    for connection in connections.all(initialized_only=True):
        refresh_connection(connection.alias)


def drop_connection(using: str) -> None:
    """Close a connection for good, so that no pool hands it out again."""
    connection = connections[using]
    raw = connection.connection
    if raw is not None:
        raw.close()
    connection.close()


def is_away(error: BaseException) -> bool:
    """Tell a database that cannot be worked with now (away, full, restarting, read only) from a wrong statement."""
    if isinstance(error, OperationalError | InterfaceError):
        return True
    return sqlstate_of(error) == READ_ONLY_SQLSTATE


def is_beyond_statement(error: BaseException) -> bool:
    """Tell a database that is away from a statement that it refused or gave up, and that others may well follow."""
    return is_away(error) and sqlstate_of(error) not in STATEMENT_SQLSTATES


def is_conflict(error: BaseException) -> bool:
    """Tell a transaction that the database rolled back because of another one, and that may just be tried again."""
    return sqlstate_of(error) in CONFLICT_SQLSTATES


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error that Django raised for its driver's; None where the server gave none.

    psycopg calls it ``sqlstate``, psycopg2 ``pgcode``.
    """
    cause: Any = error.__cause__
    found = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return str(found) if found else None
