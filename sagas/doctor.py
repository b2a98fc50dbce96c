"""Examine everything that the engine depends on: one finding for each dependency and setting, with what to do.

Every look is bounded in time, and one that fails does not keep the others from being made.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from celery import current_app
from django.core.checks import CheckMessage, run_checks
from django.db import Error, connections
from django.db.migrations.executor import MigrationExecutor
from kombu.connection import Connection
from kombu.exceptions import OperationalError as BrokerError

from . import checks, clock, owed_hooks, recovery, registry, retention, timings
from .conf import get_settings
from .databases import refresh_connection
from .versions import find_unknown_versions

BROKER_SECONDS = 3.0
# Far more than a ring interval and two sweeps: whoever waits so long was not rung for, or found no free worker.
OLDEST_DUE_WARN_SECONDS, OLDEST_DUE_FAIL_SECONDS = 30.0, 300.0
# The engine decides by the database's clock alone; logs and ids of another clock only confuse readers.
SKEW_WARN_SECONDS = 2.0
TIMEOUT_SETTINGS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
OLDEST_SERVER = 150_000
MAX_VERSIONS = 20  # named one by one


class Level(StrEnum):
    """How a finding is meant."""

    OK = "ok"
    WARN = "warn"  #: sagas go on, but somebody should look
    FAIL = "fail"  #: sagas do not go on, or not rightly


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Tell about one dependency or setting."""

    name: str
    level: Level
    what: str
    """What was found."""
    todo: str = ""
    """What to do; empty when all is well."""

    def as_line(self) -> str:
        """Return it as a line of text."""
        todo = f" -> {self.todo}" if self.todo else ""
        return f"{self.level.value:<5} {self.name:<18} {self.what}{todo}"

    def as_dict(self) -> dict[str, str]:
        """Return plain data.

        Shape: ``{name, level, what, todo}``.
        """
        return {"name": self.name, "level": self.level.value, "what": self.what, "todo": self.todo}


def examine() -> Iterator[Finding]:
    """Return every finding; nothing that asks a database which does not answer is asked twice."""
    yield from _examine_settings()
    settings = checks.read_settings()
    if settings is None:
        return
    using = settings.database
    yield from _look("broker", _examine_broker)
    databases = list(_look("database", lambda: _examine_database(using)))
    yield from databases
    if any(finding.level is Level.FAIL for finding in databases):
        return
    for alias in retention.barrier_databases():
        if alias != using:
            yield from _look(f"database {alias}", lambda alias=alias: _examine_database(alias))  # type: ignore[misc]
    migrations = list(_look("migrations", _examine_migrations))
    yield from migrations
    if any(finding.level is Level.FAIL for finding in migrations):
        return
    for name, look in LOOKS.items():
        yield from _look(name, look)


