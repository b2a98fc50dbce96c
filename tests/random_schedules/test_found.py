"""Failures that the machine found, shrunk to the moves that matter."""

from collections.abc import Iterator

import pytest

from sagas.core.states import Hold
from sagas.testing import find_violations

from .machine import SagaMachine
from .scenarios import begin
from .specs import Place, StepSpec
from .stage import Does

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.usefixtures("apart")]


@pytest.fixture
def machine() -> Iterator[SagaMachine]:
    """Return a machine to drive by hand; at the end every saga must have ended correctly."""
    made = SagaMachine()
    yield made
    made.teardown()


def test_lease_that_outlives_its_definition_is_valid(machine: SagaMachine) -> None:
    # The check of I9 wanted a saga to be due before each lease expires; without its definition the lease must stay.
    saga = begin(machine, (StepSpec(place=Place.EXTERNAL),))
    machine.look(index=0, worker="A", script=[Does.DIES_BEFORE], waits=False)
    machine.deploy(index=0)
    machine.pass_time(seconds=120)

    machine.look(index=0, worker="A", script=[Does.WORKS], waits=False)

    saga.refresh_from_db(fields=["hold", "due_at"])
    assert saga.hold == Hold.DEFINITION_MISSING
    assert saga.due_at is not None
    assert saga.due_at > machine.clock.now
    assert find_violations(saga.pk) == []
    machine.deploy(index=0)
    assert find_violations(saga.pk) == []
