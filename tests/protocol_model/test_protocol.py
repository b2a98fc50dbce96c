"""Protocol model: it keeps its invariants in every schedule within the bounds, and needs each of its rules."""

import itertools
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sagas.core import planner
from sagas.core.outcomes import AttemptView, compute_effect
from sagas.core.planner import Claim, SagaView, StepView
from sagas.core.states import AbortRequest, Effect, Hold, Kind, Outcome, SagaState, StepState
from tests.depth import IS_FULL

from . import decisions
from .rows import Attempt, Model, Saga, Spec, State, Step
from .rules import ALL_RULES, CORE_RULES, RULES
from .search import explore
from .variants import (
    GROUP,
    LOOKS_TWICE,
    NEEDLESS,
    OPEN_KEYS,
    OPERATED,
    OWN_DATABASE,
    REMOVALS,
    RUNS,
    WORD,
    Run,
    complete,
    remove,
)

NOW = datetime(2024, 1, 1, tzinfo=UTC)
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "protocol.md"
# Runs that together take a few seconds; the full version searches all.
SMALL_RUNS = tuple(run for run in RUNS if run.states < 30_000)
ENDS = {"completed", "compensated", "running, held"}
ANY = Model(name="any", steps=(), rules=CORE_RULES, faults=0)


@pytest.mark.parametrize("run", RUNS if IS_FULL else SMALL_RUNS, ids=lambda run: run.model.name)
def test_no_schedule_breaks_an_invariant(run: Run) -> None:
    result = explore(run.model)
    sys.stdout.write(f"{run.model.name}: {result}\n")
    assert result.violation == "", str(result)
    assert result.states >= run.states
    assert result.transitions > result.states
    assert result.ends >= ENDS, "the search did not come to these endings"
    assert f"| {run.model.name} |" in PAGE.read_text()
    assert f"| {result.states:,} | {result.transitions:,} |" in PAGE.read_text(), "the page shows other statistics"
    assert all(end in ("completed", "compensated", "abandoned") or end.endswith(", held") for end in result.ends)


@pytest.mark.parametrize("run", RUNS if IS_FULL else SMALL_RUNS, ids=lambda run: run.model.name)
def test_all_rules_together_hinder_nothing(run: Run) -> None:
    result = explore(complete(run.model))
    sys.stdout.write(f"{run.model.name}, all rules: {result}\n")
    assert result.violation == "", str(result)
    assert result.ends >= ENDS, "the search did not come to these endings"
    shown = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {run.model.name} |"))
    assert shown.endswith(f"| {result.states:,} |"), "the page shows another statistic"


@pytest.mark.parametrize("rule", REMOVALS)
def test_without_this_rule_something_goes_wrong(rule: str) -> None:
    model, invariant = REMOVALS[rule]
    assert rule in model.rules
    result = explore(remove(model, rule), only=(invariant,))
    sys.stdout.write(f"Without {rule!r}: {result}\n")
    assert result.violation.startswith(f"{invariant}: ")
    shown = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {rule} |"))
    assert shown.endswith(f"({invariant}) | {len(result.trace)} |")


@pytest.mark.parametrize("rule", NEEDLESS)
def test_without_this_rule_nothing_goes_wrong(rule: str) -> None:
    for model in NEEDLESS[rule]:
        result = explore(remove(model, rule))
        assert result.violation == "", str(result)
        assert result.states > 1_000


def test_two_of_a_group_without_a_lock_overwrite_each_other() -> None:
    result = explore(remove(GROUP, "lock", "guarded write"))
    sys.stdout.write(f"Without lock and guarded write: {result}\n")
    assert any("reads the saga without a lock" in label for label in result.trace)
    assert result.violation.startswith("I4: ")


@pytest.mark.parametrize("model", [OPEN_KEYS, WORD], ids=lambda model: model.name)
def test_late_effect_is_lost_if_its_only_witness_dies(model: Model) -> None:
    result = explore(model._replace(may_lose_witness=True))
    assert result.violation == "I10: the saga is compensated, and authorize is still in effect"


def test_most_models_need_only_the_core_rules() -> None:
    lacking = {run.model.name: run.model.rules - CORE_RULES for run in RUNS}
    assert all(len(rules) <= 1 for rules in lacking.values())
    assert sum(not rules for rules in lacking.values()) >= 5


@pytest.mark.parametrize(
    ("model", "is_there"),
    [
        (LOOKS_TWICE._replace(faults=1), lambda state: any(step.epoch == 1 for step in state.saga.steps)),
        (OPEN_KEYS._replace(faults=2), lambda state: len(state.hands) == 3),
        (
            OWN_DATABASE._replace(faults=1),
            lambda state: ("key", "fenced") in state.sites[0].answers and state.saga.state == "compensated",
        ),
        (GROUP._replace(faults=1), lambda state: all(step.token is not None for step in state.saga.steps[:2])),
        (
            GROUP._replace(faults=1),
            lambda state: state.saga.abort == "deadline" and state.saga.steps[2].state == "unknown",
        ),
        (OPERATED._replace(faults=1), lambda state: state.saga.state == "abandoned" and state.saga.left == (0, 1)),
        (WORD._replace(faults=1), lambda state: state.saga.steps[1][:2] == ("refused", "contract_violation")),
        (WORD._replace(faults=1), lambda state: state.form is not None and not state.form.is_current),
    ],
)
def test_search_reaches_rare_states(model: Model, is_there: Callable[[State], bool]) -> None:
    result = explore(model, sample_every=1)
    assert result.violation == "", str(result)
    assert any(is_there(state) for state in result.samples)


