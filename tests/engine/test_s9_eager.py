"""S9: with eager Celery a wake-up runs the saga in place: after the commit, for any queue, and only once."""

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app
from django.db import transaction

from sagas import Parallel
from sagas.engine import advance as engine
from sagas.engine.notify import eager, wakeup_sending
from sagas.models import Saga, SagaAttempt
from sagas.testing import drain, faults
from sagas.testing.drain import read

from .world import Broken, World

DATABASES = "__all__"
SENDING = {"WAKEUP": "celery"}
commits = pytest.mark.django_db(databases=DATABASES, transaction=True)


@pytest.fixture(autouse=True)
def _eager(settings: Any) -> Iterator[None]:
    """Make the project's Celery eager."""
    settings.SAGAS = SENDING
    current_app.conf.task_always_eager = True
    yield
    current_app.conf.task_always_eager = False


def sender_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sagas-wakeup"]


@commits
def test_s9_eager_a_saga_runs_when_its_start_is_committed_and_in_this_thread(world: World) -> None:
    before = sender_threads()
    with transaction.atomic():
        saga = world.begin(a=world.compensatable(external=True), b=world.compensatable())
        assert world.calls == []

    assert read(saga.pk).state == "completed"
    # A thread's connection would keep a test database from being dropped.
    assert sender_threads() == before
    assert wakeup_sending.count_waiting("sagas") == 0


@commits
def test_s9_eager_steps_of_other_queues_run_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: Counter[Any] = Counter()
    real = engine.advance
    monkeypatch.setattr(engine, "advance", lambda saga_id, **who: looks.update([saga_id]) or real(saga_id, **who))

    saga = world.begin(a=world.compensatable(), b=world.compensatable(queue="slow"))

    assert read(saga.pk).state == "completed"
    assert looks[saga.pk] == 1
    assert wakeup_sending._sender.queue.count() == 0


@commits
def test_s9_eager_the_steps_of_a_group_run_sequentially(world: World) -> None:
    inside: list[str] = []
    deepest: list[int] = []

    def note(name: str) -> Any:
        def behave(_context: Any, work: Any) -> Any:
            inside.append(name)
            deepest.append(len(inside))
            inside.remove(name)
            return work()

        return behave

    for name in "abc":
        world.will(name, note(name))
    steps = {name: world.compensatable(external=True) for name in "abc"}
    saga = world.begin(group=Parallel(**steps))

    assert read(saga.pk).state == "completed"
    assert deepest == [1, 1, 1]  # no step waits with its time running while others run


@commits
def test_s9_eager_a_saga_that_a_step_starts_runs_after_that_step(world: World) -> None:
    begun: list[Saga] = []

    def start_another(_context: Any, work: Any) -> Any:
        begun.append(world.begin("other", a=world.compensatable()))
        assert read(begun[0].pk).state == "pending"
        return work()

    world.will("a", start_another)
    saga = world.begin(a=world.compensatable(external=True))

    assert [read(pk).state for pk in (saga.pk, begun[0].pk)] == ["completed", "completed"]


@commits
def test_s9_eager_later_work_waits_for_a_drain(world: World) -> None:
    world.will("a", Broken("not now"))
    saga = world.begin(a=world.compensatable(external=True))
    assert read(saga.pk).state == "running"

    assert drain(saga).state == "completed"
    assert [attempt.number for attempt in SagaAttempt.objects.filter(saga_id=saga.pk)] == [1, 2]


@commits
def test_s9_eager_a_crash_does_not_reach_the_sender(world: World) -> None:
    with faults() as planted:
        planted.crash_before("a")
        saga = world.begin(a=world.compensatable())
        assert drain(saga).state == "completed"


@commits
@pytest.mark.parametrize("error", [SystemExit(1), GeneratorExit(), ZeroDivisionError()], ids=repr)
def test_s9_eager_errors_of_steps_do_not_leave_the_wakeup(
    world: World, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def advance(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(engine, "advance", advance)
    saga = world.begin(a=world.compensatable())
    monkeypatch.undo()
    assert eager._waiting.wakeups is None

    wakeup_sending.send(saga.pk)
    assert read(saga.pk).state == "completed"


@commits
def test_s9_eager_ctrl_c_propagates(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def advance(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    saga = drain(world.begin(a=world.compensatable()))
    monkeypatch.setattr(engine, "advance", advance)
    with pytest.raises(KeyboardInterrupt):
        wakeup_sending.send(saga.pk)
    assert eager._waiting.wakeups is None


@commits
def test_s9_eager_a_wake_inside_a_transaction_is_left_to_the_sweep(world: World) -> None:
    with transaction.atomic():
        saga = world.begin(a=world.compensatable())
        wakeup_sending.send(saga.pk)
        assert read(saga.pk).state == "pending"
    assert read(saga.pk).state == "completed"  # by the wake-up after the commit


@commits
def test_s9_a_change_of_the_setting_applies_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[Any] = []
    monkeypatch.setattr(wakeup_sending._sender, "put", woken.append)
    current_app.conf.task_always_eager = False
    saga = world.begin(a=world.compensatable())
    assert woken == [(saga.pk, "sagas")]
    current_app.conf.task_always_eager = True

    wakeup_sending.send(saga.pk)
    assert read(saga.pk).state == "completed"
    assert len(woken) == 1


@pytest.mark.django_db(databases=DATABASES)
def test_s9_eager_sagas_of_a_rolled_back_test_run_in_captured_callbacks(
    world: World, django_capture_on_commit_callbacks: Any
) -> None:
    saga = world.begin(a=world.compensatable())
    assert read(saga.pk).state == "pending"

    with django_capture_on_commit_callbacks(execute=True):
        other = world.begin("other", a=world.compensatable())
        assert read(other.pk).state == "pending"
    assert (read(saga.pk).state, read(other.pk).state) == ("pending", "completed")
