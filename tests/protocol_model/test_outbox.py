"""Model of the outbox: right with all rules, and wrong without any one of them."""

import pytest

from .outbox import ALL_RULES, RULES, explore

WITHOUT = {
    "one transaction": "data committed without their event",
    "counter lock": "sent out of order: [2, 1]",
    "head first": "sent out of order: [2, 1]",
    "stop behind": "sent out of order: [2, 1]",
    "mark after": "never sent",
    "unknown again": "never sent",
    "lease ends": "never sent",
    "parked holds": "sent out of order: [2, 1]",
}


def test_no_schedule_breaks_the_outbox() -> None:
    found = explore(faults=3)
    assert (found.violation, found.trace) == ("", ())
    assert found.states > 5_000


@pytest.mark.parametrize("rule", RULES)
def test_without_this_rule_the_outbox_is_wrong(rule: str) -> None:
    found = explore(ALL_RULES - {rule})
    assert found.violation.startswith(WITHOUT[rule]), found.trace
