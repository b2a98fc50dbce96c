"""Close hook of a definition: called for every end of a saga, after the commit, at least once."""

import logging
import re
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.core.management import call_command
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django.test import override_settings

from sagas import SagaClosed, clock
from sagas.conf import get_settings
from sagas.core.definition import registry
from sagas.engine import advance, claim, closed_hooks
from sagas.engine.notify import wakeup_sending
from sagas.engine.store.unit_of_work import SagaUnitOfWork
from sagas.models import Saga
from sagas.monitoring import doctor, hook_backlog
from sagas.monitoring.function_checks import check_hook_timeout
from sagas.monitoring.metrics import SagaCollector
from sagas.operators import operations
from sagas.retention import purge
from sagas.testing import SimulatedCrash, assert_invariants, drain, pass_time
from sagas.testing.drain import look, read
from sagas.worker import owed_hooks

from .frozen import freeze, lose_lease
from .side_by_side import PATIENCE_SECONDS, run_elsewhere
from .world import OPERATOR, REASON, Refused, World, begin, define, events, work

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)

LEASE = timedelta(seconds=31)  # lease of a call: HOOK_TIMEOUT and LEASE_MARGIN
COMMON = get_settings().common_queue
QUIET = {"WAKEUP": "none"}


class Listener:
    """Hook that records each call and the database state at that time."""

    def __init__(self) -> None:
        self.calls: list[SagaClosed] = []
        self.stored_states: list[str] = []
        self.was_in_transaction: list[bool] = []
        self.behaviour: list[Any] = []

    def __call__(self, closed: SagaClosed) -> Any:
        """Record the call."""
        self.calls.append(closed)
        self.was_in_transaction.append(any(connections[alias].in_atomic_block for alias in connections))
        self.stored_states.append(run_elsewhere(lambda: lock_nowait(closed)))
        behaviour = self.behaviour.pop(0) if self.behaviour else None
        if isinstance(behaviour, BaseException):
            raise behaviour
        return behaviour() if callable(behaviour) else None


def lock_nowait(closed: SagaClosed) -> str:
    """Lock the saga's row without waiting, as an operator in another process would.

    Returns: the saga's state there.
    """
    with transaction.atomic():
        return str(Saga.objects.select_for_update(nowait=True).get(pk=closed.saga_id).state)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def saga(world: World, listener: Listener) -> Saga:
    """Start a saga whose definition has a hook."""
    return begin(define(on_closed=listener, a=world.compensatable(), b=world.compensatable()), trip="T-7")


def is_owed(saga: Saga) -> bool:
    return read(saga.pk).hook_due_at is not None


def seconds_until_due(saga: Saga) -> float:
    due_at = read(saga.pk).hook_due_at
    assert due_at is not None
    return (due_at - clock.read_now("default")).total_seconds()


