"""Doctor: examines everything that the engine depends on, with a finding and advice for each dependency and setting.

Every examination is bounded in time, and a failing one does not prevent the others.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from celery import current_app
from django.core.checks import WARNING, CheckMessage, run_checks
from django.db import Error

from .. import clock
from ..conf import get_settings
from ..core.definition import registry
from ..engine.notify import wakeup_sending
from ..events import catalogue, transports
from ..events.errors import BrokerAway
from ..events.overview import read_overview
from ..events.settings import get_event_settings
from ..events.supervision import as_pairs
from ..events.transports.base import Finding as TopicFinding
from ..events.troubles import find_troubles
from ..participants.routing import barrier_databases
from . import checks, health, hook_backlog, timings
from .health import DatabaseServer, NoAnswer
from .liveness import LATE, read_liveness
from .versions import find_unknown_versions

SERVER_SECONDS = 3.0  # time limit of the broker, and of all participants' databases together
OLDEST_DUE_FAIL_SECONDS = 300.0
# The engine decides by the database's clock alone; logs and ids by another clock only confuse readers.
SKEW_WARN_SECONDS = 2.0
OLDEST_SERVER = 150_000
MAX_VERSIONS = 20  # listed one by one
CHECK_SERVER = "Check that the server is up and that its URL in the settings is right."
START_WORKER = "Start a Celery worker, or manage.py saga_sweep --loop --run."


class Level(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    WARN = "warn"  #: sagas continue, but an operator should look
    FAIL = "fail"  #: sagas do not continue, or not correctly


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of examining one dependency or setting."""

    name: str
    level: Level
    what: str
    """What was found."""
    todo: str = ""
    """What to do; empty if nothing is wrong."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Measurements for programs, if there are any."""
    participant: str = ""
    """Alias, if the finding is about a participant's own database."""
    is_unread: bool = False
    """Whether nothing could be read, because the engine's database failed."""

    def as_line(self) -> str:
        """Return the finding as a line of text."""
        todo = f" -> {self.todo}" if self.todo else ""
        return f"{self.level.value:<5} {self.name:<18} {self.what}{todo}"

    def as_dict(self) -> dict[str, str]:
        """Return plain data.

        Shape: ``{name, level, what, todo}``.
        """
        return {"name": self.name, "level": self.level.value, "what": self.what, "todo": self.todo}


Rule = tuple[bool, Level, str]


def examine() -> Iterator[Finding]:
    """Yield every finding; a database that does not answer is not asked again."""
    yield from _examine_settings()
    if checks.read_settings() is not None:
        yield from examine_surroundings(EXAMINATIONS, seconds=SERVER_SECONDS)


def examine_surroundings(names: Iterable[str], *, seconds: float) -> Iterator[Finding]:
    """Yield the findings about broker, databases and migrations, and of these EXAMINATIONS if the tables can be read.

    ``seconds``: time limit of the broker, and of the participants' databases together.
    """
    yield from _examine_broker(seconds)
    using = get_settings().database
    databases = list(_run("database", lambda: [_judge_server("database", health.read_server(using))]))
    yield from databases
    if any(finding.is_unread for finding in databases):
        return
    others = health.ask_databases([alias for alias in barrier_databases() if alias != using], seconds)
    yield from (_judge_participant(alias, answer) for alias, answer in others.items())
    answering = [alias for alias, answer in others.items() if isinstance(answer, DatabaseServer)]
    migrations = list(_run("migrations", lambda: _examine_migrations(using, answering)))
    yield from migrations
    if any(finding.level is Level.FAIL and not finding.participant for finding in migrations):
        return
    for name in names:
        yield from _run(name, EXAMINATIONS[name])