def test_every_rule_is_removed_once_and_documented() -> None:
    page = PAGE.read_text()
    assert set(REMOVALS) | set(NEEDLESS) == ALL_RULES
    assert not set(REMOVALS) & set(NEEDLESS)
    assert [rule for rule in RULES if f"| {rule} |" not in page] == []


# --- the model decides as the engine does ---------------------------------------------------------------------------


@pytest.mark.parametrize("model", [GROUP, OPERATED, OWN_DATABASE, LOOKS_TWICE], ids=lambda model: model.name)
def test_model_plans_like_the_engine(model: Model) -> None:
    small = model._replace(faults=1)
    sagas = {state.saga for state in explore(small, sample_every=1).samples}
    assert len(sagas) > 100
    for saga in sagas:
        # Stored due times are sometimes dropped, so that steps waiting without one are compared, too.
        for seen in (saga, saga._replace(steps=tuple(step._replace(is_due=False) for step in saga.steps))):
            assert _plan_of_engine(small, seen) == decisions.plan(small, seen), seen


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.IN_PROGRESS])
@pytest.mark.parametrize("state", [SagaState.RUNNING, SagaState.COMPENSATING])
def test_model_changes_steps_like_the_engine(kind: Kind, outcome: Outcome, state: SagaState) -> None:
    for effect, is_spent in itertools.product((Effect.NONE, Effect.MAYBE, Effect.YES), (False, True)):
        theirs = planner.after_action(kind, outcome, effect=effect, is_budget_spent=is_spent, saga_state=state)
        ours = decisions.after_action(ANY, kind.value, outcome.value, effect.value, is_spent, state.value)
        assert ours == decisions.StepMove(
            state=theirs.state.value,
            hold=theirs.hold.value if theirs.hold else "",
            is_due=theirs.is_asked_again,
            turns_back=theirs.turns_back,
        )


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.IN_PROGRESS])
@pytest.mark.parametrize("must_verify", [False, True])
def test_model_changes_compensations_like_the_engine(outcome: Outcome, must_verify: bool) -> None:
    theirs = planner.after_compensation(outcome, is_budget_spent=False, must_verify=must_verify)
    ours = decisions.after_compensation(outcome.value, must_verify)
    assert (ours.state, ours.is_due) == (theirs.state.value, theirs.is_asked_again)
    assert ours.hold == (theirs.hold.value if theirs.hold else "")


def test_model_computes_effects_like_the_engine() -> None:
    ends = [(outcome, settles) for outcome in (None, *Outcome) for settles in (False, True)]
    ends = [(outcome, settles) for outcome, settles in ends if outcome is not Outcome.IN_PROGRESS]
    for sequence in itertools.product(ends, repeat=3):
        views = [AttemptView(outcome=end, effect=_effect_alone(end), covers_earlier=all_) for end, all_ in sequence]
        rows = [Attempt("action", 0, end.value if end else "", settles) for end, settles in sequence]
        assert decisions.compute_effect(rows) == compute_effect(views).value


def _effect_alone(outcome: Outcome | None) -> Effect:
    if outcome is Outcome.SUCCEEDED:
        return Effect.YES
    return Effect.MAYBE if outcome in (None, Outcome.UNKNOWN) else Effect.NONE


def _plan_of_engine(model: Model, saga: Saga) -> decisions.Plan:
    view = SagaView(
        state=SagaState(saga.state),
        steps=tuple(_view_of(spec, step) for spec, step in zip(model.steps, saga.steps, strict=True)),
        hold=Hold(saga.hold) if saga.hold else None,
        abort_request=AbortRequest(saga.abort) if saga.abort else None,
    )
    effects = {spec.name: Effect(decisions.effect_of(step)) for spec, step in zip(model.steps, saga.steps, strict=True)}
    plan = planner.plan(view, effects, NOW)
    decision = {SagaState.COMPLETED: "complete", SagaState.COMPENSATED: "finish compensating", None: ""}[plan.close]
    decision = "turn back" if plan.turn_back else "drop abort" if plan.drop_abort else decision
    names = [spec.name for spec in model.steps]
    return decisions.Plan(
        claims=tuple(_claim_of(names, claim) for claim in plan.claims),
        is_due=plan.due_at is not None,
        decision=decision,
    )


def _claim_of(names: list[str], claim: Claim) -> tuple[int, str]:
    return names.index(claim.step), claim.direction.value


def _view_of(spec: Spec, step: Step) -> StepView:
    return StepView(
        name=spec.name,
        rank=spec.rank,
        kind=Kind(spec.kind),
        state=StepState(step.state),
        hold=Hold(step.hold) if step.hold else None,
        due_at=NOW if step.is_due else None,
        lease_until=NOW + timedelta(seconds=30) if step.token is not None else None,
    )
