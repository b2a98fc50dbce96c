"""The engine's own transactions: at READ COMMITTED, on connections that foreign code has not changed.

Step functions and other code in a worker use the same connections. They may leave behind autocommit off, an open
transaction, or another isolation level, search path or role. A transaction that then only seems to commit would break
every guarantee, so each of the engine's transactions first checks its connection.

Source: Django, ``django.db.transaction.Atomic`` (with autocommit off, its outermost block commits nothing).
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction

from . import clock
from .core.survival import ends_process
from .databases import drop_connection
from .exceptions import SagaError, TransactionEnded

logger = logging.getLogger(__name__)

IDLE, IN_TRANSACTION, IN_ERROR = 0, 2, 3  # libpq's transaction status, in both drivers
# Settings that change a statement's meaning or durability and outlive the transaction that set them.
SESSION_SETTINGS = (
    "search_path", "role", "session_authorization", "default_transaction_isolation", "default_transaction_read_only",
    "session_replication_role", "synchronous_commit", "row_security",
)  # fmt: skip
# An expression: every transaction of the engine reads it in a statement that it needs anyway.
# Temporary tables come first in name lookup, so one may shadow a table of the engine or of another step.
TEMPORARY_SQL = (
    "CASE WHEN pg_my_temp_schema() = 0 THEN 0"
    " ELSE (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()) END"
)
SESSION_SQL = (
    "concat_ws(chr(10), " + ", ".join(f"current_setting('{name}')" for name in SESSION_SETTINGS) + f", {TEMPORARY_SQL})"
)
SESSION_PARTS = (*SESSION_SETTINGS, "temporary tables")
# Set for one transaction, so that it vanishes when that ends, by whatever code.
MARK_SQL = "set_config('sagas.local_step', 'open', true)"
IS_MARKED_SQL = "coalesce(current_setting('sagas.local_step', true), '')"
# Attributes of the driver's connection that change the rows of a cursor, or how a transaction begins.
DRIVER_SETTINGS = ("row_factory", "cursor_factory", "isolation_level", "read_only", "readonly", "deferrable")


class ConnectionAltered(SagaError):
    """Foreign code left a connection in another state; it must be dropped and the work repeated."""


@contextmanager
def own_transaction(
    using: str, *, durable: bool = False, keeps_isolation: bool = False, joins: bool = False
) -> Iterator[None]:
    """Open a transaction of the engine; join the caller's if there is one (only in tests and operators' code).

    ``keeps_isolation``: at the project's isolation level, as for step functions; otherwise READ COMMITTED. ``joins``:
    the project's code may call with autocommit turned off, and then commits by itself.
    Raises: ImproperlyConfigured if the project turned autocommit off; ConnectionAltered if a transaction was left open
    inside; RuntimeError if it must be durable and is not the outermost.
    """
    connection: Any = connections[using]
    # One begun by hand is also the caller's: Django refuses to join it, and dropping it would lose its writes.
    is_by_hand = joins and (not connection.get_autocommit() or _status_of(using) in (IN_TRANSACTION, IN_ERROR))
    if connection.in_atomic_block or is_by_hand:
        with transaction.atomic(using=using, durable=durable):
            yield
        return
    straighten(using)
    is_over, sets_isolation = False, not keeps_isolation and connection.vendor == "postgresql"
    isolation = _at_read_committed(connection) if sets_isolation else nullcontext()
    try:
        with isolation, transaction.atomic(using=using, durable=durable):
            if sets_isolation:
                _set_read_committed(connection)
            yield
        is_over = True
    finally:
        if connection.in_atomic_block:
            # Foreign code entered a block and never left it: the intended COMMIT only released a savepoint.
            abandon_connection(using)
            if is_over:
                raise ConnectionAltered(f"A transaction was left open on {using!r}; everything in it is rolled back.")


def straighten(using: str) -> None:
    """Ensure that a connection is open and really commits; drop one that foreign code has changed.

    Raises: ImproperlyConfigured if a new connection does not commit, either.
    Tx: must not be inside one.
    """
    connection = connections[using]
    if connection.connection is not None and not _is_straight(connection):
        logger.warning("Connection dropped: foreign code left it changed.", extra={"database": using})
        abandon_connection(using)
    connection.ensure_connection()
    if not connection.autocommit:
        raise ImproperlyConfigured(
            f"DATABASES[{using!r}]['AUTOCOMMIT'] is False: nothing that the engine writes would be committed."
            " Remove it (see the check sagas.E018)."
        )


def abandon_connection(using: str) -> None:
    """Close a connection in any state; the next one begins outside any block."""
    connection = connections[using]
    connection.in_atomic_block, connection.atomic_blocks, connection.savepoint_ids = False, [], []
    drop_connection(using)


def without_requests_transactions(view: Callable[..., Any]) -> Callable[..., Any]:
    """Return a view that Django never wraps in a transaction (``ATOMIC_REQUESTS``), because it calls foreign code."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