def _look(name: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Make one look; a database that fails meanwhile is a finding, too."""
    try:
        return list(look())
    except Error as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        todo = "Is the server up, and does the URL in the settings name it rightly?"
        return [Finding(name=name, level=Level.FAIL, what=f"does not answer: {lines[0]}", todo=todo)]


def _examine_settings() -> Iterator[Finding]:
    """Tell what the system checks say about settings, definitions, routing and time-outs."""
    # Without databases: whether they answer is asked later, and since Django 6.0 none named means all of them.
    found: list[CheckMessage] = run_checks(tags=[checks.TAG], databases=[])
    shown = [message for message in found if not message.is_silenced()]
    for message in shown:
        level = Level.FAIL if message.is_serious() else Level.WARN
        name = str(message.id or "check")
        yield Finding(name=name, level=level, what=str(message.msg), todo=str(message.hint or ""))
    if shown:
        return
    settings = get_settings()
    timeout, whose = timings.find_longest_timeout(settings)
    limit = current_app.conf.task_time_limit
    yield Finding(
        name="settings",
        level=Level.OK,
        what=f"time-outs are in order: {timeout.total_seconds():g} s ({whose})"
        f" < lease {(timeout + settings.lease_margin).total_seconds():g} s;"
        f" time slice {settings.time_slice.total_seconds():g} s; task_time_limit {f'{limit:g} s' if limit else 'none'};"
        f" sweep every {settings.sweep_interval.total_seconds():g} s,"
        f" ring every {settings.ring_interval.total_seconds():g} s",
    )


def _examine_database(alias: str) -> Iterator[Finding]:
    name = "database" if alias == get_settings().database else f"database {alias}"
    refresh_connection(alias)
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')::int, current_setting('server_version')")
        number, version = cursor.fetchone()
        cursor.execute(f"SELECT {', '.join('current_setting(%s)' for _ in TIMEOUT_SETTINGS)}", TIMEOUT_SETTINGS)
        values = dict(zip(TIMEOUT_SETTINGS, cursor.fetchone(), strict=True))
        cursor.execute("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool")
        is_read_only = cursor.fetchone()[0]
    told = ", ".join(f"{setting} {value}" for setting, value in values.items())
    unlimited = [setting for setting, value in values.items() if value == "0"]
    what = f"PostgreSQL {version.split()[0]}, {told}"
    if number < OLDEST_SERVER:
        yield Finding(name=name, level=Level.FAIL, what=what, todo="The engine needs PostgreSQL 15 or newer.")
    elif is_read_only:
        yield Finding(name=name, level=Level.FAIL, what=f"{what}, read-only", todo="Connect to the primary server.")
    elif unlimited:
        todo = (
            f"Set {', '.join(unlimited)} in OPTIONS, so that a lost client or a slow query cannot hold locks for ever."
        )
        yield Finding(name=name, level=Level.WARN, what=what, todo=todo)
    else:
        yield Finding(name=name, level=Level.OK, what=what)


def _examine_migrations() -> Iterator[Finding]:
    """Look at the engine's tables, and at the barrier's in the other databases."""
    missing: list[str] = []
    for alias in retention.barrier_databases():
        executor = MigrationExecutor(connections[alias])
        targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] == "sagas"]
        plan = executor.migration_plan(targets)
        missing += [f"{migration.app_label}.{migration.name} on {alias}" for migration, _ in plan]
    if missing:
        what = f"not applied: {', '.join(missing)}"
        yield Finding(name="migrations", level=Level.FAIL, what=what, todo="Run manage.py migrate for each database.")
    else:
        yield Finding(name="migrations", level=Level.OK, what="all applied")


def _examine_broker() -> Iterator[Finding]:
    """Ask the broker in a thread: a frozen one lets its callers wait without limit."""
    if get_settings().doorbell != "sagas.doorbell.ring_celery":
        yield Finding(name="broker", level=Level.OK, what=f"not used: the doorbell is {get_settings().doorbell}")
        return
    failures: list[str] = []
    # Made here: the current app of Celery is another one in another thread.
    connection = current_app.connection_for_write()
    where = connection.as_uri()
    thread = threading.Thread(target=_ask_broker, args=[connection, failures], name="sagas-doctor-broker", daemon=True)
    thread.start()
    thread.join(BROKER_SECONDS)
    todo = (
        "Is it up, and does its URL name it rightly? Sagas are accepted, and go on when it is back; saga_sweep --loop"
        " --run goes on with them without it."
    )
    if thread.is_alive():
        what = f"{where} does not answer within {BROKER_SECONDS:g} s"
        yield Finding(name="broker", level=Level.WARN, what=what, todo=todo)
    elif failures:
        yield Finding(name="broker", level=Level.WARN, what=f"{where}: {failures[0]}", todo=todo)
    else:
        yield Finding(name="broker", level=Level.OK, what=f"{where} answers")


def _ask_broker(connection: Connection, failures: list[str]) -> None:
    try:
        connection.ensure_connection(max_retries=1, timeout=BROKER_SECONDS)
        # An AMQP connection begins with a talk; redis says nothing before the first command.
        client = getattr(connection.default_channel, "client", None)
        if client is not None and hasattr(client, "ping"):
            client.ping()
    except (BrokerError, *connection.connection_errors, *connection.channel_errors, OSError) as error:
        failures.append((str(error).splitlines() or [type(error).__name__])[0])
    finally:
        connection.release()


def _examine_clock() -> Iterator[Finding]:
    before = datetime.now(UTC)
    told = clock.read_now(get_settings().database)
    after = datetime.now(UTC)
    # Half of the way there and back is the moment at which the database most likely looked at its clock.
    skew = (before + (after - before) / 2 - told).total_seconds()
    what = f"this machine is {abs(skew):.3f} s {'ahead of' if skew > 0 else 'behind'} the database"
    if abs(skew) > SKEW_WARN_SECONDS:
        todo = "Set this machine's clock by NTP; sagas go by the database's, but logs and new ids do not."
        yield Finding(name="clock", level=Level.WARN, what=what, todo=todo)
    else:
        yield Finding(name="clock", level=Level.OK, what=what)


def _examine_workers() -> Iterator[Finding]:
    seen = list(recovery.seen_workers().order_by("name"))
    if seen:
        names = ", ".join(f"{worker.name} ({worker.version})" for worker in seen[:5])
        more = f" and {len(seen) - 5} more" if len(seen) > 5 else ""
        yield Finding(name="workers", level=Level.OK, what=f"{len(seen)} seen: {names}{more}")
    else:
        within = get_settings().worker_seen_within.total_seconds()
        todo = "Start a Celery worker, or manage.py saga_sweep --loop --run."
        yield Finding(name="workers", level=Level.FAIL, what=f"none seen within {within:g} s", todo=todo)


def _examine_sweeper() -> Iterator[Finding]:
    age, limit = recovery.last_sweep_age_seconds(), get_settings().worker_seen_within.total_seconds()
    if age is None:
        todo = "Start a Celery worker, or manage.py saga_sweep --loop --run."
        yield Finding(name="sweeper", level=Level.FAIL, what="no sweep was ever made", todo=todo)
    elif age > limit:
        todo = "Lost rings and dead workers are noticed by nobody: start a worker or manage.py saga_sweep --loop."
        yield Finding(name="sweeper", level=Level.FAIL, what=f"last sweep {age:.1f} s ago", todo=todo)
    else:
        yield Finding(name="sweeper", level=Level.OK, what=f"last sweep {age:.1f} s ago")


def _examine_oldest_due() -> Iterator[Finding]:
    age = recovery.oldest_due_age_seconds()
    if age is None:
        yield Finding(name="oldest due", level=Level.OK, what="nothing is due")
        return
    level = Level.OK
    if age > OLDEST_DUE_WARN_SECONDS:
        level = Level.FAIL if age > OLDEST_DUE_FAIL_SECONDS else Level.WARN
    todo = "" if level is Level.OK else "Add workers, or look with saga_list what they are busy with."
    yield Finding(name="oldest due", level=level, what=f"waits for {age:.1f} s", todo=todo)


def _examine_hooks() -> Iterator[Finding]:
    """Tell how many on_closed hooks are owed; one that is under way, or was closed just now, is nothing to say of."""
    owed = owed_hooks.count_owed()
    now = clock.read_now(get_settings().database)
    age = (now - owed.oldest_closed_at).total_seconds() if owed.oldest_closed_at else 0.0
    if age <= OLDEST_DUE_WARN_SECONDS:
        yield Finding(name="closed hooks", level=Level.OK, what=f"{owed.count} owed" if owed.count else "none is owed")
        return
    what = f"{owed.count} owed, the oldest for {age:.0f} s, {owed.failing} of them called in vain"
    todo = "Look for 'Hook failed' in the log of the workers; a hook is called again until it returns."
    yield Finding(name="closed hooks", level=Level.WARN, what=what, todo=todo)


def _examine_queues() -> Iterator[Finding]:
    """Compare the queues that steps use with those that somebody seen lately serves."""
    needed = {get_settings().common_queue, *registry.queues()}
    served = {queue for worker in recovery.seen_workers() for queue in worker.queues}
    if missing := sorted(needed - served):
        todo = f"Start a worker with -Q {','.join(missing)}."
        yield Finding(name="queues", level=Level.FAIL, what=f"nobody serves {', '.join(missing)}", todo=todo)
    else:
        yield Finding(name="queues", level=Level.OK, what=f"served: {', '.join(sorted(needed))}")


def _examine_definitions() -> Iterator[Finding]:
    known = [f"{definition.name}@{definition.version}" for definition in registry.all_definitions()]
    if not known:
        todo = "Write <app>/sagas.py in an installed app."
        yield Finding(name="definitions", level=Level.WARN, what="the code has none", todo=todo)
    else:
        yield Finding(name="definitions", level=Level.OK, what=", ".join(known))


def _examine_versions() -> Iterator[Finding]:
    unknown = find_unknown_versions()
    for version in unknown[:MAX_VERSIONS]:
        name = f"version {version.name_and_version}"
        todo = "Bring the version back until saga_check_versions reports no open saga of it."
        yield Finding(name=name, level=Level.FAIL, what=version.describe(), todo=todo)
    if (more := len(unknown) - MAX_VERSIONS) > 0:
        todo = "List them with saga_check_versions."
        yield Finding(name="versions", level=Level.FAIL, what=f"{more} more that the code lacks", todo=todo)
    if not unknown:
        yield Finding(name="versions", level=Level.OK, what="the code has all that open sagas run on")


LOOKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "clock": _examine_clock,
    "workers": _examine_workers,
    "sweeper": _examine_sweeper,
    "oldest due": _examine_oldest_due,
    "closed hooks": _examine_hooks,
    "queues": _examine_queues,
    "definitions": _examine_definitions,
    "versions": _examine_versions,
}
