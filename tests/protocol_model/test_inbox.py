"""Model of the inbox: right with all rules, and wrong without any one of them."""

from pathlib import Path

import pytest

from .inbox import ALL_RULES, BEGINNING, LATER, RULES, Model, explore

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "protocol.md"
WITHOUT = {
    "one transaction": (LATER, "first has two effects"),
    "one row": (LATER, "first has two effects"),
    "acknowledge after": (LATER, "undo is left nowhere"),
    "key lock": (LATER, "first overtook second, which failed"),
    "check again": (LATER, "first has two effects"),
    "store first": (LATER, "undo is left nowhere"),
    "hold": (LATER, "second overtook first, which failed"),
    "undo passes": (LATER, "undo is left held"),
    "release": (LATER, "second is left held"),
    "not yet again": (BEGINNING, "answer is left not yet"),
    "not yet holds nothing": (BEGINNING, "begin is left held"),
    "not yet releases": (BEGINNING, "begin is left held"),
}


@pytest.mark.parametrize("model", [BEGINNING, LATER], ids=["beginning", "later"])
def test_inbox_is_right_with_all_rules(model: Model) -> None:
    found = explore(model)
    assert (found.violation, found.trace) == ("", ())
    assert f"{found.states:,}" in PAGE.read_text(), "the page shows other statistics"


@pytest.mark.parametrize("rule", RULES)
def test_without_this_rule_the_inbox_is_wrong(rule: str) -> None:
    model, violation = WITHOUT[rule]
    found = explore(model._replace(rules=ALL_RULES - {rule}))
    assert found.violation == violation, found.trace
