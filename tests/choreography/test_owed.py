"""What is owed, against every world of the protocol: every order of delivery and outcome, with cancel at any time.

``protocol.py`` runs four participants by their own tables. On every set of events that a tracker may have recorded,
the saga must close exactly when no effect is there to be undone or may still come, and somebody must owe something
until it is decided. Each rule is then removed: some world must show it.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from sagas.choreography.owed import Debt, Rules, StepRule, judge_step, list_debts
from sagas.core.states import StepState

from .protocol import BACK, EFFECTS, World, explore

RULES = Rules(
    steps=(
        StepRule(name="payment", after=("Begun",), success=("Paid",), refusal=("Unpaid",), undone=("Refunded",)),
        StepRule(name="stock", after=("Paid",), success=("Stored",), refusal=("Short",), undone=("Released",)),
        StepRule(name="quote", after=("Stored",), success=("Quoted",), refusal=("Unserved",)),
        StepRule(
            name="confirmation", after=("Paid", "Stored", "Quoted"), success=("Confirmed",), is_pivot=True,
            is_undoable=False,
        ),
        StepRule(name="shipment", after=("Confirmed",), success=("Booked", "Gone"), is_undoable=False),
    ),
    begins_with="Begun",
    cancelled_by="Cancelled",
    senders={
        "Begun": "orders", "Confirmed": "orders", "Cancelled": "orders", "Paid": "payments", "Unpaid": "payments",
        "Refunded": "payments", "Stored": "inventory", "Short": "inventory", "Released": "inventory",
        "Gone": "inventory", "Quoted": "shipping", "Unserved": "shipping", "Booked": "shipping",
    },
)  # fmt: skip
EVENTS = sorted(RULES.senders)
Rule = Callable[[frozenset[str]], list[str]]


def as_model(seen: frozenset[str]) -> list[str]:
    """Return what is owed as the design's prototype writes it down, one sentence for each rule."""
    has = seen.__contains__
    rules = {
        "payment": not (has("Paid") or has("Unpaid")),
        "stock": has("Paid") and not (has("Stored") or has("Short")),
        "quote": has("Stored") and not (has("Quoted") or has("Unserved")),
        "decision": {"Paid", "Stored", "Quoted"} <= seen and not (has("Confirmed") or has("Cancelled")),
        "cancel": bool(seen & {"Unpaid", "Short", "Unserved"}) and not has("Cancelled"),
        "shipment": has("Confirmed") and not has("Booked"),
        "shipped": has("Confirmed") and not has("Gone"),
        "refund": has("Cancelled") and has("Paid") and not has("Refunded"),
        "release": has("Cancelled") and has("Stored") and not has("Released"),
    }
    return [name for name, is_owed in rules.items() if is_owed]


def name_debt(debt: Debt) -> str:
    """Return the prototype's name of a debt."""
    if debt.is_undoing:
        return {"Refunded": "refund", "Released": "release"}[debt.types[0]]
    if debt.step == "confirmation":
        return "decision" if "Confirmed" in debt.types else "cancel"
    return "shipped" if debt.types == ("Gone",) else debt.step


def subsets() -> Iterator[frozenset[str]]:
    """Yield every set of events that contains the beginning."""
    others = [name for name in EVENTS if name != "Begun"]
    for size in range(len(others) + 1):
        for chosen in itertools.combinations(others, size):
            yield frozenset({"Begun", *chosen})


def test_every_set_of_events_owes_what_the_prototype_says() -> None:
    found = {seen: {name_debt(debt) for debt in list_debts(RULES, seen)} for seen in subsets()}
    assert len(found) == 2 ** (len(EVENTS) - 1)
    # A refusal makes the one answer of the decision owed, so its two rules are one debt.
    wanted = {seen: set(as_model(seen)) for seen in found}
    merged = {seen: names - {"decision"} if "cancel" in names else names for seen, names in wanted.items()}
    assert found == merged


def by_rules(seen: frozenset[str]) -> list[str]:
    return [name_debt(debt) for debt in list_debts(RULES, seen)]


def find_harm(owed: Rule) -> dict[str, tuple[World, frozenset[str]]]:
    """Return, for each kind of harm, a world and what a tracker has recorded of it by then."""
    worlds, found = explore(), {}
    for world in worlds.all:
        said = sorted(world.said - {"Begun"})
        sets = (one for size in range(len(said) + 1) for one in itertools.combinations(said, size))
        for seen in (frozenset({"Begun", *chosen}) for chosen in sets):
            if owed(seen):
                continue
            if seen.isdisjoint({"Confirmed", "Cancelled"}):
                found["undecided, and nobody owes"] = world, seen
            if "Confirmed" in seen and world in worlds.unfinished:
                found["completed early"] = world, seen
            if "Cancelled" in seen and world in worlds.effective:
                found["compensated early"] = world, seen
        if world in worlds.ends and owed(world.said):
            found["never closed"] = world, world.said
    return found


def test_saga_closes_neither_early_nor_never_on_any_events_of_any_world() -> None:
    assert find_harm(by_rules) == {}
    assert len(explore().all) > 2_000


@pytest.mark.parametrize(
    ("rule", "harm"),
    [
        ("payment", {"undecided, and nobody owes", "compensated early"}),
        ("stock", {"undecided, and nobody owes", "compensated early"}),
        ("quote", {"undecided, and nobody owes"}),
        ("decision", {"undecided, and nobody owes"}),
        ("cancel", {"undecided, and nobody owes"}),
        ("shipment", {"completed early"}),
        ("shipped", {"completed early"}),
        ("refund", {"compensated early"}),
        ("release", {"compensated early"}),
    ],
)
def test_each_rule_is_needed(rule: str, harm: set[str]) -> None:
    assert find_harm(lambda seen: [name for name in by_rules(seen) if name != rule]).keys() == harm


def test_steps_follow_from_the_events() -> None:
    for seen in subsets():
        states = {step.name: judge_step(RULES, step, seen) for step in RULES.steps}
        for name, (done, undone) in EFFECTS.items():
            if done in seen and "Cancelled" in seen:
                assert states[name] is (StepState.COMPENSATED if undone in seen else StepState.COMPENSATING)
            elif done in seen:
                assert states[name] is StepState.SUCCEEDED
        owing = {debt.step for debt in list_debts(RULES, seen)}
        waiting = {name for name, state in states.items() if state in (StepState.WAITING, StepState.COMPENSATING)}
        assert waiting <= owing
        # Only a contradiction leaves a debt with a step that is at rest.
        assert owing == waiting or RULES.contradict(seen) or not seen.isdisjoint(BACK)


def test_contradictions_are_told_and_never_reached_by_participants_that_keep_the_tables() -> None:
    assert RULES.contradict({"Confirmed", "Cancelled"})
    assert RULES.contradict({"Booked", "Refunded"})
    assert not any(RULES.contradict(world.said) for world in explore().all)


def test_nobody_owes_what_nobody_sends() -> None:
    rules = replace(RULES, unsent=frozenset({"Gone", "Released"}))
    seen = {"Paid", "Stored", "Quoted", "Confirmed", "Booked"}
    assert list_debts(rules, seen) == []
    assert judge_step(rules, rules.steps[4], seen) is StepState.SUCCEEDED
    assert judge_step(rules, rules.steps[1], {"Paid", "Stored", "Cancelled"}) is StepState.SUCCEEDED
