"""Explorer: runs a definition under every single fault, at every step, in both directions, and judges each result.

A run is right if it ends completed with exactly the effects of an undisturbed run, or compensated with none. It may
need an operator only at a pivot whose answer never arrives, or at a compensation that is refused or keeps failing. The
saga must then be held or ask for attention, and leave no more than an undisturbed run has at any moment. Trials that
are not possible at that moment, such as to cancel after the pivot, are counted separately.

Source: oxidecomputer/steno (run-twice and inject switches of its REPL), applied to every node in turn.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import QuerySet

from .. import clock
from ..conf import get_settings
from ..core.definition import registry
from ..core.states import Attention, Direction, SagaState
from ..models import Saga, SagaStep
from .drain import drain, read
from .faults import faults
from .invariants import find_violations
from .scenario import Scenario
from .transcripts import transcript
from .trials import PATIENCE, Trial, enumerate_trials, make_refusal

ROUNDS = 3  # attempts of a compensation beyond its budget after which its saga counts as left to an operator


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """End of one run, and whether it is right."""

    trial: Trial
    end: str
    """State at the end, with hold and attention."""
    effects: Mapping[str, int]
    """Effects that the saga left in the world, by name."""
    problems: tuple[str, ...]
    """Descriptions of what is wrong; empty if nothing is."""
    transcript: str
    """History of the saga."""
    was_reached: bool
    """Whether the fault acted at all."""
    was_possible: bool = True
    """Whether the operation or the passing deadline was possible at that moment."""

    @property
    def is_wrong(self) -> bool:
        """Whether the fault was not reached, or the run ended wrongly."""
        return not self.was_reached or bool(self.problems)

    @property
    def is_right(self) -> bool:
        """Whether the fault acted and the run ended as it should."""
        return self.was_possible and not self.is_wrong


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """All verdicts on one definition."""

    definition: str
    baseline: Mapping[str, int]
    """Effects that an undisturbed run leaves."""
    verdicts: tuple[Verdict, ...]

    @property
    def wrong(self) -> tuple[Verdict, ...]:
        """Wrong verdicts, the shortest transcript first."""
        found = [verdict for verdict in self.verdicts if verdict.is_wrong]
        return tuple(sorted(found, key=lambda verdict: len(verdict.transcript.splitlines())))

    @property
    def not_possible(self) -> tuple[Verdict, ...]:
        """Verdicts on operations that were not possible: these trials only showed the refusal."""
        return tuple(verdict for verdict in self.verdicts if not verdict.was_possible and not verdict.is_wrong)


def explore(scenario: Scenario, *, report: Callable[[Verdict], None] = lambda verdict: None) -> Exploration:
    """Run every trial of a scenario.

    ``report`` is called after each trial, for progress.
    Raises: AssertionError if even the undisturbed run does not complete.
    Tx: must not be inside one; needs a test database, because its rows stay.
    """
    baseline, most = _run_baseline(scenario)
    verdicts = []
    for trial in enumerate_trials(scenario):
        verdict = _try(scenario, trial, baseline, most)
        verdicts.append(verdict)
        report(verdict)
    return Exploration(definition=scenario.definition.name, baseline=baseline, verdicts=tuple(verdicts))


def assert_explored(scenario: Scenario) -> Exploration:
    """Explore a scenario in a test.

    Returns: the exploration.
    Raises: AssertionError with the shortest counterexample.
    """
    exploration = explore(scenario)
    if exploration.wrong:
        raise AssertionError(describe(exploration.wrong[0]) + f"\n({len(exploration.wrong)} trials went wrong.)")
    return exploration


def describe(verdict: Verdict) -> str:
    """Return a verdict with its transcript as text."""
    trial = verdict.trial
    left = ", ".join(f"{name} {count}" for name, count in verdict.effects.items() if count) or "nothing"
    problems = list(verdict.problems) or ["the fault was never reached"]
    return "\n".join(
        [
            f"{trial.step} ({trial.direction.value}), {trial.fault}: {verdict.end}; left: {left}",
            *(f"  wrong: {problem}" for problem in problems),
            *(f"    {line}" for line in verdict.transcript.splitlines()),
        ]
    )


def _run_baseline(scenario: Scenario) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Run a saga without any fault.

    Returns: the effects at the end, and the highest count of each effect at any moment.
    """
    started, most = scenario.start(), dict[str, int]()

    def observe() -> None:
        for name, count in scenario.look(read(started.pk)).items():
            most[name] = max(count, most.get(name, 0))

    with faults(must_be_reached=False) as planted:
        for step in scenario.definition.steps:
            planted.delay(step.name, timedelta(), meanwhile=observe)
        saga = drain(started, patience=PATIENCE)
    if saga.state != SagaState.COMPLETED:
        raise AssertionError(f"The undisturbed run ends {saga.state}; it must complete.\n{transcript(saga)}")
    observe()
    return dict(scenario.look(saga)), most


