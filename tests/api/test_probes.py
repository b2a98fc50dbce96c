"""Health probes and metrics."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
from celery import Celery
from django.db import OperationalError, connection, connections, transaction
from django.test import Client, override_settings
from django.utils import timezone

from sagas.models import Saga, SagaWorker
from sagas.monitoring import doctor, health

from .conftest import Shopper

pytestmark = pytest.mark.django_db(databases="__all__")


def see_worker(*, seconds_ago: int, queues: tuple[str, ...] = ("sagas",)) -> None:
    seen_at = timezone.now() - timedelta(seconds=seconds_ago)
    SagaWorker.objects.create(
        name=f"host:{seconds_ago}", host="host", pid=seconds_ago + 1, started_at=seen_at, last_sweep_at=seen_at,
        queues=list(queues),
    )  # fmt: skip


@pytest.fixture
def frozen_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Listen like a broker, but never answer."""
    monkeypatch.delenv("CELERY_BROKER_URL")  # Celery would take it before what the app says
    with socket.create_server(("127.0.0.1", 0)) as server, override_settings(SAGAS={}):
        app = Celery("frozen", broker=f"redis://127.0.0.1:{server.getsockname()[1]}/0", set_as_current=False)
        monkeypatch.setattr(health, "current_app", app)
        yield server


def test_health_needs_no_database(django_assert_num_queries: object) -> None:
    with django_assert_num_queries(0):
        response = Client().get("/healthz")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_are_read_only(path: str) -> None:
    assert Client(enforce_csrf_checks=True).post(path).status_code == 405
    assert "no-store" in Client().get(path)["Cache-Control"]


def test_ready_with_a_worker() -> None:
    see_worker(seconds_ago=1)
    see_worker(seconds_ago=3600)

    response = Client().get("/readyz")

    assert response.status_code == 200
    assert response.json() == {
        "status": "ok",
        "checks": {
            "database": {"status": "ok"},
            "migrations": {"status": "ok"},
            "participant_databases": {"status": "ok", "away": []},
            "workers": {"status": "ok", "seen": 1},
            "oldest_due": {"status": "ok", "age_seconds": 0.0},
            "broker": {"status": "ok"},
        },
    }


def test_missing_worker_is_degraded_but_ready() -> None:
    see_worker(seconds_ago=3600)
    see_worker(seconds_ago=1, queues=())  # a process that only sends wake-ups executes nothing

    response = Client().get("/readyz")

    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert response.json()["checks"]["workers"] == {"status": "degraded", "seen": 0}


@pytest.mark.parametrize(("seconds_ago", "status"), [(30, "ok"), (600, "degraded")])
def test_age_of_the_oldest_due_saga(customer: Shopper, seconds_ago: int, status: str) -> None:
    customer.checkout()
    Saga.objects.update(due_at=timezone.now() - timedelta(seconds=seconds_ago))

    response = Client().get("/readyz")

    found = response.json()["checks"]["oldest_due"]
    assert (response.status_code, found["status"]) == (200, status)
    assert seconds_ago <= found["age_seconds"] < seconds_ago + 30


def test_future_due_times_are_not_old(customer: Shopper) -> None:
    customer.checkout()
    Saga.objects.update(due_at=timezone.now() + timedelta(hours=1))

    assert Client().get("/readyz").json()["checks"]["oldest_due"] == {"status": "ok", "age_seconds": 0.0}


def test_frozen_broker_is_degraded_within_the_timeout(frozen_broker: socket.socket) -> None:
    see_worker(seconds_ago=1)
    started = time.monotonic()

    response = Client().get("/readyz")

    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert response.json()["checks"]["broker"] == {"status": "degraded"}
    assert time.monotonic() - started < 5


