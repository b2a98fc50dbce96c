"""Commands ``saga_versions``, ``saga_graph`` and ``saga_doctor``."""

import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from celery import Celery, current_app
from django.db import OperationalError
from django.test import override_settings

from sagas import clock
from sagas.conf import get_settings
from sagas.core.definition import registry
from sagas.models import Saga, SagaWorker
from sagas.monitoring import doctor, health
from sagas.worker import sweeper as recovery

from .cases import completed_trip, define_trip, run_command, start_trip

pytestmark = pytest.mark.django_db(databases="__all__")


class TestVersions:
    def test_known_versions_exit_with_0(self) -> None:
        start_trip()

        done = run_command("saga_check_versions")

        assert (done.code, done.err) == (0, "")
        assert done.out == "The code has the definition of every open saga.\n"
        assert run_command("saga_check_versions", "--json").json == []

    def test_missing_version_exits_with_1(self) -> None:
        saga = start_trip("A")
        start_trip("B")
        registry.forget("trip", 1)

        done = run_command("saga_check_versions", "--json")

        assert done.code == 1
        [found] = done.json
        assert (found["definition"], found["version"], found["problem"], found["count"]) == ("trip", 1, "missing", 2)
        assert found["oldest_at"] == saga.created_at.isoformat()
        assert "2 open sagas run on trip@1, which the code does not have" in done.err

    def test_changed_digest_exits_with_1(self) -> None:
        saga = start_trip()
        Saga.objects.filter(pk=saga.pk).update(digest="0" * 64)

        done = run_command("saga_check_versions")

        assert done.code == 1
        assert done.out.splitlines()[1].split()[:2] == ["trip@1", "1"]
        assert done.out.splitlines()[1].endswith("changed")
        assert "make the change a new version" in done.err

    def test_closed_sagas_need_no_code(self) -> None:
        completed_trip()
        registry.forget("trip", 1)

        assert run_command("saga_check_versions").code == 0


class TestGraph:
    def test_svg_is_the_default(self) -> None:
        done = run_command("saga_graph", "trip")

        assert (done.code, done.err) == (0, "")
        assert ET.fromstring(done.out).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - the project's own picture

    def test_mermaid(self) -> None:
        done = run_command("saga_graph", "trip", "--format", "mermaid")

        assert done.code == 0
        assert done.out.splitlines()[3] == "flowchart TD"

    def test_newest_version_or_the_requested_one(self) -> None:
        define_trip(version=2)

        assert "Saga trip, version 2" in run_command("saga_graph", "trip").out
        assert "Saga trip, version 1" in run_command("saga_graph", "trip@1").out

    def test_unknown_definition_is_a_usage_error_that_names_the_known(self) -> None:
        done = run_command("saga_graph", "journey")

        assert done.code == 2
        assert "the code has no saga definition 'journey'; it has: checkout@1, trip@1." in done.err


@pytest.fixture
def sweeper() -> SagaWorker:
    """Have a worker with a recent heartbeat that serves the queues of the steps."""
    recovery.beat(queues=["sagas"], found=0)
    return SagaWorker.objects.get()


def examine(name: str) -> dict[str, Any]:
    """Return the doctor's findings about one subject."""
    done = run_command("saga_doctor", "--json")
    [finding] = [finding for finding in done.json if finding["name"] == name]
    assert (done.code == 1) == any(finding["level"] == "fail" for finding in done.json)
    return finding


