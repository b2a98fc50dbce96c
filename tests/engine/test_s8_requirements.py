"""S8: requirements of every operation, and that each is done once."""

import getpass
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from sagas import RetryLater, clock
from sagas.exceptions import BadRequest, OperationRefused, PermissionRefused, SagaNotFound, StaleRevision
from sagas.models import Saga
from sagas.models.saga import new_saga_id
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.operators.preconditions import PERMISSIONS, Operation
from sagas.operators.presentation import badge_of_saga
from sagas.testing import pass_time
from sagas.testing.drain import read

from .acting import ABANDON, CANCEL, COMPENSATE, COMPENSATED, PAUSE, REFUSED, RESUME, RETRY, SKIP, SUCCEEDED, perform
from .situations import cannot_undo, live, paused, snapshot, started, undoing, unknown, waiting
from .world import EVIDENCE, OPERATOR, REASON, World, events, states, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__")

HOW = {
    RETRY: waiting, COMPENSATE: started, SKIP: started, SUCCEEDED: unknown, REFUSED: unknown, COMPENSATED: cannot_undo,
    PAUSE: started, RESUME: paused, CANCEL: started, ABANDON: started,
}  # fmt: skip


@pytest.fixture(params=Operation)
def operation(request: pytest.FixtureRequest) -> Operation:
    """Run the test for every operation."""
    return Operation(request.param)


def test_s8_every_operation_needs_its_permission(world: World, saga: Saga, operation: Operation) -> None:
    HOW[operation](world, saga)
    user = User.objects.create_user("ada")
    others = Permission.objects.filter(content_type__app_label="sagas").exclude(codename=PERMISSIONS[operation])
    user.user_permissions.set(others)
    stored = snapshot(saga)
    with pytest.raises(PermissionRefused, match=PERMISSIONS[operation]):
        perform(operation, saga, "a", actor=Actor.of_user(User.objects.get(pk=user.pk)))
    assert snapshot(saga) == stored
    user.user_permissions.set(Permission.objects.filter(codename=PERMISSIONS[operation]))
    perform(operation, saga, "a", actor=Actor.of_user(User.objects.get(pk=user.pk)))
    assert events(saga, "operator_acted")[-1].actor == "ada"


@pytest.mark.parametrize("reason", ["", "   ", "too short", " nine char ", "x" * 501, "a\x00b" * 10, "\ud800" * 20])
def test_s8_every_operation_needs_a_reason(world: World, saga: Saga, operation: Operation, reason: str) -> None:
    HOW[operation](world, saga)
    stored = snapshot(saga)
    with pytest.raises(BadRequest):
        perform(operation, saga, "a", reason=reason)
    assert snapshot(saga) == stored


@pytest.mark.parametrize("reason", ["ten of them!", "x" * 500, "\U0001f600" * 500])
def test_s8_a_reason_may_have_ten_to_five_hundred_characters(world: World, saga: Saga, reason: str) -> None:
    operations.pause(saga.pk, actor=OPERATOR, reason=reason)
    assert events(saga, "operator_acted")[0].reason == reason


@pytest.mark.parametrize("mark", sorted({SUCCEEDED, REFUSED, COMPENSATED}))
@pytest.mark.parametrize("evidence", ["", "short", "x" * 501])
def test_s8_every_mark_needs_evidence(world: World, saga: Saga, mark: Operation, evidence: str) -> None:
    HOW[mark](world, saga)
    with pytest.raises(BadRequest):
        perform(mark, saga, "a", evidence=evidence)
    assert events(saga, "operator_acted") == []


@pytest.mark.parametrize("result", [["a"], {"a": float("nan")}, {"a": "\x00"}, {"a": "x" * 70_000}])
def test_s8_a_result_must_be_storable(world: World, saga: Saga, result: Any) -> None:
    with pytest.raises(BadRequest):
        operations.skip_step(saga.pk, actor=OPERATOR, reason=REASON, step="a", result=result)
    assert states(saga)["a"] == "pending"


@pytest.mark.parametrize("step", [None, "nowhere"])
def test_s8_a_step_must_be_one_of_the_saga(world: World, saga: Saga, step: Any) -> None:
    with pytest.raises(BadRequest, match="a, b, p, r"):
        operations.skip_step(saga.pk, actor=OPERATOR, reason=REASON, step=step)
    assert states(saga)["a"] == "pending"


def test_s8_an_unknown_saga_is_not_found(operation: Operation) -> None:
    with pytest.raises(SagaNotFound):
        perform(operation, Saga(pk=new_saga_id()), "a")
    assert Saga.objects.count() == 0


