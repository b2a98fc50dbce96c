"""S10: a saga keeps its version, and is held while the code lacks it."""

from datetime import timedelta

import pytest

from sagas.core.definition import registry
from sagas.core.states import Hold
from sagas.models import Saga
from sagas.testing import drain, pass_time
from sagas.testing.drain import read

from .frozen import freeze
from .world import Refused, World, begin, define, events, states, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__")


def test_s10_a_saga_keeps_the_version_it_started_with(world: World) -> None:
    first = world.begin(a=world.compensatable())
    second = world.begin(version=2, a=world.compensatable(), b=world.compensatable())
    assert (first.version, second.version, first.digest != second.digest) == (1, 2, True)
    assert states(drain(first)) == {"a": "succeeded"}
    assert states(drain(second)) == {"a": "succeeded", "b": "succeeded"}


def test_s10_a_missing_definition_holds_the_saga_until_it_is_back(world: World) -> None:
    definition = define(a=world.compensatable())
    saga = begin(definition)
    registry.forget("trip", 1)
    for _ in range(3):
        saga = work(saga)
        assert (saga.state, saga.hold, world.calls) == ("pending", Hold.DEFINITION_MISSING, [])
        assert timedelta() < saga.due_at - saga.updated_at <= timedelta(seconds=5)
        pass_time(until_due=saga)
    [held] = events(saga, "held")
    assert "'trip' version 1" in held.reason
    revision = saga.revision

    registry.register(definition)
    saga = work(saga)
    assert (saga.state, saga.hold) == ("completed", None)
    assert [row.from_state for row in events(saga, "hold_cleared")] == ["definition_missing"]
    assert saga.revision > revision


@pytest.mark.parametrize("change", ["renamed", "one more", "one less", "another order"])
def test_s10_changed_steps_under_the_same_version_count_as_missing(world: World, change: str) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable())
    others = {
        "renamed": ("a", "c"),
        "one more": ("a", "b", "c"),
        "one less": ("a",),
        "another order": ("b", "a"),
    }[change]
    define(**{name: world.compensatable() for name in others})
    assert work(saga).hold == Hold.DEFINITION_MISSING
    assert world.calls == []


def test_s10_a_worker_with_the_old_code_finishes_what_it_runs(world: World) -> None:
    definition = define(a=world.compensatable(external=True), b=world.compensatable())
    saga = begin(definition)
    frozen = freeze(saga, "a")
    registry.forget("trip", 1)
    saga = work(saga)  # a worker with the new code
    assert (saga.hold, states(saga)["a"]) == (Hold.DEFINITION_MISSING, "running")
    registry.register(definition)
    frozen.thaw()
    saga = read(saga.pk)
    assert (saga.hold, states(saga)["a"]) == (None, "succeeded")
    assert drain(saga).state == "completed"


def test_s10_a_failure_is_recorded_although_the_definition_is_missing(world: World) -> None:
    world.will("a", RuntimeError("the line is dead"))
    definition = define(a=world.compensatable(external=True))
    saga = begin(definition)
    frozen = freeze(saga, "a")
    registry.forget("trip", 1)
    frozen.thaw()
    assert states(work(saga)) == {"a": "unknown"}
    assert read(saga.pk).hold == Hold.DEFINITION_MISSING
    registry.register(definition)
    assert (drain(saga).state, world.count(saga, "a")) == ("completed", 1)


def test_s10_a_lease_outlives_the_definition_and_ends_when_it_is_back(world: World) -> None:
    definition = define(a=world.compensatable(external=True), b=world.compensatable())
    saga = begin(definition)
    freeze(saga, "a", before_call=True)
    registry.forget("trip", 1)
    for _ in range(10):
        pass_time(timedelta(seconds=10))
        saga = work(saga)
    assert (states(saga)["a"], saga.due_at is not None) == ("running", True)
    registry.register(definition)
    saga = drain(saga)
    assert (saga.state, world.count(saga, "a")) == ("completed", 1)


def test_s10_a_definition_missing_while_compensating_resumes_compensating(world: World) -> None:
    definition = define(a=world.compensatable(), b=world.compensatable())
    saga = begin(definition)
    world.will("b", lambda _step, _proceed: forget_definition())

    def forget_definition() -> None:
        registry.forget("trip", 1)
        raise Refused

    saga = work(saga)
    assert (saga.state, saga.hold) in {("running", Hold.DEFINITION_MISSING), ("compensating", Hold.DEFINITION_MISSING)}
    registry.register(definition)
    saga = drain(saga)
    assert (saga.state, step_of(saga, "a").state) == ("compensated", "compensated")


def test_s10_another_digest_does_not_stop_a_saga(world: World) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable())
    define(a=world.compensatable(), b=world.compensatable(external=True))
    assert drain(saga).state == "completed"  # reported by the check saga_check_versions
    assert Saga.objects.get(pk=saga.pk).digest != registry.get("trip", 1).digest
