"""S9: sweeps, alerts and wake-ups continue after any exception that does not end the process."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from celery.exceptions import WorkerShutdown, WorkerTerminate
from django.db import connections
from kombu.utils import functional

from sagas import tasks
from sagas.alerts import Alert
from sagas.engine import advance as engine
from sagas.engine.notify import alert_dispatch, wakeup_sending
from sagas.engine.notify.wakeup_sending import _Sender
from sagas.management.stopping import Stop
from sagas.management.sweeping import sweep
from sagas.models import SagaWorker
from sagas.models.saga import new_saga_id
from sagas.monitoring.liveness import read_liveness
from sagas.operators.bulk import runner
from sagas.testing.drain import read
from sagas.worker import consuming, due_work, lifecycle, sweeper

from . import test_alerts
from .bulks import freeze_and_start, make
from .side_by_side import PATIENCE_SECONDS
from .test_alerts import HOOK, QUIET
from .test_s9_worker import sweeping as sweeping_worker  # noqa: F401 - a fixture
from .test_s9_worker import wait_until
from .world import World

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)

STRAYS = [asyncio.CancelledError(), GeneratorExit(), BaseException("odd")]
ENDS = [SystemExit(3), KeyboardInterrupt()]


def poison(monkeypatch: pytest.MonkeyPatch, saga_id: object, error: BaseException) -> None:
    """Make every advance of this saga raise an exception."""
    real = engine.advance

    def advance(wanted: Any, **options: Any) -> int:
        if wanted == saga_id:
            raise error
        return real(wanted, **options)

    monkeypatch.setattr(engine, "advance", advance)


@pytest.mark.parametrize("error", STRAYS, ids=repr)
def test_s9_a_stray_exception_of_one_saga_does_not_stop_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    first, second = (world.begin(a=world.compensatable()) for _ in range(2))
    poison(monkeypatch, first.pk, error)

    assert sweeper.run_due() == 2

    assert (read(first.pk).state, read(second.pk).state) == ("pending", "completed")


@pytest.mark.parametrize("error", ENDS, ids=repr)
@pytest.mark.parametrize(
    "run", [sweeper.run_due, lambda: due_work.run_all_due(queues=None, should_stop=lambda: False)], ids=["page", "all"]
)
def test_s9_a_request_to_exit_ends_the_sweep(
    world: World, monkeypatch: pytest.MonkeyPatch, error: BaseException, run: Callable[[], object]
) -> None:
    poison(monkeypatch, world.begin(a=world.compensatable()).pk, error)

    with pytest.raises(type(error)):
        run()


def test_s9_recently_woken_sagas_survive_a_stray_exception_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (world.begin(a=world.compensatable()) for _ in range(2))
    assert len(sweeper.claim_due()) == 2  # as if they had been woken
    poison(monkeypatch, first.pk, asyncio.CancelledError())

    due_work.run_all_due(queues=None, should_stop=lambda: False)

    assert (read(first.pk).state, read(second.pk).state) == ("pending", "completed")


@pytest.mark.parametrize("error", STRAYS, ids=repr)
def test_s9_a_stray_exception_of_one_bulk_does_not_stop_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    started = [freeze_and_start(make(world, 1)) for _ in range(2)]
    seen: list[object] = []

    def advance(bulk_id: object, **_: object) -> int:
        seen.append(bulk_id)
        if len(seen) == 1:
            raise error
        return 1

    monkeypatch.setattr(runner, "advance", advance)

    assert runner.run_due() == 1
    assert len(seen) == len(started)


@pytest.mark.parametrize("error", STRAYS, ids=repr)
def test_s9_the_command_continues_after_a_stray_exception(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    stop, sweeps = Stop(), []

    def wake_due(**_: object) -> int:
        sweeps.append(1)
        if len(sweeps) == 1:
            raise error
        stop.is_asked = True
        return 0

    monkeypatch.setattr(sweeper, "wake_due", wake_due)

    assert sweep(runs=False, queues=None, interval_seconds=0.01, stop=stop).sweeps == 2


def test_s9_the_command_ends_on_a_request_to_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    def wake_due(**_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeper, "wake_due", wake_due)
    with pytest.raises(KeyboardInterrupt):
        sweep(runs=False, queues=None, interval_seconds=0.01, stop=Stop())


@pytest.mark.parametrize("error", [*STRAYS, SystemExit(1)], ids=repr)
def test_s9_no_exception_ends_the_sweeper_of_a_worker(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, error: BaseException
) -> None:
    real, failures = sweeper.wake_due, []

    def wake_due(**options: Any) -> int:
        if not failures:
            failures.append(1)
            raise error
        return real(**options)

    monkeypatch.setattr(sweeper, "wake_due", wake_due)
    request.getfixturevalue("sweeping_worker")
    wait_until(SagaWorker.objects.exists)


def test_s9_a_broker_client_that_ends_its_thread_does_not_end_the_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def publish(**options: Any) -> None:
        seen.append(options["args"][0])
        if len(seen) == 1:
            raise SystemExit

    monkeypatch.setattr(tasks.advance, "apply_async", publish)
    bell, ids = _Sender(), [uuid4(), uuid4()]
    bell.put((ids[0], "sagas"))
    bell.flush(PATIENCE_SECONDS)
    assert bell.is_failing()
    bell.put((ids[1], "sagas"))
    bell.flush(PATIENCE_SECONDS)

    assert seen == [str(saga_id) for saga_id in ids]
    assert not bell.is_failing()


def test_s9_an_unresponsive_broker_counts_as_failing(monkeypatch: pytest.MonkeyPatch) -> None:
    is_free, is_there = threading.Event(), threading.Event()

    def publish(**_: object) -> None:
        is_there.set()
        is_free.wait(PATIENCE_SECONDS)

    monkeypatch.setattr(tasks.advance, "apply_async", publish)
    monkeypatch.setattr(wakeup_sending, "STUCK_SECONDS", 0.0)
    bell = _Sender()
    bell.put((uuid4(), "sagas"))
    assert is_there.wait(PATIENCE_SECONDS)
    assert bell.is_failing()
    is_free.set()
    bell.flush(PATIENCE_SECONDS)
    assert not bell.is_failing()


@pytest.mark.parametrize("error", [SystemExit(1), GeneratorExit()], ids=repr)
def test_s9_a_hook_that_ends_its_thread_does_not_silence_the_others(settings: Any, error: BaseException) -> None:
    settings.SAGAS = {**QUIET, "ON_ATTENTION": [HOOK]}
    alert_dispatch._queue.forget()
    test_alerts.heard.clear()

    def fail_once(_alert: Alert) -> None:
        if len(test_alerts.heard) == 1:
            raise error

    test_alerts.behaviour[:] = [fail_once]
    try:
        for number in range(2):
            alert_dispatch.announce([an_alert(number)])
            alert_dispatch.flush()
        wait_until(lambda: "step 1" in [alert.step for alert in test_alerts.heard])
    finally:
        test_alerts.behaviour.clear()
        alert_dispatch._queue.forget()


def an_alert(number: int) -> Alert:
    values: dict[str, Any] = {field.name: None for field in fields(Alert)}
    return Alert(**{**values, "saga_id": uuid4(), "step": f"step {number}", "reason": "hold"})


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_s9_a_step_does_not_end_the_main_process_of_a_worker(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    saga_id = new_saga_id()
    poison(monkeypatch, saga_id, error)
    with pytest.raises(type(error)):  # a child of a prefork pool, which is replaced; and a process without a worker
        tasks.advance(str(saga_id))
    monkeypatch.setattr(lifecycle, "_main_pids", [os.getpid()])

    tasks.advance(str(saga_id))


@pytest.mark.parametrize("error", [WorkerShutdown(0), WorkerTerminate(1)], ids=repr)
def test_s9_celery_ends_its_worker_through_a_task(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    saga_id = new_saga_id()
    poison(monkeypatch, saga_id, error)
    monkeypatch.setattr(lifecycle, "_main_pids", [os.getpid()])
    with pytest.raises(type(error)):
        tasks.advance(str(saga_id))


@pytest.mark.parametrize(("is_green", "left"), [(True, False), (False, True)], ids=["greenlet", "thread"])
def test_s9_a_greenlet_leaves_no_connection_behind(monkeypatch: pytest.MonkeyPatch, is_green: bool, left: bool) -> None:
    pool = SimpleNamespace(is_green=is_green)
    monkeypatch.setattr(lifecycle, "_main_pids", [os.getpid()])
    monkeypatch.setattr(lifecycle, "_consumers", [SimpleNamespace(pool=pool)])
    monkeypatch.setattr(lifecycle, "served_queues", lambda: None)

    tasks.advance(str(new_saga_id()))

    assert (connections["default"].connection is not None) is left


@pytest.mark.parametrize(
    ("bell", "is_consuming", "runs", "serves"),
    [
        ("send_by_celery", True, False, True),
        ("send_by_celery", False, False, False),
        ("send_by_celery", False, True, True),
        ("send_nothing", True, False, False),
        ("send_nothing", True, True, True),
    ],
)
def test_s9_a_worker_counts_as_serving_only_if_it_executes_due_sagas(
    settings: Any, monkeypatch: pytest.MonkeyPatch, bell: str, is_consuming: bool, runs: bool, serves: bool
) -> None:
    settings.SAGAS = {"WAKEUP": f"sagas.engine.notify.wakeup_sending.{bell}", "SWEEP_RUNS": runs}
    state = threading.Event()
    if is_consuming:
        state.set()
    monkeypatch.setattr(lifecycle, "_is_consuming", state)
    monkeypatch.setattr(lifecycle, "served_queues", lambda: frozenset({"sagas"}))

    lifecycle._sweep_once()

    assert SagaWorker.objects.get().queues == (["sagas"] if serves else [])
    assert bool(read_liveness().workers) is serves


def test_s9_a_worker_configured_to_run_due_sagas_runs_them(
    world: World, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "_stop", threading.Event())
    settings.SAGAS = {"WAKEUP": "none", "SWEEP_RUNS": True}
    ours, theirs = world.begin(a=world.compensatable()), world.begin("other", a=world.compensatable(queue="slow"))

    monkeypatch.setattr(lifecycle, "served_queues", lambda: frozenset({"sagas"}))
    lifecycle._sweep_once()

    assert (read(ours.pk).state, read(theirs.pk).state) == ("completed", "pending")


def test_s9_waiting_for_the_broker_lets_greenlets_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def patched(_seconds: float) -> None:
        """Replace what gevent patches in ``time``."""

    monkeypatch.setattr(functional, "sleep", functional.sleep)
    monkeypatch.setattr(time, "sleep", patched)

    consuming.share_thread_while_waiting()

    assert functional.sleep is patched
