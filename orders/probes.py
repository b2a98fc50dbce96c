"""Answer probes and scrapers: is the process alive, can it serve, how are the sagas doing."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

from celery import current_app
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now
from kombu.exceptions import OperationalError

from sagas.conf import get_settings
from sagas.models import Saga, SagaWorker

BROKER_TIMEOUT_SECONDS = 1.0
# A worker that lives picks a due saga up within a ring interval and a sweep or two; this is several of both.
OLDEST_DUE_LIMIT_SECONDS = 60.0

_migrated = threading.Event()


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """Say whether checkouts can be accepted, and whether they will be worked on."""

    is_ready: bool
    """Whether the database answers and has every migration."""
    checks: dict[str, dict[str, Any]]
    """Each dependency: ``{status: ok | degraded | failed, ...}``."""

    def as_document(self) -> dict[str, Any]:
        """Shape: ``{status: ok | degraded | failed, checks: {name: {status, ...}}}``."""
        found = {check["status"] for check in self.checks.values()}
        status = next(status for status in ("failed", "degraded", "ok") if status in found)
        return {"status": status, "checks": self.checks}


def judge_readiness() -> Readiness:
    """Look at every dependency; each look is bounded in time."""
    try:
        checks = {"database": _check_database(), "migrations": _check_migrations()}
        if checks["migrations"]["status"] == "ok":
            checks |= {"workers": _check_workers(), "oldest_due": _check_oldest_due()}
    except DatabaseError:
        checks = {"database": {"status": "failed"}}
    is_ready = all(check["status"] != "failed" for check in checks.values())
    return Readiness(is_ready=is_ready, checks={**checks, "broker": _check_broker()})


def _check_database() -> dict[str, Any]:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT 1")
    return {"status": "ok"}


def _check_migrations() -> dict[str, Any]:
    """Look until everything is applied, then never again: the code of a process does not change."""
    if not _migrated.is_set():
        executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if missing:
            return {"status": "failed", "missing": len(missing)}
        _migrated.set()
    return {"status": "ok"}


def _check_workers() -> dict[str, Any]:
    seen = SagaWorker.objects.filter(last_sweep_at__gt=Now() - get_settings().worker_seen_within).count()
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


class _BrokerProbe:
    """Ask the broker in a thread of its own: a frozen one lets its callers wait without limit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking: threading.Thread | None = None
        self._is_answering = False
        self.started = 0

    @staticmethod
    @cache
    def get() -> _BrokerProbe:
        """Return the probe of this process."""
        return _BrokerProbe()

    def is_answering(self) -> bool:
        """Tell whether the broker answered in time; False while an older question is unanswered."""
        with self._lock:
            if self._asking is None or not self._asking.is_alive():
                self._is_answering = False
                self.started += 1
                self._asking = threading.Thread(target=self._ask, name="broker-probe", daemon=True)
                self._asking.start()
            asking = self._asking
        asking.join(BROKER_TIMEOUT_SECONDS)
        return not asking.is_alive() and self._is_answering

    def _ask(self) -> None:
        connection = current_app.connection_for_write()
        try:
            connection.ensure_connection(max_retries=1, timeout=BROKER_TIMEOUT_SECONDS)
            # An AMQP connection begins with a talk; redis says nothing before the first command.
            client = getattr(connection.default_channel, "client", None)
            if client is not None:
                client.ping()
            self._is_answering = True
        except (OperationalError, *connection.connection_errors, *connection.channel_errors):
            self._is_answering = False
        finally:
            connection.release()
