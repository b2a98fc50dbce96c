"""Keep database connections usable between transactions."""

from __future__ import annotations

from django.db import InterfaceError, OperationalError, connections

# Lock and statement time-outs, deadlock, serialization: Django calls them operational, but the database is well.
STATEMENT_SQLSTATES = frozenset({"55P03", "57014", "40P01", "40001"})
READ_ONLY_SQLSTATE = "25006"  # an InternalError to Django, although only the server's present state is wrong


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


def is_away(error: Exception) -> bool:
    """Tell a database that cannot be worked with now (away, full, restarting, read only) from a wrong statement."""
    if isinstance(error, OperationalError | InterfaceError):
        return True
    return getattr(error.__cause__, "sqlstate", None) == READ_ONLY_SQLSTATE


def is_beyond_statement(error: Exception) -> bool:
    """Tell a database that is away from a statement that it refused or gave up, and that others may well follow."""
    return is_away(error) and getattr(error.__cause__, "sqlstate", None) not in STATEMENT_SQLSTATES