def _run(name: str, examination: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Run one examination; report a failing database as a finding, too."""
    try:
        return list(examination())
    except Error as error:
        what = f"does not answer: {health.shorten_error(error)}"
        return [Finding(name=name, level=Level.FAIL, what=what, todo=CHECK_SERVER, is_unread=True)]


def _examine_settings() -> Iterator[Finding]:
    """Yield the results of the system checks of settings, definitions, routing and time-outs."""
    # Without databases: they are examined later, and since Django 6.0 naming none means all of them.
    found: list[CheckMessage] = run_checks(tags=[checks.TAG], databases=[])
    shown = [message for message in found if message.level >= WARNING and not message.is_silenced()]
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
        f" at most one wake-up in {settings.wakeup_interval.total_seconds():g} s",
    )


def _judge(name: str, what: str, *rules: Rule, participant: str = "", **facts: Any) -> Finding:
    """Return a finding with the level and advice of the first rule that applies; OK if none does."""
    level, todo = next(((level, todo) for applies, level, todo in rules if applies), (Level.OK, ""))
    return Finding(name=name, level=level, what=what, todo=todo, participant=participant, facts=facts)


def _judge_server(name: str, server: DatabaseServer, participant: str = "") -> Finding:
    limits = ", ".join(f"{setting} {value}" for setting, value in server.timeouts.items())
    unlimited = [setting for setting, value in server.timeouts.items() if value == "0"]
    limit = f"Set {', '.join(unlimited)} in OPTIONS, so that a lost client or a slow query cannot hold locks forever."
    return _judge(
        name,
        f"PostgreSQL {server.version}, {limits}{', read-only' if server.is_read_only else ''}",
        (server.number < OLDEST_SERVER, Level.FAIL, "The engine needs PostgreSQL 15 or newer."),
        (server.is_read_only, Level.FAIL, "Connect to the primary server."),
        (bool(unlimited), Level.WARN, limit),
        participant=participant,
    )


def _judge_participant(alias: str, answer: DatabaseServer | NoAnswer) -> Finding:
    name = f"database {alias}"
    if isinstance(answer, DatabaseServer):
        return _judge_server(name, answer, alias)
    return _judge(name, f"does not answer: {answer.reason}", (True, Level.FAIL, CHECK_SERVER), participant=alias)


def _examine_migrations(using: str, others: Iterable[str]) -> Iterator[Finding]:
    """Examine the migrations of every app in the engine's database and in the participants' that answer."""
    missing = {using: health.list_missing_migrations(using)}
    for alias in others:
        try:
            missing[alias] = health.list_missing_migrations(alias)
        except Error as error:
            yield _judge_participant(alias, NoAnswer(reason=health.shorten_error(error)))
    named = [f"{migration} on {alias}" for alias, migrations in missing.items() for migration in migrations]
    facts: dict[str, Any] = {
        "missing": len(named),
        "databases": sorted(alias for alias, found in missing.items() if found),
    }
    what = f"not applied: {', '.join(named)}" if named else "all applied"
    todo = "Run manage.py migrate for each database."
    yield _judge("migrations", what, (bool(named), Level.FAIL, todo), **facts if named else {})


def _examine_broker(seconds: float) -> Iterator[Finding]:
    if get_settings().wakeup != wakeup_sending.BY_CELERY:
        yield _judge("broker", f"not used: WAKEUP is {get_settings().wakeup}")
        return
    where, failure = health.ask_broker(seconds)
    todo = (
        "Check that it is up and that its URL is right. Sagas are accepted and continue when it is back;"
        " saga_sweep --loop --run executes them without it."
    )
    what = f"{where}: {failure.reason}" if failure else f"{where} answers"
    yield _judge("broker", what, (failure is not None, Level.WARN, todo))


def _examine_clock() -> Iterator[Finding]:
    before = datetime.now(UTC)
    read = clock.read_now(get_settings().database)
    after = datetime.now(UTC)
    # The database most likely read its clock halfway through the round trip.
    skew = (before + (after - before) / 2 - read).total_seconds()
    what = f"this machine is {abs(skew):.3f} s {'ahead of' if skew > 0 else 'behind'} the database"
    todo = "Set this machine's clock by NTP; sagas go by the database's, but logs and new ids do not."
    yield _judge("clock", what, (abs(skew) > SKEW_WARN_SECONDS, Level.WARN, todo))


def _examine_workers() -> Iterator[Finding]:
    seen = read_liveness().workers
    names = ", ".join(f"{worker.name} ({worker.version})" for worker in seen[:5])
    more = f" and {len(seen) - 5} more" if len(seen) > 5 else ""
    none = f"none seen within {get_settings().worker_seen_within.total_seconds():g} s"
    what = f"{len(seen)} seen: {names}{more}" if seen else none
    yield _judge("workers", what, (not seen, Level.FAIL, START_WORKER), seen=len(seen))


def _examine_sweeper() -> Iterator[Finding]:
    age = read_liveness().last_sweep_age
    what = f"last sweep {age.total_seconds():.1f} s ago" if age is not None else "no sweep is recorded"
    todo = "Lost wake-ups and dead workers go unnoticed: start a worker or manage.py saga_sweep --loop."
    is_old = age is not None and age > get_settings().worker_seen_within
    yield _judge("sweeper", what, (age is None, Level.FAIL, START_WORKER), (is_old, Level.FAIL, todo))


def _examine_oldest_due() -> Iterator[Finding]:
    found = read_liveness()
    age = found.oldest_due_age.total_seconds()
    todo = "Add workers, or see with saga_list what they are busy with."
    yield _judge(
        "oldest due",
        f"waits for {age:.1f} s" if found.oldest_due_at else "nothing is due",
        (age > OLDEST_DUE_FAIL_SECONDS, Level.FAIL, todo),
        (found.is_late, Level.WARN, todo),
        age_seconds=round(age, 3),
    )


def _examine_hooks() -> Iterator[Finding]:
    """Report how many on_closed hooks are owed; warn only if the oldest saga was closed a while ago."""
    owed = hook_backlog.count_owed()
    now = clock.read_now(get_settings().database)
    age = now - owed.oldest_closed_at if owed.oldest_closed_at else timedelta()
    what = f"{owed.count} owed" if owed.count else "none owed"
    if age > LATE:
        what += f", the oldest for {age.total_seconds():.0f} s, {owed.failing} of them tried before"
    todo = "Look for 'Hook failed' in the log of the workers; a hook is called again until it returns."
    yield _judge("closed hooks", what, (age > LATE, Level.WARN, todo))


def _examine_queues() -> Iterator[Finding]:
    """Compare the queues that steps use with those that recently seen workers serve."""
    needed = {get_settings().common_queue, *registry.queues()}
    missing = sorted(needed - {queue for worker in read_liveness().workers for queue in worker.queues})
    what = f"no worker serves {', '.join(missing)}" if missing else f"served: {', '.join(sorted(needed))}"
    yield _judge("queues", what, (bool(missing), Level.FAIL, f"Start a worker with -Q {','.join(missing)}."))


def _examine_definitions() -> Iterator[Finding]:
    known = [f"{definition.name}@{definition.version}" for definition in registry.all_definitions()]
    todo = "Write <app>/sagas.py in an installed app."
    yield _judge("definitions", ", ".join(known) or "none found in the code", (not known, Level.WARN, todo))


def _examine_versions() -> Iterator[Finding]:
    unknown = find_unknown_versions()
    for version in unknown[:MAX_VERSIONS]:
        name = f"version {version.name_and_version}"
        todo = "Restore the version until saga_check_versions reports no open saga of it."
        yield Finding(name=name, level=Level.FAIL, what=version.describe(), todo=todo)
    if (more := len(unknown) - MAX_VERSIONS) > 0:
        todo = "List them with saga_check_versions."
        yield Finding(name="versions", level=Level.FAIL, what=f"{more} more that the code does not have", todo=todo)
    if not unknown:
        yield Finding(name="versions", level=Level.OK, what="the code has every version that open sagas run on")


def _examine_events() -> Iterator[Finding]:
    """Examine the broker of events, and outbox and consumers of each participant; nothing while events are off."""
    if not get_event_settings().are_on:
        return
    yield from _examine_event_broker()
    for alias, answer in health.ask_each("events", catalogue.event_databases(), SERVER_SECONDS, read_overview).items():
        if isinstance(answer, NoAnswer):
            yield _judge(f"events {alias}", f"not read: {answer.reason}", (True, Level.FAIL, CHECK_SERVER))
            continue
        found = find_troubles(answer)
        yield from (
            _judge(f"events {trouble.participant}", trouble.what, (True, Level.WARN, trouble.todo)) for trouble in found
        )
        in_trouble = {trouble.participant for trouble in found}
        for sender in answer.senders:
            if sender.participant not in in_trouble:
                yield _judge(f"events {sender.participant}", f"{sender.unsent.count} unsent")
        for consumer in answer.consumers:
            if consumer.consumer not in in_trouble:
                lag = "lag unknown" if consumer.lag is None else f"lag {consumer.lag}"
                yield _judge(f"events {consumer.consumer}", f"{consumer.processes} consumers seen, {lag}")


def _examine_event_broker() -> Iterator[Finding]:
    answer = health.ask_once("events broker", SERVER_SECONDS, _compare_topics)
    if isinstance(answer, NoAnswer):
        todo = "Check that it is up and that its URL is right. Events wait in the outboxes meanwhile."
        yield _judge("event broker", answer.reason, (True, Level.WARN, todo))
        return
    for difference in answer:
        level = Level.FAIL if difference.is_error else Level.WARN
        yield _judge("event broker", difference.what, (True, level, difference.todo))
    if not answer:
        yield _judge("event broker", f"{get_event_settings().transport} has every topic")


def _compare_topics() -> list[TopicFinding] | NoAnswer:
    transport = transports.make_transport()
    try:
        return transport.check(catalogue.list_topics(), as_pairs(catalogue.list_subscriptions()))
    except BrokerAway as error:
        return NoAnswer(reason=str(error))
    finally:
        transport.close()


EXAMINATIONS: dict[str, Callable[[], Iterator[Finding]]] = {
    "clock": _examine_clock,
    "workers": _examine_workers,
    "sweeper": _examine_sweeper,
    "oldest due": _examine_oldest_due,
    "closed hooks": _examine_hooks,
    "queues": _examine_queues,
    "definitions": _examine_definitions,
    "versions": _examine_versions,
    "events": _examine_events,
}
