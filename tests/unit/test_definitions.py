"""Saga definitions: steps in declaration order, and mistakes are import errors (S5, S10)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from sagas import (
    Compensatable,
    DefinitionError,
    Parallel,
    Pivot,
    Retriable,
    RetryLater,
    RetryPolicy,
    SagaDefinition,
    nothing_to_undo,
)
from sagas.core.definition import registry
from sagas.core.states import Direction, Kind
from sagas.exceptions import DefinitionNotFound


class No(Exception):
    """Refusal of an action."""


class NotUndone(Exception):
    """Refusal of a compensation."""


def act(step: Any) -> None:
    """Act."""


async def report_async(closed: Any) -> None:
    """Report asynchronously."""


def undo(step: Any) -> None:
    """Undo."""


@dataclass(frozen=True, kw_only=True)
class Trip:
    """Trip name."""

    number: str
    seats: int = 1


@dataclass(frozen=True, kw_only=True)
class LongerTrip:
    """Trip name and more."""

    number: str
    seats: int = 1
    nights: int = 0


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    with registry.preserved():
        for definition in registry.all_definitions():
            registry.forget(definition.name, definition.version)
        yield


def declare(meta: dict[str, Any] | None = None, **body: Any) -> type[SagaDefinition]:
    options = {"name": "trip", **(meta or {})}
    return type("TripSaga", (SagaDefinition,), {"__module__": __name__, "Meta": type("Meta", (), options), **body})


FULL = {
    "book_seat": Compensatable(compensation=undo),
    "both": Parallel(book_car=Compensatable(act, undo), book_hotel=Compensatable(act, undo)),
    "pay": Pivot(act),
    "sides": Parallel(send_ticket=Retriable(act), send_bill=Retriable(act)),
    "thank": Retriable(act),
}


def test_steps_follow_the_class_body() -> None:
    saga = declare(**FULL)
    assert [(step.name, step.kind.value, step.rank, step.position) for step in saga.steps] == [
        ("book_seat", "compensatable", 0, 0),
        ("book_car", "compensatable", 1, 1),
        ("book_hotel", "compensatable", 1, 2),
        ("pay", "pivot", 2, 3),
        ("send_ticket", "retriable", 3, 4),
        ("send_bill", "retriable", 3, 5),
        ("thank", "retriable", 4, 6),
    ]
    assert (saga.name, saga.version, saga.input, saga.deadline) == ("trip", 1, None, None)
    assert saga.pivot() is saga.step("pay")
    assert saga.step("book_seat").function(Direction.ACTION) is None
    with pytest.raises(KeyError):
        saga.step("both")


def test_options_of_a_step_are_stored_for_each_direction() -> None:
    retry, retry_back = RetryPolicy(attempts=2), RetryPolicy(attempts=3)
    second = timedelta(seconds=1)
    saga = declare(
        a=Compensatable(
            act, undo, participant="inventory", external=True, queue="slow", timeout=second, retry=retry,
            refuses_on=[No], refusal_settles=True, compensation_timeout=2 * second, compensation_retry=retry_back,
            compensation_refuses_on=[NotUndone], verify_after=3 * second,
        )
    )  # fmt: skip
    [step] = saga.steps
    assert (step.participant, step.external, step.queue) == ("inventory", True, "slow")
    assert (step.timeout, step.compensation_timeout, step.verify_after) == (second, 2 * second, 3 * second)
    assert (step.retry, step.compensation_retry) == (retry, retry_back)
    assert step.refusals(Direction.ACTION) == (No,)
    assert step.refusals(Direction.COMPENSATION) == (NotUndone,)
    assert step.function(Direction.COMPENSATION) is undo


BAD_STEPS = {
    "no compensation": lambda: Compensatable(act),
    "compensation that is no function": lambda: Compensatable(act, "undo"),
    "action that is no function": lambda: Compensatable("act", undo),
    "pivot without action": lambda: Pivot(None),
    "retriable without action": lambda: Retriable(None),
    "refusal that is no class": lambda: Pivot(act, refuses_on=[No()]),
    "refusal that is no exception": lambda: Pivot(act, refuses_on=[int]),
    "refusal that is every error": lambda: Pivot(act, refuses_on=[Exception]),
    "refusal that ends the process": lambda: Compensatable(act, undo, compensation_refuses_on=[BaseException]),
    "time-out of no length": lambda: Pivot(act, timeout=timedelta()),
    "time-out that is a number": lambda: Pivot(act, timeout=10),
    "compensation time-out in the past": lambda: Compensatable(act, undo, compensation_timeout=timedelta(-1)),
    "verification at once": lambda: Compensatable(act, undo, external=True, verify_after=timedelta()),
    "time-out that PostgreSQL cannot count": lambda: Pivot(act, timeout=timedelta(days=25)),
    "time-out of more than a year": lambda: Pivot(act, external=True, timeout=timedelta(days=367)),
    "compensation time-out of an age": lambda: Compensatable(act, undo, compensation_timeout=timedelta.max),
    "verification after an age": lambda: Compensatable(act, undo, external=True, verify_after=timedelta.max),
    "queue that is no name": lambda: Compensatable(act, undo, queue="a b"),
    "queue that is no text": lambda: Pivot(act, queue=7),
    "empty queue": lambda: Compensatable(act, undo, queue=""),
    "participant that is no text": lambda: Pivot(act, participant=act),
    "participant that is a path": lambda: Pivot(act, participant="shop.payments"),
    "empty participant": lambda: Pivot(act, participant=""),
    "external that is a text": lambda: Pivot(act, external="no"),
    "external that is None": lambda: Pivot(act, external=None),
    "settling that is a number": lambda: Pivot(act, external=True, refusal_settles=1),
    "retry that is a dict": lambda: Pivot(act, retry={"attempts": 3}),
    "retry that is a class": lambda: Pivot(act, retry=RetryPolicy),
    "compensation retry that is a number": lambda: Compensatable(act, undo, compensation_retry=3),
    "refusal outside of a list": lambda: Pivot(act, refuses_on=No),
    "refusals that are a text": lambda: Pivot(act, refuses_on="No"),
    "refusals that are None": lambda: Pivot(act, refuses_on=None),
    "refusal with another meaning": lambda: Pivot(act, refuses_on=[RetryLater]),
    "business keys in a list": lambda: Pivot(act, business_keys=["payment"]),
    "business key of a step without action": lambda: Compensatable(compensation=undo, business_keys={"payment": "id"}),
    "business key whose name is none": lambda: Pivot(act, business_keys={"Payment": "id"}),
    "business key of no value": lambda: Retriable(act, business_keys={"payment": ""}),
    "group of one": lambda: Parallel(a=Compensatable(act, undo)),
    "group of none": Parallel,
    "group of something else": lambda: Parallel(a=act, b=act),
    "group inside a group": lambda: Parallel(
        a=Parallel(x=Compensatable(act, undo), y=Compensatable(act, undo)), b=Compensatable(act, undo)
    ),
    "pivot inside a group": lambda: Parallel(a=Pivot(act), b=Retriable(act)),
    "group step without action": lambda: Parallel(a=Compensatable(compensation=undo), b=Compensatable(act, undo)),
}


@pytest.mark.parametrize("mistake", BAD_STEPS)
def test_contradictory_step_is_refused(mistake: str) -> None:
    with pytest.raises(DefinitionError):
        BAD_STEPS[mistake]()


OK = Compensatable(act, undo)
BAD_DEFINITIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no steps": ({}, {}),
    "two pivots": ({}, {"a": Pivot(act), "b": Pivot(act)}),
    "compensatable after the pivot": ({}, {"a": Pivot(act), "b": OK}),
    "group of compensatables after the pivot": ({}, {"a": Pivot(act), "b": Parallel(x=OK, y=OK)}),
    "retriable without pivot": ({}, {"a": OK, "b": Retriable(act)}),
    "retriable before the pivot": ({}, {"a": Retriable(act), "b": Pivot(act)}),
    "mixed group before the pivot": ({}, {"a": Parallel(x=OK, y=Retriable(act)), "b": Pivot(act)}),
    "one name twice": ({}, {"x": OK, "g": Parallel(x=OK, y=OK)}),
    "step name in capitals": ({}, {"A": OK}),
    "step name with a colon": ({}, {"g": Parallel(**{"a:b": OK, "c": OK})}),
    "step name too long": ({}, {"a" * 61: OK}),
    "hook outside of Meta": ({}, {"a": OK, "on_closed": act}),
    "hook that is no function": ({"on_closed": "tell"}, {"a": OK}),
    "hook that takes nothing": ({"on_closed": lambda: None}, {"a": OK}),
    "hook that is a method of Meta": ({"on_closed": lambda self, closed: None}, {"a": OK}),
    "hook of a coroutine": ({"on_closed": report_async}, {"a": OK}),
    "deadline of a century": ({"deadline": timedelta(36_600)}, {"a": OK}),
    "settling refusal of a local step": ({}, {"a": Compensatable(act, undo, refusal_settles=True)}),
    "verification of a local step": ({}, {"a": Compensatable(act, undo, verify_after=timedelta(1))}),
    "name missing": ({"name": None}, {"a": OK}),
    "name with a space": ({"name": "my trip"}, {"a": OK}),
    "name too long": ({"name": "a" * 61}, {"a": OK}),
    "version zero": ({"version": 0}, {"a": OK}),
    "version that is true": ({"version": True}, {"a": OK}),
    "version as text": ({"version": "1"}, {"a": OK}),
    "unknown option": ({"timeout": 3}, {"a": OK}),
    "deadline of no length": ({"deadline": timedelta()}, {"a": OK}),
    "deadline as a number": ({"deadline": 60}, {"a": OK}),
    "input that is a dict": ({"input": dict}, {"a": OK}),
}


@pytest.mark.parametrize("mistake", BAD_DEFINITIONS)
def test_contradictory_definition_is_refused_and_not_registered(mistake: str) -> None:
    meta, body = BAD_DEFINITIONS[mistake]
    with pytest.raises(DefinitionError):
        declare(meta, **body)
    assert registry.find("trip", 1) is None


def test_definition_without_meta_is_refused() -> None:
    with pytest.raises(DefinitionError, match="Meta"):
        type("TripSaga", (SagaDefinition,), {"__module__": __name__, "a": OK})


def test_abstract_definition_is_not_registered() -> None:
    type("Base", (SagaDefinition,), {"__module__": __name__, "Meta": type("Meta", (), {"abstract": True})})
    assert registry.find("trip", 1) is None


@pytest.mark.parametrize("hook", [act, lambda closed: None, staticmethod(act), None, print])
def test_hook_is_declared_in_meta(hook: Any) -> None:
    found = declare({"on_closed": hook}, a=OK).on_closed
    assert found is (hook.__func__ if isinstance(hook, staticmethod) else hook)


def test_step_may_have_the_name_of_an_attribute_of_its_definition() -> None:
    names = ("name", "version", "input", "deadline", "steps", "digest", "step")
    saga = declare({"input": Trip}, **dict.fromkeys(names, OK), pivot=Pivot(act))
    assert [step.name for step in saga.steps] == [*names, "pivot"]
    assert (saga.name, saga.version, saga.input, saga.deadline) == ("trip", 1, Trip, None)
    assert saga.pivot() is saga.step("pivot")
    assert saga.step("step").name == "step"
    assert saga.step("input").kind is Kind.COMPENSATABLE


def test_steps_are_not_inherited_silently() -> None:
    first = declare(a=OK, b=OK)
    body = {"__module__": __name__, "Meta": type("Meta", (), {"name": "trip", "version": 2}), "b": OK, "c": OK}
    with pytest.raises(DefinitionError, match=r"does not repeat a of TripSaga: steps are not inherited"):
        type("LongTripSaga", (first,), dict(body))
    second = type("LongTripSaga", (first,), {**body, "a": OK})
    assert [step.name for step in second.steps] == ["b", "c", "a"]


def test_longest_durations_are_accepted() -> None:
    year = timedelta(days=366)
    saga = declare(
        {"deadline": 10 * year},
        a=Compensatable(act, undo, timeout=timedelta(days=24)),
        b=Compensatable(act, undo, external=True, timeout=year, verify_after=year),
    )
    assert [step.timeout for step in saga.steps] == [timedelta(days=24), year]


@pytest.mark.parametrize(
    "steps",
    [
        {"a": OK},
        {"a": Pivot(act)},
        {"a": Compensatable(compensation=undo)},
        {"g": Parallel(x=OK, y=OK)},
        {"g": Parallel(x=OK, y=OK), "p": Pivot(act)},
        {"p": Pivot(act), "g": Parallel(x=Retriable(act), y=Retriable(act))},
        {"a" * 60: Compensatable(act, nothing_to_undo)},
    ],
)
def test_smallest_definitions_are_accepted(steps: dict[str, Any]) -> None:
    assert declare(**steps) is registry.get("trip", 1)


def test_name_and_version_identify_one_class() -> None:
    first = declare(a=OK)
    assert declare(a=OK) is registry.get("trip", 1)  # imported again
    assert first is not registry.get("trip", 1)
    body = {"__module__": __name__, "Meta": type("Meta", (), {"name": "trip"}), "a": OK}
    with pytest.raises(DefinitionError, match="another name or version"):
        type("OtherSaga", (SagaDefinition,), body)
    second = declare({"version": 2}, a=OK)
    assert registry.latest("trip") is second
    assert [(d.name, d.version) for d in registry.all_definitions() if d.name == "trip"] == [("trip", 1), ("trip", 2)]


def test_unknown_definition_is_not_found() -> None:
    declare(a=OK)
    assert registry.find("trip", 2) is None
    with pytest.raises(DefinitionNotFound):
        registry.get("trip", 2)
    with pytest.raises(DefinitionNotFound):
        registry.latest("cruise")


def test_preserved_removes_inner_declarations() -> None:
    with registry.preserved():
        declare(a=OK)
        registry.forget("trip", 1)
        assert registry.find("trip", 1) is None
        declare(a=OK)
    assert registry.find("trip", 1) is None


def test_queues_are_those_of_the_steps() -> None:
    before = registry.queues()
    declare(a=Compensatable(act, undo, queue="slow"), b=OK)
    assert registry.queues() == before | {"slow"}


SAME_DIGEST = {
    "time-out": {"a": Compensatable(act, undo, timeout=timedelta(1))},
    "budget": {"a": Compensatable(act, undo, retry=RetryPolicy(attempts=9))},
    "queue": {"a": Compensatable(act, undo, queue="slow")},
    "code": {"a": Compensatable(lambda step: None, undo)},
    "refusals": {"a": Compensatable(act, undo, refuses_on=[No])},
    "business keys": {"a": Compensatable(act, undo, business_keys={"payment": "id"})},
}


@pytest.mark.parametrize("change", SAME_DIGEST)
def test_s10_digest_ignores(change: str) -> None:
    plain = declare({"input": Trip}, a=OK, b=OK).digest
    assert declare({"input": Trip}, **{**SAME_DIGEST[change], "b": OK}).digest == plain


OTHER_DIGEST: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "name of a step": ({}, {"a": OK, "c": OK}),
    "kind": ({}, {"a": OK, "b": Pivot(act)}),
    "order": ({}, {"b": OK, "a": OK}),
    "one more step": ({}, {"a": OK, "b": OK, "c": OK}),
    "group": ({}, {"g": Parallel(a=OK, b=OK)}),
    "participant": ({}, {"a": OK, "b": Compensatable(act, undo, participant="inventory")}),
    "external": ({}, {"a": OK, "b": Compensatable(act, undo, external=True)}),
    "done with the start": ({}, {"a": Compensatable(compensation=undo), "b": OK}),
    "input": ({"input": LongerTrip}, {"a": OK, "b": OK}),
    "no input": ({"input": None}, {"a": OK, "b": OK}),
    "name": ({"name": "cruise"}, {"a": OK, "b": OK}),
}


@pytest.mark.parametrize("change", OTHER_DIGEST)
def test_s10_digest_covers(change: str) -> None:
    plain = declare({"input": Trip}, a=OK, b=OK)
    meta, body = OTHER_DIGEST[change]
    changed = declare({"input": Trip, **meta}, **body)
    assert len(plain.digest) == 64
    assert changed.digest != plain.digest


def test_step_kinds_have_stable_stored_values() -> None:
    assert [kind.value for kind in Kind] == ["compensatable", "pivot", "retriable"]