def _try(scenario: Scenario, trial: Trial, baseline: Mapping[str, int], most: Mapping[str, int]) -> Verdict:
    with clock.restored():
        saga = scenario.start()
        with faults(must_be_reached=False) as planted:
            if trial.turns_back_at is not None:
                step = scenario.definition.step(trial.turns_back_at)
                planted.refuse(step.name, make_refusal(scenario, step))
            trial.plant(planted, saga)
            saga = drain(saga, patience=PATIENCE, until=_fails_for_ever)
            fault = planted.planted[-1]
    effects = dict(scenario.look(saga))
    return Verdict(
        trial=trial,
        end=_describe_end(saga),
        effects=effects,
        problems=tuple(_judge(saga, trial, effects, baseline, most)),
        transcript=transcript(saga),
        was_reached=fault.reached > 0,
        was_possible=fault.was_possible,
    )


def _judge(
    saga: Saga, trial: Trial, effects: Mapping[str, int], baseline: Mapping[str, int], most: Mapping[str, int]
) -> Iterator[str]:
    yield from find_violations(saga.pk)
    if saga.state == SagaState.COMPLETED:
        for name in sorted({*effects, *baseline}):
            if effects.get(name, 0) != baseline.get(name, 0):
                yield f"completed with {name} {effects.get(name, 0)}, an undisturbed run leaves {baseline.get(name, 0)}"
    elif saga.state == SagaState.COMPENSATED:
        for name, count in sorted(effects.items()):
            if count:
                yield f"compensated, but {name} {count} is left"
    elif not trial.may_need_operator:
        yield "needs an operator, although the fault was temporary"
    else:
        if not saga.attention and not saga.hold and not any(step.hold for step in _select_steps(saga)):
            yield "is stuck, but has no hold and asks for no attention"
        for name, count in sorted(effects.items()):
            if count > most.get(name, 0):
                yield f"{name} {count} is left, an undisturbed run has at most {most.get(name, 0)}"


def _select_steps(saga: Saga) -> QuerySet[SagaStep]:
    return SagaStep.objects.using(get_settings().database).filter(saga_id=saga.pk)


def _fails_for_ever(saga: Saga) -> bool:
    """Return whether every failing compensation was attempted ROUNDS times beyond its budget."""
    if Attention.COMPENSATION_FAILING.value not in saga.attention:
        return False
    definition = registry.get(saga.definition, saga.version)
    failing = _select_steps(saga).filter(attention=Attention.COMPENSATION_FAILING.value)
    return all(
        step.budget_used >= get_settings().policy(definition.step(step.name), Direction.COMPENSATION).attempts + ROUNDS
        for step in failing
    )


def _describe_end(saga: Saga) -> str:
    holds = [saga.hold] if saga.hold else []
    holds += [step.hold for step in _select_steps(saga) if step.hold]
    return ", ".join([saga.state, *(f"held: {hold}" for hold in holds), *saga.attention])
