"""Database connections between transactions: renewal of broken or changed ones, and classification of errors."""

from typing import Any

from django.db import InterfaceError, OperationalError, connections

# Deadlock and serialization failure: certainly rolled back, and no error of the caller.
SERIALIZATION_SQLSTATE = "40001"
CONFLICT_SQLSTATES = frozenset({"40P01", SERIALIZATION_SQLSTATE})
# Lock and statement time-outs, and conflicts: Django calls them operational, but the database works.
LOCK_TIMEOUT_SQLSTATE = "55P03"
STATEMENT_SQLSTATES = frozenset({LOCK_TIMEOUT_SQLSTATE, "57014"}) | CONFLICT_SQLSTATES
READ_ONLY_SQLSTATE = "25006"  # an InternalError to Django, although only the server's current state is wrong


def refresh_connection(using: str, *, is_broken: bool = False) -> None:
    """Drop a broken or outdated connection, so that the next statement opens a new one.

    A connection inside a transaction (only in tests) is kept: closing it would lose the transaction.
    """
    connection = connections[using]
    if connection.in_atomic_block:
        return
    if is_broken:
        drop_connection(using)
    else:
        connection.close_if_unusable_or_obsolete()


def refresh_connections() -> None:
    """Refresh every connection of this thread."""
    for connection in connections.all(initialized_only=True):
        refresh_connection(connection.alias)


def drop_connection(using: str) -> None:
    """Close a connection for good, so that no pool reuses it."""
    connection = connections[using]
    raw = connection.connection
    if raw is not None:
        raw.close()
    connection.close()


def is_away(error: BaseException) -> bool:
    """Return whether the database is unusable now: unreachable, full, restarting or read-only."""
    if isinstance(error, OperationalError | InterfaceError):
        return True
    return sqlstate_of(error) == READ_ONLY_SQLSTATE


def is_beyond_statement(error: BaseException) -> bool:
    """Return whether the database itself is unusable, so that other statements would fail, too."""
    return is_away(error) and sqlstate_of(error) not in STATEMENT_SQLSTATES


def is_conflict(error: BaseException) -> bool:
    """Return whether the database rolled back the transaction because of another one, so that it can be retried."""
    return sqlstate_of(error) in CONFLICT_SQLSTATES


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error that Django raised for one of its driver; None if the server gave none.

    psycopg calls it ``sqlstate``, psycopg2 ``pgcode``.
    """
    cause: Any = error.__cause__
    found = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return str(found) if found else None
