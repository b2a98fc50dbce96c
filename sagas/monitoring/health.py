"""Time-limited queries of the servers that the engine depends on: the broker, databases, migrations.

A query that may block without limit runs in a thread of its own, one at a time for each server.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from celery import current_app
from django.db import Error, connections
from django.db.migrations.executor import MigrationExecutor
from kombu.connection import Connection
from kombu.exceptions import OperationalError as BrokerError

from ..databases import refresh_connection

TIMEOUT_SETTINGS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class NoAnswer:
    """Failure of a server to answer, with the reason."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class DatabaseServer:
    """PostgreSQL server, as seen by a connection of the project."""

    version: str
    number: int
    """Version for comparison: 150004."""
    timeouts: Mapping[str, str]
    """Time-outs of the session by setting; ``0``: none."""
    is_read_only: bool


class _Question(threading.Thread, Generic[Answer]):
    """Query of a server, under way in a thread."""

    def __init__(self, name: str, ask: Callable[[], Answer | NoAnswer]) -> None:
        super().__init__(name=name, daemon=True)
        self._ask = ask
        self._answer: Answer | NoAnswer | None = None

    def run(self) -> None:
        """Ask without a time limit."""
        self._answer = self._ask()

    def wait(self, seconds: float, ends_at: float) -> Answer | NoAnswer:
        """Return the answer, or NoAnswer if there is none at ``ends_at`` of the monotonic clock."""
        self.join(max(0.0, ends_at - time.monotonic()))
        return self._answer or NoAnswer(reason=f"does not answer within {seconds:g} s")


_questions: dict[str, _Question[Any]] = {}
_lock = threading.Lock()
# Aliases of the databases that are known to have every migration.
_migrated: set[str] = set()


def ask_broker(seconds: float) -> tuple[str, NoAnswer | None]:
    """Connect to the broker, and wait for an answer.

    Returns: its URL without the password, and why it did not answer; None: it did.
    """
    # Created here, because another thread may have another current Celery app.
    connection = current_app.connection_for_write()
    question = _begin(f"broker {connection.as_uri(include_password=True)}", lambda: _ping(connection, seconds))
    answer = question.wait(seconds, time.monotonic() + seconds)
    return connection.as_uri(), answer if isinstance(answer, NoAnswer) else None


def ask_databases(aliases: Iterable[str], seconds: float) -> dict[str, DatabaseServer | NoAnswer]:
    """Query databases in parallel, each over a connection of its own.

    Returns: the answers by alias, after at most ``seconds`` in total.
    """
    return ask_each("database", aliases, seconds, read_server)


def ask_each(
    what: str, aliases: Iterable[str], seconds: float, read: Callable[[str], Answer]
) -> dict[str, Answer | NoAnswer]:
    """Call a function with each alias in parallel, each over a connection of its own; ``what`` names the question.

    Returns: the answers by alias, after at most ``seconds`` in total.
    """
    ends_at = time.monotonic() + seconds
    questions = {alias: _begin(f"{what} {alias}", partial(_read_apart, alias, read)) for alias in aliases}
    return {alias: question.wait(seconds, ends_at) for alias, question in questions.items()}


def ask_once(what: str, seconds: float, ask: Callable[[], Answer | NoAnswer]) -> Answer | NoAnswer:
    """Call a function that may block without limit, and wait for its answer."""
    return _begin(what, ask).wait(seconds, time.monotonic() + seconds)


def read_server(alias: str) -> DatabaseServer:
    """Return the version, time-outs and mode of a database server, over this thread's connection.

    Raises: the database's errors.
    """
    refresh_connection(alias)
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')::int, current_setting('server_version')")
        number, version = cursor.fetchone()
        cursor.execute(f"SELECT {', '.join('current_setting(%s)' for _ in TIMEOUT_SETTINGS)}", TIMEOUT_SETTINGS)
        timeouts = dict(zip(TIMEOUT_SETTINGS, cursor.fetchone(), strict=True))
        cursor.execute("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool")
        is_read_only = cursor.fetchone()[0]
    return DatabaseServer(version=version.split()[0], number=number, timeouts=timeouts, is_read_only=is_read_only)


def list_missing_migrations(alias: str) -> list[str]:
    """Return the migrations that a database lacks, as ``app.name``.

    Once all are applied, the database is not queried again: the code of a process does not change.
    Raises: the database's errors.
    """
    if alias in _migrated:
        return []
    executor = MigrationExecutor(connections[alias])
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not plan:
        _migrated.add(alias)
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def shorten_error(error: BaseException) -> str:
    """Return the first line of an error's text, or the name of its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _begin(server: str, ask: Callable[[], Answer | NoAnswer]) -> _Question[Answer]:
    """Query a server, unless an older query is unanswered; return the query under way."""
    with _lock:
        question = _questions.get(server)
        if question is None or not question.is_alive():
            question = _questions[server] = _Question(f"sagas-health-{server.partition(' ')[0]}", ask)
            question.start()
        return question


def _ping(connection: Connection, seconds: float) -> bool | NoAnswer:
    try:
        connection.ensure_connection(max_retries=1, timeout=seconds)
        # An AMQP connection begins with a handshake; redis sends nothing before the first command.
        client = getattr(connection.default_channel, "client", None)
        if client is not None and hasattr(client, "ping"):
            client.ping()
    except (BrokerError, *connection.connection_errors, *connection.channel_errors, OSError) as error:
        return NoAnswer(reason=shorten_error(error))
    finally:
        connection.release()
    return True


def _read_apart(alias: str, read: Callable[[str], Answer]) -> Answer | NoAnswer:
    """Query a database over a connection of this thread, and close it or return it to the pool."""
    try:
        return read(alias)
    except Error as error:
        return NoAnswer(reason=shorten_error(error))
    finally:
        connections[alias].close()