@contextmanager
def guarded_connections() -> Iterator[None]:
    """Drop every connection that foreign code inside leaves in a block, without autocommit, or newly opened."""
    before = {found.alias: _Habits(found) for found in connections.all(initialized_only=True)}
    try:
        yield
    finally:
        for habits in before.values():
            habits.restore()
        for found in connections.all(initialized_only=True):
            known = before.get(found.alias)
            raw, depth = (known.raw, known.depth) if known is not None else (None, 0)
            if depth or found.connection is None:
                continue  # the caller owns its transaction
            if _depth_of(found) or not _is_straight(found):
                logger.warning("Connection dropped: a step left it changed.", extra={"database": found.alias})
                abandon_connection(found.alias)
            elif found.vendor == "postgresql" and found.connection is not raw:
                # Opened by the step, perhaps for the first time: the original state of its session is unknown.
                abandon_connection(found.alias)


def require_same_session(using: str, found: str) -> None:
    """Check that a connection has the settings with which the engine first used it.

    ``found``: the value of SESSION_SQL.
    Raises: ConnectionAltered. The caller drops the connection; the settings of the next one are accepted.
    """
    connection: Any = connections[using]
    if _is_nested(connection):
        return  # it cannot be dropped: the caller's transaction is open
    raw = connection.connection
    known, expected = getattr(connection, "sagas_session", (None, ""))
    if known is not raw:
        connection.sagas_session = (raw, found)
    elif found != expected:
        pairs = zip(SESSION_PARTS, found.split("\n"), expected.split("\n"), strict=True)
        changed = ", ".join(name for name, now, before in pairs if now != before)
        logger.warning(
            "Connection dropped: a step changed its session.", extra={"database": using, "settings": changed}
        )
        raise ConnectionAltered(f"Foreign code changed {changed} of the session on {using!r}.")


