"""Results as stored: a step receives the same value whether or not a worker died in between."""

import enum
import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connections
from hypothesis import given, settings
from hypothesis import strategies as st

from sagas import InputRefused
from sagas.core.json_values import as_stored
from sagas.core.states import Hold, Outcome
from sagas.engine import advance
from sagas.testing import drain, outcomes_of

from .world import World, begin, define, step_of, work

pytestmark = pytest.mark.django_db(databases="__all__")


class Colour(enum.StrEnum):
    RED = "red"


RESULT = {
    "zone": {"10": "B", "9": "A"}, "pair": (1, (2, 3)), "big": 1e22, "small": 1e-9, "none": -0.0, "colour": Colour.RED,
}  # fmt: skip


def as_text(value: Any) -> str:
    """Write a value with its types and order, for comparison."""
    return json.dumps(value)


@pytest.mark.parametrize("options", [{}, {"external": True}, {"participant": "inventory"}])
def test_step_receives_the_same_result_before_and_after_a_crash(
    world: World, inventory_alias: str, options: dict[str, Any]
) -> None:
    trip = define(a=world.compensatable(**options), b=world.compensatable())
    seen = []
    for another_goes_on in (False, True):
        world.will("a", RESULT)
        world.will("b", lambda step, proceed: seen.append(dict(step.results["a"])) or proceed())
        saga = begin(trip)
        if another_goes_on:
            advance.advance(saga.pk, should_stop=_after(1))
        assert drain(saga).state == "completed"
    assert as_text(seen[0]) == as_text(seen[1]) == as_text(step_of(saga, "a").result)
    assert seen[0]["pair"] == [1, [2, 3]]
    assert type(seen[0]["colour"]) is str


def _after(claims: int) -> Any:
    left = iter([False] * claims)
    return lambda: next(left, True)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=4), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(VALUES)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_as_stored_is_what_jsonb_gives_back(value: Any) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT (%s::jsonb)::text", [json.dumps({"v": value})])
        found = json.loads(cursor.fetchone()[0])
    assert as_text(as_stored({"v": value}, "It", 100_000)) == as_text(found)


@pytest.mark.parametrize("result", [{"seats": {1: "A"}}, {1: "a", "1": "b"}, {"a": {None: 1}}])
def test_keys_that_are_not_strings_are_refused(world: World, result: Any) -> None:
    world.will("a", result)
    saga = world.begin(a=world.compensatable(external=True), b=world.compensatable())
    work(saga)
    step = step_of(saga, "a")
    assert (step.hold, step.result) == (Hold.MISCONFIGURED, None)
    assert outcomes_of(saga.pk, "a") == [Outcome.MISCONFIGURED]
    assert "keys of a JSON object are texts" in step.last_error


def test_result_nested_600_deep_is_misconfigured_after_one_call(world: World) -> None:
    deep: dict[str, Any] = {}
    for _ in range(600):
        deep = {"k": deep}
    world.will("a", deep)
    saga = world.begin(a=world.compensatable(external=True), b=world.compensatable())
    drain(saga)
    step = step_of(saga, "a")
    assert (step.hold, world.called("a"), world.count(saga, "a")) == (Hold.MISCONFIGURED, 1, 1)
    assert "nested deeper than 64 levels" in step.last_error


@dataclass(frozen=True)
class Seats:
    rows: dict[str, int]


def test_input_with_keys_that_are_not_strings_is_refused(world: World) -> None:
    with pytest.raises(InputRefused, match=r"Seats.rows has the key 1, a int"):
        begin(define(a=world.compensatable(), input=Seats), Seats(rows={1: 2}))  # type: ignore[dict-item]
