"""Answer probes and scrapers: is the process alive, can it serve, how are the sagas doing."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

from celery import current_app
from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now
from kombu.exceptions import OperationalError

from sagas import recovery
from sagas.models import Saga

PROBE_TIMEOUT_SECONDS = 1.0
# A worker that lives picks a due saga up within a ring interval and a sweep or two; this is several of both.
OLDEST_DUE_LIMIT_SECONDS = 60.0

# Aliases of the databases that were seen to have every migration.
_migrated: set[str] = set()


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """Say whether checkouts can be accepted, and whether they will be worked on."""

    is_ready: bool
    """Whether the main database answers, and no database that answers lacks a migration."""
    checks: dict[str, dict[str, Any]]
    """Each dependency: ``{status: ok | degraded | failed, ...}``."""

    def as_document(self) -> dict[str, Any]:
        """Shape: ``{status: ok | degraded | failed, checks: {name: {status, ...}}}``."""
        found = {check["status"] for check in self.checks.values()}
        status = next(status for status in ("failed", "degraded", "ok") if status in found)
        return {"status": status, "checks": self.checks}


def judge_readiness() -> Readiness:
    """Look at every dependency; each look is bounded in time.

    A participant's own database that is away is no reason to send customers away: their orders are accepted, and wait.
    """
    try:
        checks = {"database": _check_database(), **_check_migrations(_find_away())}
        if checks["migrations"]["status"] == "ok":
            checks |= {"workers": _check_workers(), "oldest_due": _check_oldest_due()}
    except Error:
        checks = {"database": {"status": "failed"}}
    is_ready = all(check["status"] != "failed" for check in checks.values())
    return Readiness(is_ready=is_ready, checks={**checks, "broker": _check_broker()})


def _check_database() -> dict[str, Any]:
    _select_one(DEFAULT_DB_ALIAS)
    return {"status": "ok"}


def _find_away() -> set[str]:
    """Return the aliases of the participants' databases that do not answer; they are asked side by side."""
    asked = {alias: _DatabaseProbe.of(alias).begin() for alias in connections if alias != DEFAULT_DB_ALIAS}
    ends_at = time.monotonic() + PROBE_TIMEOUT_SECONDS
    return {alias for alias, asking in asked.items() if not _DatabaseProbe.of(alias).has_answered(asking, ends_at)}


def _check_migrations(away: set[str]) -> dict[str, dict[str, Any]]:
    """Look at each database until everything is applied there, then never again: the code of a process does not change.

    Shape: ``{participant_databases: {status, away}, migrations: {status, missing?, databases?}}``.
    """
    missing: dict[str, int] = {}
    for alias in connections:
        if alias in away or alias in _migrated:
            continue
        try:
            count = _count_missing_migrations(alias)
        except Error:
            if alias == DEFAULT_DB_ALIAS:
                raise
            away = away | {alias}
            continue
        if count:
            missing[alias] = count
        else:
            _migrated.add(alias)
    migrations: dict[str, Any] = {"status": "ok"}
    if missing:
        migrations = {"status": "failed", "missing": sum(missing.values()), "databases": sorted(missing)}
    return {
        "participant_databases": {"status": "degraded" if away else "ok", "away": sorted(away)},
        "migrations": migrations,
    }


def _count_missing_migrations(alias: str) -> int:
    executor = MigrationExecutor(connections[alias])
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _select_one(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")


def _check_workers() -> dict[str, Any]:
    seen = recovery.seen_workers().count()
    return {"status": "ok" if seen else "degraded", "seen": seen}


def _check_oldest_due() -> dict[str, Any]:
    waited = ExpressionWrapper(Now() - F("due_at"), output_field=DurationField())
    due = Saga.objects.filter(due_at__lte=Now()).order_by("due_at").annotate(waited=waited)
    oldest = due.values_list("waited", flat=True).first()
    age = oldest.total_seconds() if oldest else 0.0
    status = "ok" if age <= OLDEST_DUE_LIMIT_SECONDS else "degraded"
    return {"status": status, "age_seconds": round(age, 3)}


def _check_broker() -> dict[str, Any]:
    return {"status": "ok" if _BrokerProbe.get().is_answering() else "degraded"}


class _Probe:
    """Ask in a thread of its own what may let its callers wait without limit."""

    name = "probe"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking: threading.Thread | None = None
        self._is_answering = False
        self.started = 0

    def is_answering(self) -> bool:
        """Tell whether it answered in time; False while an older question is unanswered."""
        return self.has_answered(self.begin(), time.monotonic() + PROBE_TIMEOUT_SECONDS)

    def begin(self) -> threading.Thread:
        """Ask, unless an older question is unanswered; return the thread of the question."""
        with self._lock:
            if self._asking is None or not self._asking.is_alive():
                self._is_answering = False
                self.started += 1
                self._asking = threading.Thread(target=self._note_answer, name=self.name, daemon=True)
                self._asking.start()
            return self._asking

    def has_answered(self, asking: threading.Thread, ends_at: float) -> bool:
        """Tell whether a question is answered well before a moment of the monotonic clock."""
        asking.join(max(0.0, ends_at - time.monotonic()))
        return not asking.is_alive() and self._is_answering

    def _note_answer(self) -> None:
        self._is_answering = self.ask()

    def ask(self) -> bool:
        """Ask once, however long it takes."""
        raise NotImplementedError


class _BrokerProbe(_Probe):
    name = "broker-probe"

    @staticmethod
    @cache
    def get() -> _BrokerProbe:
        """Return the probe of this process."""
        return _BrokerProbe()

    def ask(self) -> bool:
        """Connect, and have it say something."""
        connection = current_app.connection_for_write()
        try:
            connection.ensure_connection(max_retries=1, timeout=PROBE_TIMEOUT_SECONDS)
            # An AMQP connection begins with a talk; redis says nothing before the first command.
            client = getattr(connection.default_channel, "client", None)
            if client is not None:
                client.ping()
        except (OperationalError, *connection.connection_errors, *connection.channel_errors):
            return False
        finally:
            connection.release()
        return True


class _DatabaseProbe(_Probe):
    name = "database-probe"

    def __init__(self, alias: str) -> None:
        super().__init__()
        self._alias = alias

    @staticmethod
    @cache
    def of(alias: str) -> _DatabaseProbe:
        """Return this process's probe of a database."""
        return _DatabaseProbe(alias)

    def ask(self) -> bool:
        """Connect, or take a connection from the pool, and give it back: it belongs to this thread."""
        try:
            _select_one(self._alias)
        except Error:
            return False
        finally:
            connections[self._alias].close()
        return True