def die_before_the_call(saga: Saga, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crash the worker that closes the saga between its commit and the call."""

    def die(_taken: Any) -> None:
        raise SimulatedCrash("before the hook")

    with monkeypatch.context() as patched:
        patched.setattr(closed_hooks, "call", die)
        look(saga.pk)
    assert read(saga.pk).closed_at is not None


def test_hook_is_called_once_after_the_commit_that_completed_the_saga(saga: Saga, listener: Listener) -> None:
    saga = work(saga)
    for _ in range(3):
        work(saga)

    [closed] = listener.calls
    assert closed == SagaClosed(
        saga_id=saga.pk, definition="trip", version=1, state="completed", business_keys={"trip": "T-7"}, cause=None,
        started_at=saga.created_at, closed_at=closed.closed_at, tries=1,
    )  # fmt: skip
    assert (closed.closed_at, saga.state) == (saga.closed_at, "completed")
    assert (listener.stored_states, listener.was_in_transaction) == (["completed"], [False])
    assert (saga.hook_due_at, saga.hook_tries) == (None, 0)


def test_hook_receives_why_the_saga_compensated(world: World, saga: Saga, listener: Listener) -> None:
    world.will("b", Refused("fully booked"))
    work(saga)

    [closed] = listener.calls
    assert (closed.state, listener.stored_states) == ("compensated", ["compensated"])
    assert closed.cause is not None
    assert (closed.cause["kind"], closed.cause["step"], closed.cause["message"]) == ("refused", "b", "fully booked")


def test_saga_without_a_hook_owes_no_call(world: World) -> None:
    saga = work(world.begin(a=world.compensatable()))
    assert (saga.state, saga.hook_due_at, saga.hook_tries) == ("completed", None, 0)


def test_operator_who_closes_a_saga_leaves_the_call_to_a_worker(
    saga: Saga, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    wakeups: list[Any] = []
    monkeypatch.setattr(wakeup_sending, "send", lambda saga_id, queue: wakeups.append((saga_id, queue)))
    with transaction.atomic():  # as in a web request under ATOMIC_REQUESTS
        operations.abandon(saga.pk, actor=OPERATOR, reason=REASON)
        assert (wakeups, listener.calls) == ([], [])
    assert (wakeups, listener.calls, is_owed(saga)) == ([(saga.pk, COMMON)], [], True)

    work(saga)
    assert [closed.state for closed in listener.calls] == ["abandoned"]
    assert is_owed(saga) is False


def test_stopping_worker_sends_a_wakeup_instead(
    saga: Saga, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    wakeups: list[Any] = []
    monkeypatch.setattr(wakeup_sending, "send", lambda saga_id, queue: wakeups.append(queue))
    claimed = []

    def should_stop_before_recording_b() -> bool:
        return len(claimed) == 2

    monkeypatch.setattr(claim, "_open", lambda *a, _open=claim._open: (claimed.append(a), _open(*a))[1])
    advance.advance(saga.pk, should_stop=should_stop_before_recording_b)
    assert (read(saga.pk).state, wakeups, listener.calls) == ("completed", [COMMON], [])

    work(saga)
    assert len(listener.calls) == 1


def test_call_owed_by_a_dead_worker_is_made_by_the_next(
    saga: Saga, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_before_the_call(saga, monkeypatch)
    work(saga)
    assert (listener.calls, owed_hooks.run_owed(), is_owed(saga)) == ([], 0, True)

    pass_time(LEASE)
    assert owed_hooks.run_owed() == 1
    assert [(closed.state, closed.tries) for closed in listener.calls] == [("completed", 2)]
    assert owed_hooks.run_owed() == 0
    assert_invariants(saga.pk)


def test_sweep_wakes_an_owed_call_once_per_interval(
    saga: Saga, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    wakeups: list[Any] = []
    monkeypatch.setattr(wakeup_sending, "send", lambda saga_id, queue: wakeups.append((saga_id, queue)))
    die_before_the_call(saga, monkeypatch)
    assert owed_hooks.wake_owed() == 0
    pass_time(LEASE)
    assert [owed_hooks.wake_owed(), owed_hooks.wake_owed()] == [1, 0]
    pass_time(timedelta(seconds=6))
    assert owed_hooks.wake_owed() == 1
    assert wakeups == [(saga.pk, COMMON)] * 2


def test_sweep_command_makes_owed_calls(
    world: World, listener: Listener, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saga = world.begin(on_closed=listener, a=world.compensatable(queue="elsewhere"))
    die_before_the_call(saga, monkeypatch)
    pass_time(LEASE)
    call_command("saga_sweep", "--run", "--queue", "elsewhere")
    assert listener.calls == []
    call_command("saga_sweep", "--run")
    assert len(listener.calls) == 1
    assert "Handled 1 due sagas" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=lambda e: type(e).__name__
)
def test_failing_hook_is_retried_and_affects_nothing_else(
    saga: Saga, listener: Listener, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    listener.behaviour = [error]
    assert work(saga).state == "completed"
    assert 2.4 < seconds_until_due(saga) <= 5.0
    [record] = [record for record in caplog.records if record.name == "sagas.engine.closed_hooks"]
    assert (record.getMessage(), record.levelname) == ("Hook failed; it is called again.", "WARNING")
    assert (record.saga_id, record.tries) == (str(saga.pk), 1)  # type: ignore[attr-defined]

    pass_time(timedelta(seconds=5))
    owed_hooks.run_owed()
    assert [closed.tries for closed in listener.calls] == [1, 2]
    assert len({closed.id for closed in listener.calls}) == 1
    assert is_owed(saga) is False


def test_delays_of_a_failing_hook_grow_to_an_hour(
    saga: Saga, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    listener.behaviour = [ValueError("no")] * 8
    work(saga)
    delays = []
    for _ in range(7):
        delays.append(seconds_until_due(saga))
        pass_time(timedelta(seconds=delays[-1]))
        assert owed_hooks.run_owed() == 1
    for delay, full in zip(delays, [5, 20, 80, 320, 1280, 3600, 3600], strict=True):
        assert full / 2 - 1 < delay <= full
    levels = [record.levelname for record in caplog.records if record.name == "sagas.engine.closed_hooks"]
    assert levels == ["WARNING"] * 4 + ["ERROR"] * 4
    assert [closed.tries for closed in listener.calls] == list(range(1, 9))


def test_hook_that_returns_a_coroutine_has_failed(saga: Saga, listener: Listener) -> None:
    async def later() -> None:
        """Return a coroutine."""

    listener.behaviour = [later]
    work(saga)
    assert is_owed(saga) is True


def test_second_worker_does_not_call_while_a_hook_runs(saga: Saga, listener: Listener) -> None:
    listener.behaviour = [lambda: run_elsewhere(lambda: (advance.advance(saga.pk), owed_hooks.run_owed()))]
    work(saga)
    assert len(listener.calls) == 1
    assert is_owed(saga) is False


def wait_for_hanging_hooks() -> None:
    for thread in list(closed_hooks._hanging):
        thread.join(PATIENCE_SECONDS)


@pytest.fixture
def short_timeout() -> Iterator[None]:
    """Make workers wait only briefly for hooks."""
    with override_settings(SAGAS={**QUIET, "HOOK_TIMEOUT": timedelta(milliseconds=50)}):
        yield
    wait_for_hanging_hooks()


@pytest.mark.usefixtures("short_timeout")
def test_hanging_hook_is_abandoned_and_settles_when_it_returns(
    saga: Saga, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    listener.behaviour = [lambda: release.wait(PATIENCE_SECONDS) and None]
    work(saga)  # returns at once

    assert is_owed(saga) is True
    assert "Hook is still running; it is called again unless it succeeds." in caplog.messages
    release.set()
    wait_for_hanging_hooks()
    assert is_owed(saga) is False
    assert len(listener.calls) == 1


@pytest.mark.usefixtures("short_timeout")
def test_hanging_hooks_do_not_pile_up(world: World, listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()
    listener.behaviour = [lambda: release.wait(PATIENCE_SECONDS) and None] * (closed_hooks.MAX_HANGING + 1)
    trip = define(on_closed=listener, a=world.compensatable())
    sagas = [work(begin(trip)) for _ in range(closed_hooks.MAX_HANGING + 1)]

    assert len(listener.calls) == closed_hooks.MAX_HANGING
    assert caplog.messages.count("Hook not called: too many hooks of this process are hanging.") == 1
    release.set()
    wait_for_hanging_hooks()
    assert [is_owed(saga) for saga in sagas] == [False] * closed_hooks.MAX_HANGING + [True]
    pass_time(timedelta(seconds=10))
    owed_hooks.run_owed()
    wait_for_hanging_hooks()  # on a busy machine this hook, too, may outlast the short time-out
    assert is_owed(sagas[-1]) is False


def test_saga_that_reopens_and_closes_again_calls_the_hook_twice(world: World, listener: Listener) -> None:
    saga = world.begin(on_closed=listener, a=world.compensatable(external=True), b=world.compensatable())
    late = freeze(saga, "a", before_call=True)
    world.closes_keys = False
    operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
    lose_lease(saga)
    assert [closed.state for closed in listener.calls] == ["compensated"]

    late.thaw()
    assert (read(saga.pk).state, is_owed(saga)) == ("compensating", False)
    assert drain(saga).state == "compensated"
    assert [closed.state for closed in listener.calls] == ["compensated"] * 2
    assert len({closed.id for closed in listener.calls}) == 2
    assert len(events(saga, "saga_reopened")) == 1


def test_call_for_an_outdated_end_is_not_made(
    world: World, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    saga = world.begin(on_closed=listener, a=world.compensatable())
    calls: list[Any] = []
    with monkeypatch.context() as patched:
        patched.setattr(closed_hooks, "call", calls.append)
        work(saga)
    [taken] = calls
    closed_hooks.call(closed_hooks.HookCall(saga_id=saga.pk, closed_at=taken.closed_at - timedelta(seconds=1), tries=1))
    assert (listener.calls, is_owed(saga)) == ([], True)
    closed_hooks.call(taken)
    assert (len(listener.calls), is_owed(saga)) == (1, False)


@pytest.mark.parametrize("loss", ["definition", "hook"])
def test_missing_hook_is_retried_for_a_while_and_then_settled(
    world: World, saga: Saga, listener: Listener, loss: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    die_before_the_call(saga, monkeypatch)
    if loss == "definition":
        registry.forget("trip", 1)
    else:
        define(a=world.compensatable(), b=world.compensatable())
    for _ in range(closed_hooks.MISSING_TRIES - 1):
        assert is_owed(saga) is True
        pass_time(timedelta(hours=1))
        owed_hooks.run_owed()

    assert (listener.calls, is_owed(saga)) == ([], False)
    assert caplog.messages.count("Hook or its definition no longer exists; it is not called.") == 1


def test_newer_code_calls_a_hook_unknown_to_older_code(
    world: World, saga: Saga, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.forget("trip", 1)
    operations.abandon(saga.pk, actor=OPERATOR, reason=REASON)
    work(saga)
    assert is_owed(saga) is True

    define(on_closed=listener, a=world.compensatable(), b=world.compensatable())
    pass_time(timedelta(seconds=5))
    owed_hooks.run_owed()
    assert [(closed.state, closed.tries) for closed in listener.calls] == [("abandoned", 2)]


def test_saga_that_owes_a_call_is_not_deleted(saga: Saga, listener: Listener) -> None:
    listener.behaviour = [ValueError("no")]
    work(saga)
    pass_time(timedelta(days=1))
    scope = purge.Scope(closed_before=clock.read_now("default"))
    assert (purge.count_expired(scope).sagas, purge.clean_up(scope).sagas) == (0, 0)

    owed_hooks.run_owed()
    assert (purge.count_expired(scope).sagas, purge.clean_up(scope).sagas) == (1, 1)


def test_saga_deleted_before_its_call_is_no_error(
    saga: Saga, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    with monkeypatch.context() as patched:
        patched.setattr(closed_hooks, "call", calls.append)
        work(saga)
    Saga.objects.filter(pk=saga.pk).update(hook_due_at=None)
    purge.clean_up(purge.Scope(closed_before=clock.read_now("default") + timedelta(days=1)))
    closed_hooks.call(calls[0])
    assert (Saga.objects.count(), listener.calls) == (0, [])


def test_database_refuses_an_open_saga_that_owes_a_call(saga: Saga) -> None:
    with pytest.raises(IntegrityError, match="saga_hook_is_owed_after_the_end"), transaction.atomic():
        Saga.objects.filter(pk=saga.pk).update(hook_due_at=saga.created_at)


def test_owed_calls_are_counted(world: World, listener: Listener) -> None:
    listener.behaviour = [ValueError("no")] * 3
    trip = define(on_closed=listener, a=world.compensatable())
    first = work(begin(trip))
    work(begin(trip))
    assert hook_backlog.count_owed() == hook_backlog.OwedHooks(
        count=2, failing=0, oldest_closed_at=first.closed_at, most_tries=1
    )
    with override_settings(SAGAS={**QUIET}):
        pass_time(timedelta(seconds=5))
        owed_hooks.run_owed()
    assert hook_backlog.count_owed().count == 1


def test_doctor_and_metrics_report_owed_calls(saga: Saga, listener: Listener) -> None:
    def examine() -> tuple[str, str]:
        [finding] = [finding for finding in doctor.examine() if finding.name == "closed hooks"]
        return finding.level.value, finding.what

    def measure() -> dict[str, float]:
        found = {sample.name: sample.value for metric in SagaCollector().collect() for sample in metric.samples}
        return {name: value for name, value in found.items() if "hook" in name}

    assert examine() == ("ok", "none owed")
    assert measure() == {"sagas_closed_hooks_owed": 0, "sagas_oldest_owed_hook_age_seconds": 0}
    listener.behaviour = [ValueError("no")] * 2
    work(saga)
    assert examine() == ("ok", "1 owed")
    pass_time(timedelta(minutes=2))
    owed_hooks.run_owed()
    level, what = examine()
    assert level == "warn"
    assert re.fullmatch(r"1 owed, the oldest for 12\d s, 1 of them tried before", what)
    found = measure()
    assert found["sagas_closed_hooks_owed"] == 1
    assert 120 <= found["sagas_oldest_owed_hook_age_seconds"] < 130


@pytest.mark.parametrize(("limit", "ids"), [(30.0, ["sagas.W010"]), (31.0, []), (None, [])])
def test_celery_time_limit_below_the_hook_timeout_is_a_warning(
    saga: Saga, limit: float | None, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(current_app.conf.changes, "task_time_limit", limit)
    for definition in registry.all_definitions():
        if definition.name != saga.definition:
            registry.forget(definition.name, definition.version)  # steps of other tests may take longer
    with override_settings(SAGAS=QUIET):
        assert [message.id for message in check_hook_timeout()] == ids
        for definition in registry.all_definitions():
            registry.forget(definition.name, definition.version)
        assert check_hook_timeout() == []


def test_database_error_leaves_the_call_owed(
    saga: Saga, listener: Listener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_taken: Any) -> None:
        raise OperationalError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(closed_hooks, "_read", fail)
        assert work(saga).state == "completed"
    assert (listener.calls, is_owed(saga)) == ([], True)
    assert "Hook not called; trying again later." in caplog.messages
    pass_time(LEASE)
    owed_hooks.run_owed()
    assert len(listener.calls) == 1


class TestInTestTransaction:
    """Hooks in Django's TestCase, which commits nothing: called where the saga is visible."""

    pytestmark = pytest.mark.django_db(databases="__all__")

    def test_hook_can_read_the_saga(self, world: World) -> None:
        assert connection.in_atomic_block
        states: list[str] = []
        trip = define(on_closed=lambda closed: states.append(read(closed.saga_id).state), a=world.compensatable())
        drained, advanced = begin(trip), begin(trip)
        drain(drained)
        advance.advance(advanced.pk)
        assert states == ["completed"] * 2

    def test_hook_that_breaks_its_transaction_does_not_break_the_test(self, world: World) -> None:
        def break_it(_closed: SagaClosed) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 / 0")

        saga = drain(world.begin(on_closed=break_it, a=world.compensatable()), patience=timedelta(minutes=1))
        assert (saga.state, saga.hook_tries) == ("completed", 3)

    def test_drain_continues_until_the_hook_was_called(self, world: World) -> None:
        answers: list[Callable[[], None]] = []

        def fail_twice(closed: SagaClosed) -> None:
            answers.append(lambda: None)
            if closed.tries < 3:
                raise ValueError("not yet")

        saga = drain(world.begin(on_closed=fail_twice, a=world.compensatable()))
        assert (len(answers), saga.hook_due_at) == (3, None)

    def test_open_saga_owes_no_call(self, saga: Saga) -> None:
        with transaction.atomic():
            unit = SagaUnitOfWork.lock(saga.pk)
        assert closed_hooks.is_owed(unit) is False
        assert closed_hooks.claim_call(unit) is None


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="sagas.engine.closed_hooks")
