"""Negative controls: without any one of its rules, the engine visibly breaks its guarantees."""

import pytest

from .machine import SagaMachine
from .removals import REMOVALS

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.usefixtures("apart")]


def run_scenario(rule: str) -> None:
    """Run the scenario of a rule; the saga must end correctly."""
    machine = SagaMachine()
    try:
        REMOVALS[rule].play(machine)
    finally:
        machine.teardown()


@pytest.mark.parametrize("rule", REMOVALS)
def test_scenario_passes_with_every_rule(rule: str) -> None:
    run_scenario(rule)


@pytest.mark.parametrize("rule", REMOVALS)
def test_without_a_rule_its_scenario_fails(rule: str) -> None:
    machine, removal = SagaMachine(), REMOVALS[rule]
    with machine.exits, removal.remove(), pytest.raises(removal.errors, match=removal.expected):
        removal.play(machine)
