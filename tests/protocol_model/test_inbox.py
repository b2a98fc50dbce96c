"""Model of the inbox: right with all rules, and wrong without any one of them."""

import pytest

from .inbox import ALL_RULES, BEGINNING, LATER, RULES, Model, explore

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
def test_no_schedule_breaks_the_inbox(model: Model) -> None:
    found = explore(model)
    assert (found.violation, found.trace) == ("", ())
    assert found.states > 50_000


@pytest.mark.parametrize("rule", RULES)
def test_without_this_rule_the_inbox_is_wrong(rule: str) -> None:
    model, violation = WITHOUT[rule]
    found = explore(model._replace(rules=ALL_RULES - {rule}))
    assert found.violation == violation, found.trace