def read_now(using: str) -> Any:
    """Return the current time as ``clock.read_now``, and check the session in the same statement.

    Raises: ConnectionAltered.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT clock_timestamp() AT TIME ZONE 'UTC', {SESSION_SQL}")
        now, session = cursor.fetchone()
    require_same_session(using, session)
    return clock.shifted(now)


def require_marked(using: str, found: str) -> None:
    """Check that a local step has not ended the transaction that was opened for it.

    ``found``: the value of IS_MARKED_SQL.
    Raises: TransactionEnded.
    """
    if not found and not _is_nested(connections[using]):
        raise TransactionEnded(
            f"The step ended its transaction on {using!r} by a COMMIT or ROLLBACK of its own. Its writes may be"
            " committed without its record, or lost. Check the data, fix the code, and mark the step."
        )


def require_open(using: str) -> None:
    """Check, without a statement, that the transaction of a local step is still open.

    Raises: TransactionEnded.
    """
    if _status_of(using) == IDLE:
        require_marked(using, "")


def is_intact(using: str) -> bool:
    """Return whether a transaction is open and accepts statements: whatever failed, it was not on this connection."""
    return _status_of(using) == IN_TRANSACTION


def require_kept(using: str) -> None:
    """Check that the transaction of a local step is the one opened for it, by a statement if it accepts one.

    An aborted transaction accepts none: it cannot be checked, and is rolled back.
    Raises: TransactionEnded.
    """
    require_open(using)
    connection: Any = connections[using]
    if _status_of(using) == IN_TRANSACTION and not connection.needs_rollback:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {IS_MARKED_SQL}")
            [found] = cursor.fetchone()
        require_marked(using, found)


def _status_of(using: str) -> int | None:
    connection: Any = connections[using]
    raw = connection.connection
    is_open = connection.vendor == "postgresql" and raw is not None and not raw.closed
    return int(raw.info.transaction_status) if is_open else None


def log_failing_callbacks(using: str, facts: dict[str, Any]) -> None:
    """Make each on_commit callback of the current transaction run, whatever earlier ones raise.

    Django stops at the first that raises, as if the COMMIT had failed.
    Tx: must be inside one; does nothing in a nested one, whose callbacks belong to the caller.
    """
    connection: Any = connections[using]
    if _is_nested(connection):
        return
    connection.run_on_commit = [
        (savepoints, _logging(callback, facts), robust) for savepoints, callback, robust in connection.run_on_commit
    ]


def _logging(callback: Any, facts: dict[str, Any]) -> Any:
    def call() -> None:
        try:
            callback()
        except BaseException as error:
            if ends_process(error):
                raise
            logger.exception("An on_commit callback of a step failed.", extra=facts)

    return call


class _Habits:
    """Depth, statement wrappers and driver settings of a connection, as they were before a step."""

    def __init__(self, connection: Any) -> None:
        self._connection, self._wrappers = connection, list(connection.execute_wrappers)
        self.raw = raw = connection.connection
        self.depth = _depth_of(connection)
        self._settings = {name: getattr(raw, name) for name in DRIVER_SETTINGS if hasattr(raw, name)}

    def restore(self) -> None:
        """Restore what a step changed; close a connection on which that fails."""
        connection, raw = self._connection, self.raw
        connection.execute_wrappers[:] = self._wrappers
        if raw is None or raw is not connection.connection or raw.closed:
            return
        try:
            for name, value in self._settings.items():
                if getattr(raw, name) != value:
                    setattr(raw, name, value)
        except Exception:
            logger.warning("Connection closed: a step changed it.", extra={"database": connection.alias}, exc_info=True)
            raw.close()


def _is_nested(connection: Any) -> bool:
    return len(connection.atomic_blocks) > 1


def _depth_of(connection: Any) -> int:
    return len(connection.atomic_blocks)


def _is_straight(connection: Any) -> bool:
    """Return whether a connection is in no block and commits each statement, for Django and for the driver."""
    if connection.vendor != "postgresql":
        return True  # a system check refuses such databases
    if connection.in_atomic_block or not connection.autocommit:
        return False
    raw = connection.connection
    return not raw.closed and bool(raw.autocommit) and int(raw.info.transaction_status) == IDLE


@contextmanager
def _at_read_committed(connection: Any) -> Iterator[None]:
    """Run transactions that begin inside at READ COMMITTED, by the driver's BEGIN."""
    from django.db.backends.postgresql.psycopg_any import IsolationLevel, is_psycopg3  # needs a driver

    raw = connection.connection
    if not is_psycopg3 or raw.isolation_level == IsolationLevel.READ_COMMITTED:
        yield
        return
    before, raw.isolation_level = raw.isolation_level, IsolationLevel.READ_COMMITTED
    try:
        yield
    finally:
        if not raw.closed and raw.info.transaction_status == IDLE:
            raw.isolation_level = before


def _set_read_committed(connection: Any) -> None:
    """Set the isolation level by a statement, because psycopg2 cannot at BEGIN.

    Tx: must be the first statement of one.
    """
    from django.db.backends.postgresql.psycopg_any import is_psycopg3  # needs a driver

    if not is_psycopg3:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
