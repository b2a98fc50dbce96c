"""Explorer: passes a sound definition and finds each common mistake of users."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from pytest_django import Settings

from sagas import Compensatable, Fenced, Pivot, Retriable, RetryPolicy, SagaDefinition, StepContext
from sagas.core.definition import registry
from sagas.core.states import Direction
from sagas.engine import advance
from sagas.models import Saga
from sagas.testing import Scenario, assert_explored, drain, explore, explorer, render_exploration
from sagas.testing.trials import enumerate_trials
from sagas.testing.verdicts import as_rows

pytestmark = pytest.mark.django_db(transaction=True)

Context = StepContext[None]


class SoldOut(Exception):
    """The airline has no seat left."""


class Flown(Exception):
    """The seat was used; its constructor asks for more than a text."""

    def __init__(self, *, seat: str) -> None:
        super().__init__(seat)


class Airline:
    """Airline that holds seats, sells tickets and honours idempotency keys."""

    def __init__(self) -> None:
        self.held: Counter[str] = Counter()
        self.closed: set[str] = set()
        self.sold: Counter[str] = Counter()

    def hold(self, key: str) -> str:
        """Hold one seat under the key, once; refuse a closed key."""
        if key in self.closed:
            raise Fenced(f"{key} is closed.")
        self.held[key] = 1
        return f"seat of {key}"

    def drop(self, key: str) -> None:
        """Drop what is held under the key and close it."""
        self.closed.add(key)
        self.held[key] = 0

    def sell(self, key: str) -> None:
        """Sell the ticket, once."""
        self.sold[key] = 1


airline = Airline()


def hold(step: Context) -> dict[str, Any]:
    return {"seat": airline.hold(step.key)}


def drop(step: Context) -> None:
    airline.drop(step.key)


def pay(step: Context) -> None:
    airline.sell(step.key)


def print_ticket(step: Context) -> None:
    """Print, as a local step without an effect."""


def drop_what_the_result_names(step: Context) -> None:
    """Mistake: works only if the result arrived."""
    airline.drop(step.results["hold_seat"]["seat"].removeprefix("seat of "))


def hold_without_key(step: Context) -> dict[str, Any]:
    """Mistake: holds one more seat with every call."""
    airline.held[step.key] += 1
    return {"seat": step.key}


def pay_without_key(step: Context) -> None:
    """Mistake: sells one more ticket with every call."""
    airline.sold[step.key] += 1


def drop_and_complain(step: Context) -> None:
    """Mistake: treats nothing to undo as an error."""
    if not airline.held[step.key]:
        raise LookupError(f"There is no seat under {step.key}.")
    airline.drop(step.key)


def drop_without_closing(step: Context) -> None:
    """Mistake: leaves the key open, so a late call after the compensation holds a seat again."""
    airline.held[step.key] = 0


def forget_to_drop(step: Context) -> None:
    """Mistake: reports success without doing anything."""


def make_scenario(
    action: Callable[[Context], Any] = hold,
    compensation: Callable[[Context], Any] = drop,
    *,
    external: bool = True,
    payment: Callable[[Context], Any] = pay,
) -> Scenario:
    class TripSaga(SagaDefinition):
        hold_seat = Compensatable(
            action, compensation, external=external, refuses_on=[SoldOut], compensation_refuses_on=[Flown]
        )
        pay_ticket = Pivot(payment, external=True, refuses_on=[SoldOut], refusal_settles=True)
        issue_ticket = Retriable(print_ticket)

        class Meta:
            name = "explored-trip"

    def look(saga: Saga) -> Mapping[str, int]:
        return {
            "seats held": airline.held[f"{saga.pk}:hold_seat"],
            "tickets sold": airline.sold[f"{saga.pk}:pay_ticket"],
        }

    return Scenario(definition=TripSaga, start=lambda: advance.start(TripSaga), look=look)


@pytest.fixture(autouse=True)
def _empty_world() -> Iterator[None]:
    airline.__init__()  # type: ignore[misc]
    with registry.preserved():
        yield


def test_sound_definition_passes_every_trial() -> None:
    exploration = assert_explored(make_scenario())
    assert exploration.wrong == ()
    assert exploration.baseline == {"seats held": 1, "tickets sold": 1}
    tried = {(row["step"], row["direction"]) for row in as_rows(exploration)}
    assert tried == {
        ("hold_seat", "action"),
        ("hold_seat", "compensation"),
        ("pay_ticket", "action"),
        ("issue_ticket", "action"),
    }


@pytest.mark.parametrize(
    ("mistake", "scenario", "found_by"),
    [
        pytest.param(
            "a compensation that needs the result",
            {"compensation": drop_what_the_result_names},
            "answer lost forever",
            marks=pytest.mark.full,
        ),
        pytest.param(
            "an action that is not idempotent", {"action": hold_without_key}, "answer lost once", marks=pytest.mark.full
        ),
        ("an external step declared local", {"action": hold_without_key, "external": False}, "dies after"),
        ("a compensation that fails on nothing to do", {"compensation": drop_and_complain}, "nothing to undo"),
        pytest.param(
            "a compensation that leaves the key open",
            {"compensation": drop_without_closing},
            "late call, then dies",
            marks=pytest.mark.full,
        ),
        pytest.param(
            "a compensation that does nothing", {"compensation": forget_to_drop}, "cancelled", marks=pytest.mark.full
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_common_mistake_is_found(mistake: str, scenario: dict[str, Any], found_by: str) -> None:
    exploration = explore(make_scenario(**scenario))
    wrong = {verdict.trial.fault for verdict in exploration.wrong}
    assert found_by in wrong, f"{mistake} was found only by {sorted(wrong)}"


def test_shortest_counterexample_is_a_transcript() -> None:
    exploration = explore(make_scenario(compensation=forget_to_drop))
    text = render_exploration(exploration)
    shortest = min(len(verdict.transcript.splitlines()) for verdict in exploration.wrong)
    assert len(exploration.wrong[0].transcript.splitlines()) == shortest
    assert f"{len(exploration.verdicts)} trials, {len(exploration.wrong)} wrong, " in text
    assert "compensated, but seats held 1 is left" in text
    assert "saga_compensated | compensating > compensated" in text


def test_definition_that_cannot_complete_is_reported() -> None:
    def always_sold_out(step: Context) -> None:
        raise SoldOut("sold out")

    with pytest.raises(AssertionError, match="The undisturbed run ends compensated"):
        explore(make_scenario(action=always_sold_out))


def test_trial_whose_fault_was_not_reached_is_wrong() -> None:
    scenario = make_scenario()
    started = dataclasses.replace(scenario, start=lambda: drain(scenario.start()))

    exploration = explore(started)

    assert exploration.verdicts
    assert exploration.wrong
    assert len(exploration.wrong) == len(exploration.verdicts)
    assert not any(verdict.was_reached or verdict.is_right or verdict.problems for verdict in exploration.verdicts)
    assert "wrong: the fault was never reached" in render_exploration(exploration)
    with pytest.raises(AssertionError, match="the fault was never reached"):
        assert_explored(started)


def test_impossible_trials_are_counted_separately() -> None:
    exploration = assert_explored(make_scenario())

    refused = {(v.trial.step, v.trial.direction.value, v.trial.fault) for v in exploration.not_possible}
    assert {fault for step, _, fault in refused if step == "issue_ticket"} == {
        "cancelled", "compensation forced", "deadline passes",
    }  # fmt: skip
    # The definition has no deadline, and a compensating saga cannot be cancelled again.
    assert {(step, way) for step, way, fault in refused if fault == "deadline passes"} == {
        ("hold_seat", "action"), ("pay_ticket", "action"), ("issue_ticket", "action"), ("hold_seat", "compensation"),
    }  # fmt: skip
    assert ("hold_seat", "compensation", "cancelled") in refused
    assert ("hold_seat", "action", "cancelled") not in refused
    assert not any(verdict.is_right for verdict in exploration.not_possible)
    assert f"0 wrong, {len(refused)} not possible." in render_exploration(exploration)
    rows = [row for row in as_rows(exploration) if not row["was_possible"]]
    assert len(rows) == len(refused)


def test_operators_act_at_every_step_in_both_directions() -> None:
    tried = {(t.step, t.direction.value, t.fault) for t in enumerate_trials(make_scenario())}

    acts = ("cancelled", "compensation forced", "paused and resumed", "deadline passes")
    places = [("hold_seat", "action"), ("pay_ticket", "action"), ("issue_ticket", "action")]
    assert {(*place, act) for place in [*places, ("hold_seat", "compensation")] for act in acts} <= tried


def test_refused_or_failing_compensation_waits_for_an_operator() -> None:
    exploration = assert_explored(make_scenario())

    ends = {
        verdict.trial.fault: verdict.end
        for verdict in exploration.verdicts
        if verdict.trial.direction is Direction.COMPENSATION and verdict.trial.may_need_operator
    }
    assert ends == {
        "refused": "compensating, held: compensation_refused",
        "keeps failing": "compensating, compensation_failing",
    }


def test_explorer_gives_up_on_a_compensation_retried_every_few_seconds(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = RetryPolicy(attempts=4, base=0.5, cap=4, after_budget=30)
    settings.SAGAS = {**settings.SAGAS, "COMPENSATION_RETRY": policy}
    scenario = make_scenario()
    wanted = [trial for trial in enumerate_trials(scenario) if trial.fault == "keeps failing"]
    monkeypatch.setattr(explorer, "enumerate_trials", lambda _scenario: iter(wanted))

    [failing] = assert_explored(scenario).verdicts

    assert failing.end == "compensating, compensation_failing"
    assert failing.transcript.count("compensation_claimed") == policy.attempts + explorer.ROUNDS


def test_duplicate_effect_is_found_where_an_operator_may_be_needed() -> None:
    exploration = explore(make_scenario(payment=pay_without_key))

    problems = {v.trial.fault: v.problems for v in exploration.wrong if v.trial.may_need_operator}
    assert problems.keys() == {"answer lost forever"}
    [problem] = problems["answer lost forever"]
    assert problem.startswith("tickets sold ")
    assert problem.endswith(" is left, an undisturbed run has at most 1")
