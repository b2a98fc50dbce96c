"""Errors and results whose own code raises: the attempt still ends with an outcome and is not repeated."""

from dataclasses import dataclass
from typing import Any

import pytest

from sagas.core.definition import inputs
from sagas.core.states import Effect, Hold, Outcome
from sagas.engine import advance
from sagas.models import SagaAttempt
from sagas.testing import drain, outcomes_of

from .world import World, begin, define, step_of

pytestmark = pytest.mark.django_db(databases="__all__")


class ExitingError(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class WithoutName(type):
    @property
    def __module__(cls) -> str:
        raise RuntimeError("it has none")


class NamelessError(Exception, metaclass=WithoutName):
    pass


class CustomStr(str):
    def replace(self, *_: Any) -> str:
        raise RuntimeError("not to be replaced")


class UnprintableError(Exception):
    def __str__(self) -> str:
        return CustomStr("strange")


@pytest.mark.parametrize("error", [ExitingError, NamelessError, UnprintableError])
@pytest.mark.parametrize("external", [False, True])
def test_unreadable_error_is_recorded_as_an_outcome(world: World, error: type[Exception], external: bool) -> None:
    saga = world.begin(a=world.compensatable(external=external), b=world.compensatable())
    world.will("a", error())
    assert advance.advance(saga.pk) == 1
    [attempt] = SagaAttempt.objects.filter(saga_id=saga.pk)
    expected = (Outcome.UNKNOWN, Effect.MAYBE) if external else (Outcome.RETRY, Effect.NONE)
    assert (attempt.outcome, attempt.effect) == expected
    assert "read" in attempt.message
    assert drain(saga).state == "completed"


class RaisingDict(dict[str, Any]):
    def items(self) -> Any:
        raise LookupError("no items")


class RaisingName:
    def __repr__(self) -> str:
        raise ValueError("no name")


@pytest.mark.parametrize(
    ("result", "error_class"),
    [
        (RaisingDict(a=1), "LookupError"),
        ({RaisingName(): 1}, "ValueError"),
        (lambda step, proceed: proceed() or step.results["zero"], "sagas.exceptions.ResultRedacted"),
        (lambda step, proceed: proceed() or {"all": [step.results["zero"]]}, "sagas.exceptions.ResultRedacted"),
    ],
    ids=["items", "key", "masked", "masked inside"],
)
def test_unreadable_result_is_misconfigured_after_one_call(world: World, result: Any, error_class: str) -> None:
    saga = world.begin(zero=world.compensatable(), a=world.compensatable(external=True), b=world.compensatable())
    world.will("zero", {"password": "correct horse", "id": 1})
    world.will("a", result)
    drain(saga)
    assert (step_of(saga, "a").hold, world.called("a"), world.count(saga, "a")) == (Hold.MISCONFIGURED, 1, 1)
    attempt = SagaAttempt.objects.get(saga_id=saga.pk, step__name="a")
    assert (attempt.effect, attempt.error_class) == (Effect.MAYBE, error_class)


@dataclass(frozen=True)
class Ticket:
    seat: str

    def __post_init__(self) -> None:
        if self.seat == "sold":
            raise SystemExit(3)


def test_input_class_that_exits_ends_no_worker(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    saga = begin(define(a=world.compensatable(), b=world.compensatable(), input=Ticket), Ticket("free"))
    monkeypatch.setattr(inputs, "_load", lambda *_: "sold")
    assert advance.advance(saga.pk) == 0
    assert (step_of(saga, "a").hold, outcomes_of(saga.pk, "a")) == (Hold.MISCONFIGURED, [])
