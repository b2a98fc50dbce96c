"""Commit callbacks of steps: a failing one is logged and prevents no other from being called."""

import logging
from typing import Any

import pytest
from django.db import transaction

from sagas.core.states import Outcome
from sagas.engine import advance
from sagas.models import SagaStep
from sagas.testing import drain, outcomes_of

from .world import World, define

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


def fail() -> None:
    raise OSError("the mail server is away")


@pytest.mark.parametrize("participant", [None, "inventory"])
def test_failing_callback_is_logged_once_and_the_others_are_called(
    world: World, inventory_alias: str, participant: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    using = participant and inventory_alias
    called: list[str] = []

    def register(step: Any, proceed: Any) -> None:
        proceed()
        transaction.on_commit(fail, using=using)
        transaction.on_commit(lambda: called.append("second"), using=using)
        transaction.on_commit(lambda: called.append("robust"), using=using, robust=True)

    saga = world.begin(a=world.compensatable(participant), b=world.compensatable())
    world.will("a", register)
    with caplog.at_level(logging.INFO):
        advance.advance(saga.pk)
    assert drain(saga).state == "completed"
    assert outcomes_of(saga.pk, "a") == [Outcome.SUCCEEDED]
    assert called == ["second", "robust"]
    [record] = [record for record in caplog.records if "on_commit" in record.message]
    assert (record.levelno, record.step, record.saga_id) == (logging.ERROR, "a", str(saga.pk))  # type: ignore[attr-defined]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], OSError)


@pytest.mark.parametrize("participant", [None, "inventory"])
def test_callback_may_raise_a_base_exception(world: World, inventory_alias: str, participant: str | None) -> None:
    using = participant and inventory_alias
    called: list[str] = []

    def end() -> None:
        raise GeneratorExit

    def register(step: Any, proceed: Any) -> None:
        proceed()
        transaction.on_commit(end, using=using)
        transaction.on_commit(lambda: called.append("second"), using=using)

    saga = world.begin(a=world.compensatable(participant), b=world.compensatable())
    world.will("a", register)
    advance.advance(saga.pk)
    assert (outcomes_of(saga.pk, "a"), called) == ([Outcome.SUCCEEDED], ["second"])


@pytest.mark.parametrize("external", [False, True])
def test_callback_that_ends_the_process_leaves_no_claim(world: World, external: bool) -> None:
    def end() -> None:
        raise SystemExit(3)

    saga = world.begin(a=world.compensatable(), b=world.pivot(external=external), c=world.retriable())
    world.will("a", lambda step, proceed: proceed() or transaction.on_commit(end))
    with pytest.raises(SystemExit):
        advance.advance(saga.pk)
    assert [outcomes_of(saga.pk, step) for step in "abc"] == [[Outcome.SUCCEEDED], [Outcome.SUCCEEDED], []]
    assert SagaStep.objects.filter(saga_id=saga.pk, lease_token__isnull=False).count() == 0
    assert drain(saga).state == "completed"


def test_saga_started_by_the_step_is_woken_after_a_failing_callback(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[Any] = []
    monkeypatch.setattr("sagas.engine.notify.wakeup_sending.send", lambda saga_id, queue="": woken.append(saga_id))
    other = define("other", a=world.compensatable(), b=world.compensatable())
    started: list[Any] = []

    def start_other(step: Any, proceed: Any) -> None:
        transaction.on_commit(fail)
        started.append(advance.start(other).pk)

    saga = world.begin(a=world.compensatable(), b=world.compensatable())
    world.will("a", start_other)
    advance.advance(saga.pk)
    assert started[0] in woken
