"""Model of the outbox: right with all rules, and wrong without any one of them."""

from pathlib import Path

import pytest

from .outbox import ALL_RULES, RULES, explore

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "protocol.md"
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


def test_outbox_is_right_with_all_rules() -> None:
    found = explore(faults=3)
    assert (found.violation, found.trace) == ("", ())
    assert f"{found.states:,}" in PAGE.read_text(), "the page shows other statistics"


@pytest.mark.parametrize("rule", RULES)
def test_without_this_rule_the_outbox_is_wrong(rule: str) -> None:
    found = explore(ALL_RULES - {rule})
    assert found.violation.startswith(WITHOUT[rule]), found.trace