def test_frozen_broker_is_checked_once_at_a_time(frozen_broker: socket.socket) -> None:
    answers: list[str] = []

    def ask() -> None:
        _, failure = health.ask_broker(0.5)
        answers.append(failure.reason if failure else "")

    askers = [Thread(target=ask) for _ in range(5)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(30)

    assert answers == ["does not answer within 0.5 s"] * 5
    frozen_broker.setblocking(False)
    frozen_broker.accept()
    with pytest.raises(BlockingIOError):
        frozen_broker.accept()


def test_missing_migration_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    health._migrated.clear()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'orders'")

    response = Client().get("/readyz")

    assert (response.status_code, response.json()["status"]) == (503, "failed")
    assert response.json()["checks"]["migrations"] == {"status": "failed", "missing": 1, "databases": ["default"]}


@pytest.fixture(params=list(connections))
def alias(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the alias of each database of the run, with its check not cached."""
    health._migrated.clear()
    yield request.param
    health._migrated.clear()


def test_missing_migration_of_any_database_is_not_ready(alias: str) -> None:
    see_worker(seconds_ago=1)
    with transaction.atomic(alias):
        with connections[alias].cursor() as cursor:
            cursor.execute("DELETE FROM django_migrations WHERE app = 'shipping'")
        response = Client().get("/readyz")
        transaction.set_rollback(True, alias)
    afterwards = Client().get("/readyz")

    found = response.json()["checks"]["migrations"]
    assert (response.status_code, found["status"], found["databases"]) == (503, "failed", [alias])
    assert found["missing"] >= 1
    assert (afterwards.status_code, afterwards.json()["status"]) == (200, "ok")


@contextmanager
def refused() -> Iterator[int]:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield closed.getsockname()[1]


@contextmanager
def unanswered() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("outage", [refused, unanswered])
@pytest.mark.parametrize("count", [1, 3])
def test_unavailable_participant_databases_are_named_and_checkouts_continue(
    customer: Shopper, monkeypatch: pytest.MonkeyPatch, outage: Callable[[], Any], count: int
) -> None:
    see_worker(seconds_ago=1)
    # None on a single database, where only the main one can be unavailable.
    away = sorted(alias for alias in connections if alias != "default")[:count]
    with outage() as port:
        for alias in away:
            # Only new connections are redirected: the test's own stay.
            settings = {**connections.settings[alias], "HOST": "127.0.0.1", "PORT": port}
            monkeypatch.setitem(connections.settings, alias, settings)
        started = time.monotonic()
        response = Client().get("/readyz")
        took = time.monotonic() - started

    checks, status = response.json()["checks"], "degraded" if away else "ok"
    assert (response.status_code, response.json()["status"]) == (200, status)
    assert checks["participant_databases"] == {"status": status, "away": away}
    assert (checks["database"], checks["migrations"]) == ({"status": "ok"}, {"status": "ok"})
    assert took < 5
    assert customer.checkout().status_code == 202


@pytest.mark.parametrize(("where", "what"), [(connection, "cursor"), (doctor, "read_liveness")], ids=["away", "fails"])
def test_unavailable_or_failing_database_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, where: object, what: str
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(where, what, fail)

    response = Client().get("/readyz")

    found = response.json()["checks"]
    assert (response.status_code, response.json()["status"]) == (503, "failed")
    assert (found["database"], found["broker"]) == ({"status": "failed"}, {"status": "ok"})
    assert not {"workers", "oldest_due"} & set(found)


def test_read_only_database_is_degraded_and_serves_pages() -> None:
    see_worker(seconds_ago=1)
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")

    response = Client().get("/readyz")

    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert response.json()["checks"]["database"] == {"status": "degraded"}
    assert response.json()["checks"]["workers"] == {"status": "ok", "seen": 1}


def test_doctors_advice_does_not_affect_readiness(monkeypatch: pytest.MonkeyPatch) -> None:
    see_worker(seconds_ago=1)
    monkeypatch.setattr(health, "TIMEOUT_SETTINGS", ("transaction_timeout",))
    [finding] = [finding for finding in doctor.examine() if finding.name == "database"]

    response = Client().get("/readyz")

    assert finding.level is doctor.Level.WARN
    assert (response.status_code, response.json()["status"]) == (200, "ok")


def test_metrics_count_sagas(customer: Shopper) -> None:
    customer.checkout()

    response = Client().get("/metrics")

    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain; version=")
    assert 'definition="checkout"' in response.content.decode()
