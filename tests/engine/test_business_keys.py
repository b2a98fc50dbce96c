"""Business keys that a step's result adds to its saga, for searching."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sagas import OutcomeUnknown, RetryPolicy
from sagas.engine import advance
from sagas.models import Saga
from sagas.operators import operations
from sagas.operators.actor import Actor
from sagas.operators.queries.listing import find_saga

from .world import Refused, World, begin, define, states, work

pytestmark = pytest.mark.django_db(databases="__all__")

KEYS = {"payment": "reference"}


def keys_of(saga: Saga) -> dict[str, str]:
    return dict(saga.keys.values_list("name", "value"))


def test_success_adds_the_key_in_the_same_commit(world: World) -> None:
    saga = begin(define(a=world.compensatable(business_keys=KEYS), b=world.compensatable()), order="ORD-1")
    world.will("a", {"reference": "pi_17", "other": 1})
    world.will("b", Refused("no"))

    saga = work(saga)

    assert states(saga) == {"a": "compensated", "b": "refused"}
    assert keys_of(saga) == {"order": "ORD-1", "payment": "pi_17"}
    assert find_saga("pi_17", by_key=True) == saga.pk


def test_key_costs_no_statement(world: World) -> None:
    counts = []
    for name, keys in {"without": None, "with": KEYS}.items():
        world.will("a", {"reference": "pi_17"})
        saga = world.begin(name, a=world.compensatable(business_keys=keys))
        with CaptureQueriesContext(connection) as statements:
            advance.advance(saga.pk)
        counts.append(len(statements))

    assert counts[0] == counts[1]
    assert keys_of(saga)["payment"] == "pi_17"


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"reference": 17}, {"payment": "17"}),
        ({"reference": "x" * 120}, {"payment": "x" * 120}),
        ({"reference": "x" * 121}, {}),
        ({"reference": ""}, {}),
        ({"reference": None}, {}),
        ({"reference": True}, {}),
        ({"reference": ["pi_17"]}, {}),
        ({"reference": "4111 1111 1111 1111"}, {}),
        ({"other": "pi_17"}, {}),
        (None, {}),
    ],
)
def test_invalid_key_is_dropped_and_the_step_still_succeeds(
    world: World, result: Any, expected: dict[str, str]
) -> None:
    world.will("a", result)

    saga = work(world.begin(a=world.compensatable(business_keys=KEYS)))

    assert saga.state == "completed"
    assert keys_of(saga) == {"trip": "T-1", **expected}


def test_existing_key_is_replaced(world: World) -> None:
    world.will("a", {"reference": "pi_17"})

    saga = work(begin(define(a=world.compensatable(business_keys=KEYS)), payment="none yet"))

    assert keys_of(saga) == {"payment": "pi_17"}


def test_refused_step_adds_no_key(world: World) -> None:
    world.will("a", Refused("no"))

    assert keys_of(work(world.begin(a=world.compensatable(business_keys=KEYS)))) == {"trip": "T-1"}


def test_result_marked_by_an_operator_adds_the_key(world: World) -> None:
    world.will("a", OutcomeUnknown("no answer"))
    once = RetryPolicy(attempts=1, base=0.0, cap=0.0)
    saga = work(world.begin(a=world.pivot(external=True, retry=once, business_keys=KEYS)))
    assert keys_of(saga) == {"trip": "T-1"}

    operations.mark_succeeded(
        saga.pk,
        step="a",
        actor=Actor(name="ada", is_trusted=True),
        reason="Looked it up there",
        evidence="It is in the ledger",
        result={"reference": "pi_17"},
    )

    assert keys_of(saga) == {"trip": "T-1", "payment": "pi_17"}
