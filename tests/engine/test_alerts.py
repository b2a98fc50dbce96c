"""Alerts: dispatched once per problem after the commit, in the background, by the hooks of the settings."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.test import override_settings

from sagas import Misconfigured, OutcomeUnknown, RetryPolicy
from sagas.alerts import Alert
from sagas.core.states import Attention, Hold
from sagas.engine import holds
from sagas.engine.notify import alert_dispatch
from sagas.engine.store.unit_of_work import SagaUnitOfWork
from sagas.monitoring import checks
from sagas.operators import operations
from sagas.testing import pass_time

from .test_alert_senders import QUIET, make_alert
from .world import COMPENSATION, OPERATOR, REASON, Broken, Refused, World, begin, define, step_of, work

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

ONCE = RetryPolicy(attempts=1, base=0.0, cap=0.0)
HOOK = "tests.engine.test_alerts.listen"

heard: list[Alert] = []
in_transaction: list[bool] = []
behaviour: list[Callable[[Alert], None]] = []


def listen(alert: Alert) -> None:
    """Record the alert as a hook, then do what the test wants."""
    in_transaction.append(any(connections[alias].in_atomic_block for alias in connections))
    heard.append(alert)
    if behaviour:
        behaviour[0](alert)


@pytest.fixture(autouse=True)
def _a_listener() -> Iterator[None]:
    """Give each test its own listener and queue."""
    heard.clear(), in_transaction.clear(), behaviour.clear()
    alert_dispatch._queue.forget()
    with override_settings(SAGAS={**QUIET, "ON_ATTENTION": [HOOK]}):
        yield
    alert_dispatch._queue.forget()


def dispatched() -> list[tuple[str, str, str]]:
    alert_dispatch.flush()
    return [(alert.reason, alert.step, alert.state) for alert in heard]


def test_hold_is_alerted_once(world: World) -> None:
    world.will("b", Misconfigured("no key"))
    saga = work(world.begin(a=world.compensatable(), b=world.compensatable(), c=world.pivot()))
    for _ in range(3):
        work(saga)

    assert dispatched() == [("misconfigured", "b", "running")]
    [alert] = heard
    assert (alert.saga_id, alert.definition, alert.version) == (saga.pk, "trip", 1)
    row = saga.history.get(what="held")
    assert (alert.number, alert.at) == (row.number, row.at)
    assert in_transaction == [False]


def test_new_hold_is_alerted_again(world: World) -> None:
    world.will("b", Misconfigured("no key"), Misconfigured("still none"))
    saga = work(world.begin(a=world.compensatable(), b=world.compensatable(), c=world.pivot()))
    operations.retry_now(saga.pk, actor=OPERATOR, reason=REASON)
    work(saga)

    assert dispatched() == [("misconfigured", "b", "running")] * 2
    assert len({alert.id for alert in heard}) == 2


def test_attention_is_alerted_with_its_reason(world: World) -> None:
    world.will("b", Refused("no"))
    world.will("a", Broken("x"), direction=COMPENSATION)
    steps = {"a": world.compensatable(compensation_retry=ONCE), "b": world.compensatable()}
    work(world.begin(**steps))

    assert dispatched() == [("compensation_failing", "a", "compensating")]


def test_unknown_pivot_and_its_deadline_are_alerted(world: World) -> None:
    world.will("b", *[OutcomeUnknown("?")] * 2)
    steps = {"a": world.compensatable(), "b": world.pivot(external=True, retry=ONCE)}
    saga = work(world.begin(deadline=timedelta(hours=1), **steps))
    pass_time(timedelta(hours=2))
    work(saga)

    assert dispatched() == [("outcome_unknown", "b", "running"), ("overdue", "", "running")]


def test_operations_are_not_alerted(world: World) -> None:
    saga = world.begin(a=world.compensatable(), b=world.pivot())
    operations.pause(saga.pk, actor=OPERATOR, reason=REASON)
    operations.resume(saga.pk, actor=OPERATOR, reason=REASON)

    assert dispatched() == []


def test_rolled_back_write_is_not_alerted(world: World) -> None:
    saga = world.begin(a=world.compensatable(), b=world.pivot())
    with transaction.atomic():
        unit = SagaUnitOfWork.lock(saga.pk)
        holds.set_hold(unit, unit.step("a"), Hold.MISCONFIGURED)
        unit.write()
        transaction.set_rollback(True)

    assert dispatched() == []
    assert step_of(saga, "a").hold is None


def test_attention_cleared_before_the_write_is_not_alerted(world: World) -> None:
    saga = world.begin(a=world.compensatable(), b=world.pivot())
    with transaction.atomic():
        unit = SagaUnitOfWork.lock(saga.pk)
        holds.set_attention(unit, unit.step("a"), Attention.RETRIES_EXHAUSTED)
        holds.set_attention(unit, unit.step("a"), None)
        unit.write()

    assert dispatched() == []


def test_nothing_is_queued_without_a_hook(world: World) -> None:
    with override_settings(SAGAS=QUIET):
        world.will("a", Misconfigured("no key"))
        work(world.begin(a=world.compensatable(), b=world.pivot()))
        assert not alert_dispatch._queue.has_thread


def test_slow_hook_does_not_delay_the_engine(world: World) -> None:
    may_end = threading.Event()
    behaviour.append(lambda alert: may_end.wait(30) and None)
    world.will("a", Misconfigured("no key"), Misconfigured("no key"))
    trip = define(a=world.compensatable(), b=world.pivot())
    first, second = work(begin(trip)), work(begin(trip))

    assert [step_of(saga, "a").hold for saga in (first, second)] == ["misconfigured", "misconfigured"]
    assert len(heard) <= 1
    may_end.set()
    assert len(dispatched()) == 2


@pytest.mark.parametrize("error", [ValueError("planted"), SystemError("planted")])
def test_failing_hook_is_retried_without_affecting_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, world: World, error: Exception
) -> None:
    monkeypatch.setattr(alert_dispatch, "PAUSES_SECONDS", (0.0, 0.0))

    def fail(alert: Alert) -> None:
        raise error

    behaviour.append(fail)
    world.will("a", Misconfigured("no key"))
    with override_settings(SAGAS={**QUIET, "ON_ATTENTION": ["no.such.hook", HOOK]}), caplog.at_level(logging.WARNING):
        saga = work(world.begin(a=world.compensatable(), b=world.pivot()))
        wait_until(lambda: caplog.messages.count("Alert dropped after its last try.") == 2)

    assert step_of(saga, "a").hold == "misconfigured"
    assert [alert.reason for alert in heard] == ["misconfigured"] * 3
    assert [record.message for record in caplog.records if record.name == "sagas.engine.notify.alert_dispatch"].count(
        "Alert failed; trying again."
    ) == 4


def test_alerts_beyond_the_capacity_are_dropped_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(alert_dispatch, "CAPACITY", 2)
    may_end = threading.Event()
    behaviour.append(lambda alert: may_end.wait(30) and None)
    with caplog.at_level(logging.WARNING):
        alert_dispatch.announce([make_alert(number=number) for number in range(10)])
    may_end.set()

    assert 2 <= len(dispatched()) <= 4
    assert [record.message for record in caplog.records] == [
        "Alerts dropped: the hooks of SAGAS['ON_ATTENTION'] are too slow."
    ]


def test_invalid_setting_only_loses_alerts(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.will("a", Misconfigured("no key"))
    saga = world.begin(a=world.compensatable(), b=world.pivot())
    with caplog.at_level(logging.ERROR), override_settings(SAGAS={**QUIET, "ON_ATTENTION": [5]}):
        work(saga)
        alert_dispatch.flush()

    assert step_of(saga, "a").hold == "misconfigured"


def test_thread_closes_its_connections(world: World) -> None:
    used: list[Any] = []

    def ask(alert: Alert) -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT 1")
        used.append(connections["default"])

    behaviour.append(ask)
    world.will("a", Misconfigured("no key"))
    work(world.begin(a=world.compensatable(), b=world.pivot()))

    wait_until(lambda: bool(used) and used[0].connection is None)


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"ON_ATTENTION": [HOOK]}, []),
        ({"ON_ATTENTION": ["no.such.hook"]}, ["sagas.E016"]),
        ({"ON_ATTENTION": ["nodots"]}, ["sagas.E016"]),
        ({"ON_ATTENTION": [5]}, ["sagas.E016"]),
        ({"ON_ATTENTION": ["sagas.alerts.TIME_HEADER"]}, ["sagas.E016"]),
        ({"ON_ATTENTION": ["sagas.alerts.send_webhook"]}, ["sagas.E016", "sagas.W006"]),
        (
            {
                "ON_ATTENTION": ["sagas.alerts.send_webhook"],
                "ALERT_WEBHOOK_URL": "https://a",
                "ALERT_WEBHOOK_SECRET": "s",
            },
            [],
        ),
    ],
)
def test_checks_find_invalid_hooks(given: dict[str, Any], expected: list[str]) -> None:
    with override_settings(SAGAS=given):
        messages = checks.check_alerts()

    assert [message.id for message in messages] == expected
    assert all(message.hint for message in messages)