def test_s8_an_operation_on_a_stale_revision_is_refused_with_the_facts(
    world: World, saga: Saga, operation: Operation
) -> None:
    HOW[operation](world, saga)
    stored = snapshot(saga)
    found = read(saga.pk)
    for revision in (found.revision - 1, found.revision + 1):
        with pytest.raises(StaleRevision) as stale:
            perform(operation, saga, "a", revision=revision)
        assert (stale.value.expected, stale.value.found) == (revision, found.revision)
        shown = badge_of_saga(found, list(found.steps.all()), clock.read_now("default")).text
        assert f"it is now {shown}" in str(stale.value)
    assert snapshot(saga) == stored


def test_s8_a_double_click_acts_once(world: World, saga: Saga, operation: Operation) -> None:
    HOW[operation](world, saga)
    revision = read(saga.pk).revision
    first = perform(operation, saga, "a", revision=revision)
    stored = snapshot(saga)
    second = perform(operation, saga, "a", revision=revision)
    assert (first.is_repeat, second.is_repeat) == (False, True)
    assert second.revision == first.revision
    assert snapshot(saga) == stored


def test_s8_another_operator_on_the_same_revision_is_stale(world: World, saga: Saga) -> None:
    waiting(world, saga)
    revision = read(saga.pk).revision
    perform(RETRY, saga, "a", revision=revision)
    with pytest.raises(StaleRevision):
        perform(RETRY, saga, "a", revision=revision, actor=Actor(name="eve", is_trusted=True))
    assert len(events(saga, "operator_acted")) == 1


@pytest.mark.parametrize("operation", [Operation.COMPENSATE, Operation.PAUSE, Operation.CANCEL])
def test_s8_a_decision_is_stale_once_another_step_has_succeeded(world: World, saga: Saga, operation: Operation) -> None:
    world.will("b", RetryLater())
    world.will("p", RetryLater())
    revision = work(saga).revision
    pass_time(until_due=read(saga.pk))
    assert states(work(saga))["b"] == "succeeded"
    with pytest.raises(StaleRevision):
        perform(operation, saga, "a", revision=revision)
    assert events(saga, "operator_acted") == []


@pytest.mark.parametrize("operation", [RETRY, SKIP, SUCCEEDED, REFUSED, ABANDON])
def test_s8_a_live_lease_is_refused_with_its_end(world: World, saga: Saga, operation: Operation) -> None:
    live(world, saga)
    until = f"{step_of(saga, 'a').lease_until:%Y-%m-%d %H:%M:%S} UTC"
    with pytest.raises(OperationRefused, match=until):
        perform(operation, saga, "a")
    assert states(saga)["a"] == "running"


def test_s8_a_live_compensation_is_refused_with_its_end(world: World, saga: Saga) -> None:
    undoing(world, saga)
    until = f"{step_of(saga, 'a').lease_until:%Y-%m-%d %H:%M:%S} UTC"
    for operation in (RETRY, COMPENSATED):
        with pytest.raises(OperationRefused, match=until):
            perform(operation, saga, "a")
    assert states(saga)["a"] == "compensating"


def test_s8_history_stores_state_before_and_after(world: World, saga: Saga) -> None:
    unknown(world, saga)
    operations.mark_refused(saga.pk, actor=OPERATOR, reason=REASON, evidence=EVIDENCE, step="a")
    [acted] = events(saga, "operator_acted")
    assert acted.data["before"].startswith("outcome unknown, asking again; a outcome unknown, due ")
    assert acted.data["after"] == "compensated; a refused: decided by an operator"
    assert acted.step == "a"
    rows = events(saga)
    assert [row.what for row in rows[-5:]] == [
        "step_unknown",
        "step_refused",
        "saga_turned_back",
        "saga_compensated",
        "operator_acted",
    ]


def test_s8_command_line_actors_are_recorded_with_the_system_user() -> None:
    User.objects.create_user("ada")
    assert Actor.of_command_line("ada").name.startswith(f"ada ({getpass.getuser()}@")
    assert not Actor.of_command_line("ada").may("retry_saga")
    assert Actor.of_command_line().may("retry_saga")
    assert Actor.of_command_line().name.startswith(f"{getpass.getuser()}@")
    with pytest.raises(BadRequest):
        Actor.of_command_line("nobody-of-this-name")


def test_s8_an_inactive_account_cannot_act() -> None:
    User.objects.create_user("ada", is_active=False, last_login=timezone.now())
    with pytest.raises(BadRequest):
        Actor.of_command_line("ada")
    admin = User.objects.create_superuser("root")
    admin.is_active = False
    assert not Actor.of_user(admin).may("abandon_saga")
