import os
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, connections

from config.local.children import GuardedProcess, start_guarded
from config.local.programs import manage_command
from config.local.runtime import ROOT
from sagas import clock
from sagas.core.definition import registry
from sagas.engine import advance as engine
from sagas.engine import claim as claims
from sagas.exceptions import StaleWrite
from sagas.management.stopping import Stop
from sagas.management.sweeping import sweep
from sagas.models import Saga, SagaAttempt, SagaStep, SagaWorker
from sagas.monitoring.liveness import read_liveness
from sagas.worker import due_work, sweeper
from tests.processes import wait_until
from tests.servers import PARTICIPANTS, url_of_database

from .cases import define_trip, read, run_command, start_trip, unknown_trip
from .patient.sagas import PatientInput, PatientSaga

# The import registers it for every test of this run; only some of them want it.
registry.forget(PatientSaga.name, PatientSaga.version)


@pytest.mark.django_db(databases="__all__")
class TestOnce:
    def test_sweep_wakes_due_sagas_and_runs_nothing(self, wakeups: list[tuple[UUID, str]]) -> None:
        first, second = start_trip("A"), start_trip("B")
        unknown_trip("C")
        wakeups.clear()

        done = run_command("saga_sweep")

        assert (done.code, done.err) == (0, "")
        assert done.out == "Woke 2 due sagas in 1 sweeps.\n"
        assert wakeups == [(first.pk, "sagas"), (second.pk, "sagas")]
        assert SagaAttempt.objects.filter(saga__in=[first, second]).count() == 0

    def test_sweep_wakes_a_saga_once_per_wakeup_interval(self, wakeups: list[tuple[UUID, str]]) -> None:
        start_trip()
        run_command("saga_sweep")

        assert run_command("saga_sweep", "--json").json == {"sweeps": 1, "found": 0, "ran": False, "is_stopped": False}
        assert len(wakeups) == 1
        clock.move(timedelta(seconds=6))
        assert run_command("saga_sweep", "--json").json["found"] == 1

    def test_sweep_writes_a_heartbeat(self) -> None:
        start_trip()

        run_command("saga_sweep")

        worker = SagaWorker.objects.get()
        assert (worker.name, worker.queues, worker.last_found) == (sweeper.worker_name(), [], 1)

    def test_run_executes_until_nothing_is_due(self) -> None:
        sagas = [start_trip(str(number)) for number in range(3)]

        done = run_command("saga_sweep", "--run", "--json")

        assert done.code == 0
        assert done.json["found"] >= 3
        assert {read(saga).state for saga in sagas} == {"completed"}

    def test_run_once_counts_as_a_worker_while_it_runs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        start_trip()
        seen: list[frozenset[str]] = []
        real = engine.advance

        def advance(saga_id: UUID, **options: Any) -> int:
            seen.extend(worker.queues for worker in read_liveness().workers)
            return real(saga_id, **options)

        monkeypatch.setattr(engine, "advance", advance)
        run_command("saga_sweep", "--run")

        assert seen[0] == {"sagas"}
        assert read_liveness().workers == ()
        assert read_liveness().last_sweep_age < timedelta(seconds=60)

    def test_run_does_not_wait_for_sagas_due_later(self) -> None:
        saga = start_trip()
        Saga.objects.filter(pk=saga.pk).update(due_at=clock.read_now("default") + timedelta(minutes=1))

        assert run_command("saga_sweep", "--run", "--json").json["found"] == 0
        assert read(saga).state == "pending"

    def test_run_executes_sagas_whose_wakeup_was_lost(self) -> None:
        saga = start_trip()
        assert run_command("saga_sweep", "--json").json["found"] == 1

        assert run_command("saga_sweep", "--run").code == 0

        assert read(saga).state == "completed"

    def test_run_executes_only_the_given_queues(self) -> None:
        define_trip(version=2, queue="payments")
        saga = start_trip()

        run_command("saga_sweep", "--run", "--queue", "sagas")

        assert (read(saga).queue, SagaStep.objects.get(saga=saga, name="pay").state) == ("payments", "pending")

        run_command("saga_sweep", "--run", "--queue", "sagas", "--queue", "payments")

        assert read(saga).state == "completed"

    def test_run_executes_steps_of_a_group_in_the_given_queue_even_if_woken(self) -> None:
        saga = start_trip()
        Saga.objects.filter(pk=saga.pk).update(queue="stopped", other_queues=["sagas"])
        assert run_command("saga_sweep", "--json").json["found"] == 1

        run_command("saga_sweep", "--run", "--queue", "sagas")

        assert read(saga).state == "completed"

    def test_poisoned_saga_does_not_block_those_behind_it(self, poison: Callable[[Saga], None]) -> None:
        first, second = start_trip("A"), start_trip("B")
        poison(first)

        done = run_command("saga_sweep", "--run")

        assert done.code == 0
        assert (read(first).state, read(second).state) == ("pending", "completed")

    def test_if_an_error_ended_the_page_the_sagas_behind_it_would_wait(
        self, poison: Callable[[Saga], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def raise_again(*_: object, **__: object) -> None:
            raise  # noqa: PLE0704 - called where an error is handled

        # Two handlers: one for due sagas, one for those just woken.
        for net in (sweeper, due_work):
            monkeypatch.setattr(net.logger, "exception", raise_again)
        first, second = start_trip("A"), start_trip("B")
        poison(first)

        done = run_command("saga_sweep", "--run")

        assert (done.code, done.err) == (1, "CommandError: This row cannot be borne.\n")
        assert (read(first).state, read(second).state) == ("pending", "pending")

    def test_database_error_exits_with_1_and_no_traceback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(**_arguments: object) -> int:
            raise OperationalError("connection refused\nIs the server running?")

        monkeypatch.setattr(sweeper, "wake_due", fail)

        done = run_command("saga_sweep")

        assert done.code == 1
        assert "The database failed: connection refused." in done.err
        assert "Traceback" not in done.err


@pytest.mark.django_db(databases="__all__")
class TestLoop:
    def test_loop_survives_a_database_outage(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stop = Stop()
        answers: Iterator[object] = iter([OperationalError("gone"), 2])
        monkeypatch.setattr("sagas.worker.sweep_loop.connections", ConnectionsThatStay())

        def send(**_arguments: object) -> int:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            stop.is_asked = True
            return int(str(answer))

        monkeypatch.setattr(sweeper, "wake_due", send)

        report = sweep(runs=False, queues=None, interval_seconds=0.01, stop=stop)

        assert (report.sweeps, report.found, report.is_stopped) == (2, 2, True)

    def test_loop_removes_its_heartbeat_at_the_end(self) -> None:
        stop = Stop()
        seen: list[int] = []

        def look() -> bool:
            seen.append(SagaWorker.objects.count())
            stop.is_asked = len(seen) > 1
            return stop.is_asked

        stop = StopWhen(look)
        sweep(runs=False, queues=None, interval_seconds=0.01, stop=stop)

        assert seen == [0, 1]
        assert SagaWorker.objects.count() == 0


class StopWhen(Stop):
    """Stop flag that asks a function."""

    def __init__(self, look: Callable[[], bool]) -> None:
        super().__init__()
        self._look = look

    def __call__(self) -> bool:
        self.is_asked = self._look()
        return self.is_asked


class ConnectionsThatStay:
    """Stand-in for the connections, so that the test's stay open."""

    def close_all(self) -> None:
        """Do nothing."""


@pytest.mark.django_db(databases="__all__", transaction=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_loop_after_the_current_step(number: signal.Signals, tmp_path: Path) -> None:
    with registry.preserved():
        registry.register(PatientSaga)
        saga = engine.start(PatientSaga, PatientInput(directory=str(tmp_path)))
    process = start_sweep(tmp_path, "--loop", "--run", "--interval", "0.1")
    try:
        wait_until((tmp_path / "started").exists, "the first step runs", timeout_seconds=60)
        assert SagaWorker.objects.get().pid == process.pid
        assert process.send(number)
        (tmp_path / "go").touch()
        code = process.wait(30)
    finally:
        process.stop()

    log = (tmp_path / "sweep.log").read_text()
    assert code == 0, log
    assert "Stopped on request." in log
    assert "Traceback" not in log
    assert dict(SagaStep.objects.filter(saga=saga).values_list("name", "state")) == {
        "first": "succeeded",
        "second": "pending",
    }
    assert read(saga).due_at is not None
    assert not (tmp_path / "ran-second").exists()
    assert not SagaStep.objects.filter(lease_token__isnull=False).exists()
    assert not SagaWorker.objects.exists()


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_second_signal_ends_it_at_once_and_the_lease_remains(tmp_path: Path) -> None:
    with registry.preserved():
        registry.register(PatientSaga)
        saga = engine.start(PatientSaga, PatientInput(directory=str(tmp_path)))
    process = start_sweep(tmp_path, "--loop", "--run")
    try:
        wait_until((tmp_path / "started").exists, "the first step runs", timeout_seconds=60)
        assert process.send(signal.SIGTERM)
        wait_until(lambda: not process.send(signal.SIGTERM) or not process.is_running(), "it is gone")
        code = process.wait(30)
    finally:
        process.stop()

    assert code == 256 - signal.SIGTERM
    step = SagaStep.objects.get(saga=saga, name="first")
    assert (step.state, step.lease_token is not None) == ("running", True)


def start_sweep(directory: Path, *arguments: str) -> GuardedProcess:
    """Start a sweep on the databases of this test, with the patient saga registered."""
    names = {"DATABASE_URL": "default", **{f"{name.upper()}_DATABASE_URL": name for name in PARTICIPANTS}}
    urls = {
        variable: url_of_database(str(connections[alias].settings_dict["NAME"]))
        for variable, alias in names.items()
        if alias in connections
    }
    settings = {"DJANGO_SETTINGS_MODULE": "tests.commands.settings", "PYTHONUNBUFFERED": "1"}
    return start_guarded(
        "sweep",
        manage_command("saga_sweep", *arguments),
        log=directory / "sweep.log",
        environment={**os.environ, **urls, **settings},
        directory=ROOT,
    )


@pytest.fixture
def wakeups(monkeypatch: pytest.MonkeyPatch) -> list[tuple[UUID, str]]:
    """Collect wake-ups instead of sending them."""
    woken: list[tuple[UUID, str]] = []
    monkeypatch.setattr("sagas.engine.notify.wakeup_sending.send", lambda pk, queue="": woken.append((pk, queue)))
    return woken


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[[Saga], None]:
    """Make claims of a saga fail, as an unreadable row would."""
    claim_next = claims.claim_next

    def poison_one(saga: Saga) -> None:
        def claim(work: object, **arguments: object) -> object:
            if work.saga.pk == saga.pk:  # type: ignore[attr-defined]
                raise StaleWrite("This row cannot be borne.")
            return claim_next(work, **arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(claims, "claim_next", claim)

    return poison_one
