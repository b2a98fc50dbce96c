"""Local steps that end their own transaction: held, as effect and record do not commit together."""

from typing import Any

import pytest
from django.db import connections

from sagas.core.states import Effect, Hold, Outcome
from sagas.models import SagaAttempt
from sagas.testing import drain, outcomes_of

from .world import ENGINE, World, step_of

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


def run(sql: str, using: str) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(sql)


ENDED = {
    "COMMIT": lambda using: run("COMMIT", using),
    "ROLLBACK": lambda using: run("ROLLBACK", using),
    "COMMIT, and another one begun": lambda using: run("COMMIT; BEGIN", using),
    "ROLLBACK, and another one begun": lambda using: run("ROLLBACK; BEGIN", using),
    "commit of the driver": lambda using: connections[using].connection.commit(),
    "rollback of the driver": lambda using: connections[using].connection.rollback(),
}


@pytest.mark.parametrize("ended", ENDED)
@pytest.mark.parametrize("participant", [None, "inventory"])
def test_step_that_ends_its_transaction_is_held(
    world: World, inventory_alias: str, ended: str, participant: str | None
) -> None:
    using = inventory_alias if participant else ENGINE
    saga = world.begin(a=world.compensatable(participant), b=world.compensatable())
    world.will("a", lambda step, proceed: proceed() or ENDED[ended](using))
    assert drain(saga).state == "running"
    assert (world.called("a"), world.called("b"), step_of(saga, "a").hold) == (1, 0, Hold.MISCONFIGURED)
    attempt = SagaAttempt.objects.get(saga_id=saga.pk)
    assert (attempt.outcome, attempt.effect) == (Outcome.MISCONFIGURED, Effect.MAYBE)
    assert attempt.error_class == "sagas.exceptions.TransactionEnded"
    assert "ended its transaction on" in attempt.message


@pytest.mark.parametrize("ended", ["COMMIT", "COMMIT, and another one begun", "commit of the driver"])
@pytest.mark.parametrize("participant", [None, "inventory"])
def test_effect_committed_before_an_error_is_not_repeated(
    world: World, inventory_alias: str, ended: str, participant: str | None
) -> None:
    using = inventory_alias if participant else ENGINE
    saga = world.begin(a=world.compensatable(participant), b=world.compensatable())

    def fail(step: Any, proceed: Any) -> None:
        proceed()
        ENDED[ended](using)
        raise ValueError("after the effect")

    world.will("a", fail)
    drain(saga)
    assert outcomes_of(saga.pk, "a") == [Outcome.MISCONFIGURED]
    assert (step_of(saga, "a").hold, world.count(saga, "a", participant=participant)) == (Hold.MISCONFIGURED, 1)


def test_savepoints_and_temporary_tables_do_not_end_the_transaction(world: World) -> None:
    saga = world.begin(a=world.compensatable(), b=world.compensatable())
    sql = "SAVEPOINT one; CREATE TEMP TABLE notes (id int) ON COMMIT DROP; ROLLBACK TO one; SAVEPOINT two; RELEASE two"
    world.will("a", lambda step, proceed: proceed() or run(sql, ENGINE))
    assert drain(saga).state == "completed"
    assert (outcomes_of(saga.pk, "a"), world.count(saga, "a")) == ([Outcome.SUCCEEDED], 1)