class TestDoctor:
    def test_healthy_project_has_no_findings(self, sweeper: SagaWorker) -> None:
        done = run_command("saga_doctor")

        assert (done.code, done.err) == (0, "")
        lines = done.out.splitlines()
        assert {line.split()[0] for line in lines} == {"ok"}
        names = [line[6:25].strip() for line in lines if not line[6:].startswith("database ")]
        assert names[:2] == ["settings", "broker"]
        assert names[-9:] == [
            "migrations", "clock", "workers", "sweeper", "oldest due", "closed hooks", "queues", "definitions",
            "versions",
        ]  # fmt: skip

    def test_doctor_prints_json(self, sweeper: SagaWorker) -> None:
        found = run_command("saga_doctor", "--json").json

        assert {tuple(finding) for finding in found} == {("name", "level", "what", "todo")}

    def test_version_and_timeouts_of_the_database_are_shown(self, sweeper: SagaWorker) -> None:
        finding = examine("database")

        assert finding["level"] == "ok"
        assert finding["what"].startswith("PostgreSQL ")
        assert "statement_timeout 30s, lock_timeout 10s, idle_in_transaction_session_timeout 1min" in finding["what"]

    def test_unavailable_database_ends_the_examination(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_alias: str) -> None:
            raise OperationalError("connection refused")

        monkeypatch.setattr(health, "refresh_connection", fail)

        done = run_command("saga_doctor", "--json")

        assert done.code == 1
        assert [(finding["name"], finding["level"]) for finding in done.json] == [
            ("settings", "ok"),
            ("broker", "ok"),
            ("database", "fail"),
        ]
        assert done.json[-1]["what"] == "does not answer: connection refused"
        assert done.json[-1]["todo"] != ""
        assert "Failed: database." in done.err

    def test_database_without_timeouts_is_a_warning(self, sweeper: SagaWorker, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(health, "TIMEOUT_SETTINGS", ("transaction_timeout",))

        finding = examine("database")

        assert finding["level"] == "warn"
        assert "Set transaction_timeout in OPTIONS" in finding["todo"]

    def test_old_server_is_an_error(self, sweeper: SagaWorker, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor, "OLDEST_SERVER", 990_000)

        assert examine("database")["level"] == "fail"

    def test_missing_migrations_are_an_error_and_tables_are_not_queried(
        self, monkeypatch: pytest.MonkeyPatch, sweeper: SagaWorker
    ) -> None:
        class Behind(health.MigrationExecutor):
            def migration_plan(self, targets: Any, clean_start: bool = False) -> Any:
                return [(self.loader.get_migration("sagas", "0001_initial"), False)]

        monkeypatch.setattr(health, "MigrationExecutor", Behind)
        monkeypatch.setattr(health, "_migrated", set())

        done = run_command("saga_doctor", "--json")

        assert done.json[-1]["name"] == "migrations"
        assert "sagas.0001_initial on default" in done.json[-1]["what"]
        assert done.code == 1

    def test_missing_sweeper_is_an_error(self) -> None:
        assert examine("workers")["level"] == "fail"
        assert examine("sweeper")["what"] == "no sweep is recorded"
        assert examine("queues")["what"] == "no worker serves sagas"

    def test_process_that_only_sends_wakeups_is_not_a_worker(self) -> None:
        recovery.beat(queues=[], found=0)

        assert [examine(name)["level"] for name in ("workers", "sweeper", "queues")] == ["fail", "ok", "fail"]

    @pytest.mark.parametrize(("seconds", "level"), [(-1, "ok"), (1, "fail")])
    def test_sweeper_without_recent_heartbeat_is_missing(self, seconds: int, level: str, sweeper: SagaWorker) -> None:
        age = get_settings().worker_seen_within + timedelta(seconds=seconds)
        SagaWorker.objects.update(last_sweep_at=clock.read_now("default") - age)

        assert [examine(name)["level"] for name in ("workers", "sweeper", "queues")] == [level] * 3

    def test_queue_without_a_worker_is_an_error(self, sweeper: SagaWorker) -> None:
        define_trip(version=2, queue="payments")

        finding = examine("queues")

        assert (finding["level"], finding["what"]) == ("fail", "no worker serves payments")
        assert "-Q payments" in finding["todo"]

    @pytest.mark.parametrize(("seconds", "level"), [(0, "ok"), (58, "ok"), (62, "warn"), (298, "warn"), (302, "fail")])
    def test_waiting_time_of_the_oldest_due_saga(self, seconds: int, level: str, sweeper: SagaWorker) -> None:
        saga = start_trip()
        Saga.objects.filter(pk=saga.pk).update(due_at=clock.read_now("default") - timedelta(seconds=seconds))

        assert examine("oldest due")["level"] == level

    @pytest.mark.parametrize(("seconds", "level"), [(1, "ok"), (-1, "ok"), (3, "warn"), (-3600, "warn")])
    def test_clock_difference_is_a_warning(self, seconds: int, level: str, sweeper: SagaWorker) -> None:
        clock.move(timedelta(seconds=seconds))

        finding = examine("clock")

        assert finding["level"] == level
        assert ("behind" if seconds > 0 else "ahead of") in finding["what"]

    def test_missing_versions_are_an_error(self, sweeper: SagaWorker) -> None:
        start_trip()
        registry.forget("trip", 1)

        assert examine("version trip@1")["level"] == "fail"

    def test_system_checks_are_findings(self, sweeper: SagaWorker) -> None:
        with override_settings(SAGAS={**_sagas(), "WAKEUP_INTERVAL": timedelta()}):
            finding = examine("sagas.E002")

        assert finding["level"] == "fail"
        assert "SAGAS['WAKEUP_INTERVAL'] is 0 s" in finding["what"]

    @pytest.mark.parametrize("given", [{"TIMEOUT": 10}, {"TIME_OUT": timedelta(seconds=1)}, ["TIMEOUT"]])
    def test_invalid_settings_are_a_finding(self, given: object) -> None:
        with override_settings(SAGAS=given):
            done = run_command("saga_doctor")

        assert done.code == 1
        assert done.out.startswith("fail  sagas.E001")
        assert "Traceback" not in done.err


def _sagas() -> dict[str, Any]:
    return {"WAKEUP": "none"}


class TestDoctorAndBroker:
    @pytest.fixture
    def app(self) -> Iterator[Celery]:
        before = current_app._get_current_object()
        app = Celery("doctor")  # makes itself the current app
        app.conf.broker_transport_options = {"socket_connect_timeout": 1}
        with override_settings(SAGAS={}):
            yield app
        before.set_current()

    def test_available_broker(self, app: Celery, valkey_url: str, sweeper: SagaWorker) -> None:
        app.conf.broker_write_url = valkey_url

        finding = examine("broker")

        assert finding["level"] == "ok"
        assert finding["what"].startswith("redis://:**@127.0.0.1:")
        assert finding["what"].endswith("answers")

    def test_unavailable_broker_is_a_warning_because_sagas_continue(self, app: Celery, sweeper: SagaWorker) -> None:
        app.conf.broker_write_url = "redis://127.0.0.1:1/0"

        finding = examine("broker")

        assert finding["level"] == "warn"
        assert "redis://:**@127.0.0.1:1/0" in finding["what"]
        assert "saga_sweep --loop --run" in finding["todo"]

    def test_frozen_broker_does_not_block_the_doctor(
        self, app: Celery, sweeper: SagaWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(doctor, "SERVER_SECONDS", 0.2)
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            app.conf.broker_write_url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"

            finding = examine("broker")

        assert finding["level"] == "warn"
        assert "does not answer within 0.2 s" in finding["what"]

    def test_password_is_not_shown(self, app: Celery, sweeper: SagaWorker) -> None:
        app.conf.broker_write_url = "redis://user:hunter2@127.0.0.1:1/0"

        assert "hunter2" not in run_command("saga_doctor").out
