"""Time zones: timestamps are aware and in UTC whatever zone project, database or session use."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from sagas import RetryLater, clock
from sagas.core.retry import RetryPolicy
from sagas.engine import advance
from sagas.models import Saga, SagaHistory
from sagas.monitoring import doctor
from sagas.monitoring.liveness import read_liveness
from sagas.operators.queries import failures, statistics
from sagas.testing import drain
from sagas.testing.drain import read
from sagas.worker import sweeper

from .world import ENGINE, World, attempts, begin, define, step_of

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)

# Both hours between 02:00 and 03:00 in Berlin on the day when clocks are set back, and an ordinary one.
MOMENTS = [
    datetime(2026, 10, 25, 0, 10, tzinfo=UTC), datetime(2026, 10, 25, 0, 59, 59, tzinfo=UTC),
    datetime(2026, 10, 25, 1, 10, tzinfo=UTC), datetime(2026, 3, 29, 0, 59, 50, tzinfo=UTC),
    datetime(2026, 7, 1, 12, tzinfo=UTC),
]  # fmt: skip


@pytest.fixture(params=["USE_TZ off", "TIME_ZONE of the database", "SET TIME ZONE"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """Use Berlin's time zone, in one of the ways that projects configure it."""
    if request.param == "USE_TZ off":
        with override_settings(USE_TZ=False, TIME_ZONE="Europe/Berlin"):
            yield request.param
        return
    for alias in connections:
        connections[alias].close()
    if request.param == "TIME_ZONE of the database":
        kept = {alias: connections.settings[alias]["TIME_ZONE"] for alias in connections}
        for alias in connections:
            connections.settings[alias]["TIME_ZONE"] = "Europe/Berlin"
            _forget_zone(alias)
        yield request.param
        for alias, before in kept.items():
            connections.settings[alias]["TIME_ZONE"] = before
            _forget_zone(alias)
        return
    for alias in connections:
        with connections[alias].cursor() as cursor:
            cursor.execute("SET TIME ZONE 'Europe/Berlin'")
    yield request.param
    for alias in connections:
        connections[alias].close()


def _forget_zone(alias: str) -> None:
    """Make a connection read its time zone again."""
    connection = connections[alias]
    connection.close()
    for name in ("timezone", "timezone_name"):
        connection.__dict__.pop(name, None)


def set_clock(moment: datetime) -> None:
    clock.move(moment - clock.read_now(ENGINE))


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_every_timestamp_of_a_saga_is_exact_to_the_second(world: World, zone: str, moment: datetime) -> None:
    policy = RetryPolicy(base=120, cap=120, factor=1)
    trip = define(a=world.compensatable(retry=policy), b=world.compensatable(), deadline=timedelta(hours=3))
    set_clock(moment)
    saga = begin(trip)
    world.will("a", RetryLater())
    advance.advance(saga.pk)
    saga = read(saga.pk)
    assert saga.created_at.tzinfo is UTC
    assert saga.deadline_at is not None
    assert saga.due_at is not None
    assert abs(saga.created_at - moment) < timedelta(seconds=30)
    assert abs(saga.deadline_at - moment - timedelta(hours=3)) < timedelta(seconds=30)
    assert timedelta(seconds=55) < saga.due_at - moment < timedelta(seconds=150)
    assert step_of(saga, "a").due_at == saga.due_at
    [attempt] = attempts(saga, "a")
    assert attempt.ended_at is not None
    assert timedelta() <= attempt.ended_at - attempt.started_at < timedelta(seconds=30)
    assert attempt.deadline_at - attempt.started_at == timedelta(seconds=10)
    told = list(SagaHistory.objects.filter(saga_id=saga.pk).order_by("number").values_list("at", flat=True))
    assert all(abs(at - moment) < timedelta(seconds=30) for at in told)
    assert drain(saga).state == "completed"


@pytest.mark.parametrize("moment", MOMENTS[:3], ids=str)
def test_lease_lasts_as_long_in_both_repeated_hours(world: World, zone: str, moment: datetime) -> None:
    set_clock(moment)
    seen: list[Any] = []
    saga = world.begin(a=world.compensatable(external=True), b=world.compensatable())

    def look(step: Any, proceed: Any) -> None:
        row = step_of(step.saga_id, "a")
        seen.append((row.lease_until - clock.read_now(ENGINE)).total_seconds())  # type: ignore[operator]
        assert advance.advance(step.saga_id) == 0  # no other worker takes it over
        proceed()

    world.will("a", look)
    advance.advance(saga.pk)
    assert 0 < seen[0] <= 30
    assert read(saga.pk).state == "completed"


def test_queries_over_all_sagas_get_the_timestamps_right(world: World, zone: str) -> None:
    moment = MOMENTS[0]
    set_clock(moment)
    saga = world.begin(a=world.compensatable(), b=world.compensatable())
    world.will("a", ValueError("once"))
    advance.advance(saga.pk)
    clock.move(timedelta(seconds=40))
    assert timedelta(seconds=30) <= read_liveness().oldest_due_age < timedelta(seconds=70)
    sweeper.beat(queues=["celery"], found=1)
    assert timedelta() <= (read_liveness().last_sweep_age or timedelta(-1)) < timedelta(seconds=30)
    assert [worker.version for worker in read_liveness().workers] != []
    [group] = failures.read_failures(timedelta(hours=1)).groups
    assert abs(group.first_at - moment) < timedelta(seconds=30)
    assert group.last_at == group.first_at
    [counted] = statistics.refresh([statistics.OPEN], timeout="5s").values()
    assert counted.computed_at is not None
    assert abs(counted.computed_at - moment) < timedelta(seconds=80)
    findings = {finding.name: finding for finding in doctor.examine()}
    assert findings["oldest due"].what.startswith("waits for ")
    assert Saga.objects.filter(created_at__lt=moment + timedelta(seconds=30)).count() == 1
