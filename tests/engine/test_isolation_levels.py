"""Isolation levels: the engine's transactions run at READ COMMITTED, step functions at the project's level."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from psycopg import IsolationLevel

from sagas import InProgress, Parallel
from sagas.core.retry import RetryPolicy
from sagas.core.states import Outcome
from sagas.engine import advance, claim
from sagas.engine.step_wake import wake
from sagas.exceptions import TransactionConflict
from sagas.operators import operations
from sagas.testing import drain, outcomes_of

from .world import ENGINE, OPERATOR, REASON, World, step_of

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)

ONCE = RetryPolicy(attempts=1)
LEVELS = ["repeatable read", "serializable"]


@pytest.fixture(params=["OPTIONS", "default of the database"])
def level(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Return a function that sets the isolation level of the project."""
    databases = {alias: connections.settings[alias] for alias in connections}
    before = {alias: dict(found["OPTIONS"]) for alias, found in databases.items()}

    def set_level(name: str) -> None:
        for alias, found in databases.items():
            if request.param == "OPTIONS":
                found["OPTIONS"]["isolation_level"] = IsolationLevel[name.replace(" ", "_").upper()]
            else:
                options = before[alias].get("options", "")
                shown = name.replace(" ", "\\ ")
                found["OPTIONS"]["options"] = f"{options} -c default_transaction_isolation={shown}".strip()
            connections[alias].close()

    yield set_level
    for alias, found in databases.items():
        found["OPTIONS"].clear()
        found["OPTIONS"].update(before[alias])
        connections[alias].close()


def read_level(using: str = ENGINE) -> str:
    """Return the level of this transaction, fixing its snapshot if it has one."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_isolation')")
        return str(cursor.fetchone()[0])


@pytest.mark.parametrize("name", LEVELS)
def test_engine_runs_at_read_committed_and_local_steps_at_the_project_level(
    world: World, level: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    level(name)
    seen: dict[str, list[str]] = {"engine": [], "local": [], "project": []}
    claim_next = claim.claim_next

    def read_level_and_claim(*args: Any, **options: Any) -> Any:
        seen["engine"].append(read_level())
        return claim_next(*args, **options)

    monkeypatch.setattr(claim, "claim_next", read_level_and_claim)
    saga = world.begin(a=world.compensatable(external=True), b=world.compensatable())
    world.will("b", lambda step, proceed: seen["local"].append(read_level()) or proceed())
    assert drain(saga).state == "completed"
    with transaction.atomic(using=ENGINE):
        seen["project"].append(read_level())
    assert seen["engine"][:2] == ["read committed"] * 2  # the first claim and the record of an external step
    assert (seen["local"], seen["project"]) == ([name], [name])


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("participant", [None, "inventory"])
def test_conflict_in_the_engine_spends_no_budget(
    world: World, level: Any, inventory_alias: str, name: str, participant: str | None
) -> None:
    level(name)
    group = Parallel(p=world.compensatable(participant, retry=ONCE), q=world.compensatable(retry=ONCE))
    saga = world.begin(group=group, last=world.compensatable())

    def let_the_sibling_record(step: Any, proceed: Any) -> None:
        read_level()  # takes this transaction's snapshot of the saga
        worker = threading.Thread(target=advance_alone, args=[saga.pk])
        worker.start()
        worker.join()
        proceed()

    world.will("p", let_the_sibling_record)
    saga = drain(saga)
    assert saga.state == "completed"
    expected = [Outcome.RETRY, Outcome.SUCCEEDED] if participant is None else [Outcome.SUCCEEDED]
    assert outcomes_of(saga.pk, "p") == expected
    assert (step_of(saga, "p").budget_used, world.count(saga, "p", participant=participant)) == (1, 1)


def advance_alone(saga_id: Any) -> None:
    try:
        advance.advance(saga_id)
    finally:
        connections.close_all()


def test_conflict_in_the_step_spends_budget(world: World) -> None:
    saga = world.begin(a=world.compensatable(retry=ONCE), b=world.compensatable())

    def conflict(step: Any, proceed: Any) -> None:
        with connections[ENGINE].cursor() as cursor:
            cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = '40001'; END $$")

    world.will("a", conflict)
    assert drain(saga).state == "compensated"


def test_operator_in_a_stricter_transaction_is_asked_to_repeat(world: World, level: Any) -> None:
    level("repeatable read")
    saga = world.begin(a=world.compensatable(), b=world.compensatable())
    with transaction.atomic(using=ENGINE):
        read_level()
        worker = threading.Thread(target=advance_alone, args=[saga.pk])
        worker.start()
        worker.join()
        with pytest.raises(TransactionConflict, match="changed after this request's transaction began"):
            operations.cancel(saga.pk, actor=OPERATOR, reason=REASON)
        assert read_level() == "repeatable read"  # the caller's transaction continues


@pytest.mark.parametrize("name", LEVELS)
def test_wake_runs_at_read_committed_or_in_the_callers_transaction(
    world: World, level: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    level(name)
    seen: list[str] = []
    claim_next = claim.claim_next

    def read_level_and_claim(*args: Any, **options: Any) -> Any:
        seen.append(read_level())
        return claim_next(*args, **options)

    world.will("a", InProgress())
    saga = world.begin(a=world.compensatable(external=True), b=world.compensatable())
    advance.advance(saga.pk)
    monkeypatch.setattr(claim, "claim_next", read_level_and_claim)
    assert wake(saga).due == ("a",)
    with transaction.atomic(using=ENGINE):
        assert wake(saga).due == ("a",)
    assert seen == ["read committed", name]


def test_claim_that_loses_a_conflict_is_retried(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable())
    claim_next, failures = claim.claim_next, iter(["40P01", "40P01"])

    def fail_twice(*args: Any, **options: Any) -> Any:
        if code := next(failures, None):
            with connections[ENGINE].cursor() as cursor:
                cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '{code}'; END $$")
        return claim_next(*args, **options)

    monkeypatch.setattr(claim, "claim_next", fail_twice)
    assert advance.advance(saga.pk) == 2


def test_claim_that_loses_every_conflict_raises(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable())

    def fail(*args: Any, **options: Any) -> Any:
        with connections[ENGINE].cursor() as cursor:
            cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$")

    with monkeypatch.context() as patched:
        patched.setattr(claim, "claim_next", fail)
        with pytest.raises(OperationalError):
            advance.advance(saga.pk)
    assert drain(saga).state == "completed"
