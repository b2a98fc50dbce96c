"""S9: a worker sweeps from a thread of its main process and notifies its children of a shutdown."""

import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from sagas.engine.notify import wakeup_sending
from sagas.models import SagaWorker
from sagas.worker import lifecycle, sweeper

from .test_s9_wakeup import in_child
from .world import World

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)
PATIENCE_SECONDS = 30


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition, with a bound."""
    pause = threading.Event()
    for _ in range(PATIENCE_SECONDS * 100):
        if is_so():
            return
        pause.wait(0.01)
    raise AssertionError("the condition never came true")


@pytest.fixture
def sweeping(settings: Any) -> Iterator[None]:
    """Run the sweep of a worker in this process."""
    settings.SAGAS = {
        **settings.SAGAS,
        "SWEEP_INTERVAL": timedelta(milliseconds=5),
        "WAKEUP_INTERVAL": timedelta(milliseconds=20),
    }
    lifecycle._start_threads()
    yield
    lifecycle._stop_threads()


@pytest.mark.usefixtures("sweeping")
def test_s9_a_worker_sweeps_and_sends_heartbeats_until_it_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[Any] = []
    monkeypatch.setattr(wakeup_sending, "send", lambda saga_id, queue="": woken.append(saga_id))
    saga = world.begin(a=world.compensatable())
    wait_until(lambda: woken.count(saga.pk) >= 3)  # repeatedly, without any message
    wait_until(lambda: SagaWorker.objects.filter(name=sweeper.worker_name(), last_found=1).exists())
    lifecycle._stop_threads()
    assert not SagaWorker.objects.exists()
    assert not [thread for thread in threading.enumerate() if thread.name == "sagas-sweeper"]


def test_s9_a_failing_sweep_is_retried(
    world: World, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    failures: list[int] = []
    real = sweeper.wake_due

    def fail_twice(**options: Any) -> int:
        if len(failures) < 2:
            failures.append(1)
            raise ZeroDivisionError("poison")
        return real(**options)

    monkeypatch.setattr(sweeper, "wake_due", fail_twice)
    request.getfixturevalue("sweeping")
    wait_until(SagaWorker.objects.exists)
    assert len(failures) == 2


def test_s9_children_of_a_worker_see_its_shutdown() -> None:
    assert not lifecycle.is_shutting_down()
    try:
        lifecycle._note_shutdown()
        assert lifecycle.is_shutting_down()
        assert in_child(lambda: b"%d" % lifecycle.is_shutting_down()) == b"1"
    finally:
        lifecycle._shutting_down[0] = 0


def test_s9_children_forked_earlier_see_the_shutdown() -> None:
    ready_reader, ready_writer = os.pipe()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.read(ready_reader, 1)
            os.write(writer, b"%d" % lifecycle.is_shutting_down())
        finally:
            os._exit(0)
    try:
        lifecycle._note_shutdown()
        os.write(ready_writer, b"x")
        assert os.read(reader, 1) == b"1"
    finally:
        lifecycle._shutting_down[0] = 0
        os.waitpid(pid, 0)
        for end in (ready_reader, ready_writer, reader, writer):
            os.close(end)


def test_s9_a_worker_serves_the_queues_it_consumes_from() -> None:
    assert "sagas" in (lifecycle.served_queues() or frozenset())
