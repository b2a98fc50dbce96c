"""Without any one of its guarding rules the engine must be seen to break what it promises."""

import pytest

from .machine import SagaMachine
from .removals import REMOVALS

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.usefixtures("apart")]


def play(rule: str) -> None:
    """Make the moves of a rule, and see the saga end right."""
    machine = SagaMachine()
    try:
        REMOVALS[rule].play(machine)
    finally:
        machine.teardown()


@pytest.mark.parametrize("rule", REMOVALS)
def test_a_rule_keeps_its_story_from_going_wrong(rule: str) -> None:
    play(rule)


@pytest.mark.parametrize("rule", REMOVALS)
def test_without_a_rule_its_story_goes_wrong(rule: str) -> None:
    machine, removal = SagaMachine(), REMOVALS[rule]
    with machine.exits, removal.remove(), pytest.raises(removal.errors, match=removal.expected):
        removal.play(machine)
