"""Run a definition under every single fault, at every step, in both directions, and judge where each run ends.

What is enumerated for each step, as far as it can happen to it: a refusal; an attempt that failed without an effect; a
worker that dies before and after the function; an answer that is lost once, for ever, or that was never asked for; an
external function that runs twice; a local one that is rolled back (it commits once, with the record of it); an answer
that comes after another worker took over; a call that comes after everything was undone; a deadline; and an operator
who cancels, forces compensation, or pauses and resumes. On the way back also a compensation that is refused, or that
keeps failing.

A run is right when it ends completed with exactly the effects of an undisturbed run, or compensated with none. A
person may be asked only where nobody can know or help, at a pivot whose answer never comes or a compensation that is
refused or keeps failing; the saga must then say so, and leave no more than an undisturbed run has at any moment. What a
person or the clock cannot do at that moment, such as to cancel after the pivot, is counted apart.

Source: oxidecomputer/steno (run-twice and inject switches of its REPL), applied to every node in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from threading import Thread
from typing import Any

from django.db import connections
from django.db.models import QuerySet

from .. import clock, operations, registry
from ..actors import Actor
from ..conf import get_settings
from ..exceptions import OperationRefused, OutcomeUnknown, RetryLater
from ..models import Saga, SagaStep
from ..participants import runs_in_engine_database
from ..states import Attention, Direction, Kind, SagaState
from ..steps import Step
from .drain import drain, look, pass_time, read
from .faults import Faults, faults
from .invariants import find_violations
from .scenario import Scenario
from .transcripts import transcript

ALWAYS = 10_000  # more attempts than any budget
PATIENCE = timedelta(hours=6)  # several hourly rounds of a compensation that keeps failing
ROUNDS = 3  # so often is a compensation tried beyond its budget before its saga counts as left to a person
EXPLORER = Actor(name="explorer", is_trusted=True)
REASON = "The explorer tries this."

Plant = Callable[[Faults, Saga], None]
Act = Callable[[Saga], bool]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Name one run: which fault, at which step, in which direction."""

    fault: str
    """In words, as the table shows it."""
    step: str
    direction: Direction
    plant: Plant
    """Plants the fault for a saga that was just started."""
    turns_back_at: str | None = None
    """The step that is refused so that compensations run at all."""
    may_need_person: bool = False
    """Whether nobody but a person can know the outcome."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Say where one run ended, and whether that is right."""

    trial: Trial
    end: str
    """State at the end, with hold and attention."""
    effects: Mapping[str, int]
    """What the saga left in the world."""
    problems: tuple[str, ...]
    """What is wrong; empty when nothing is."""
    transcript: str
    """The saga's history."""
    was_reached: bool
    """Whether the fault acted at all."""
    was_possible: bool = True
    """Whether the person or the clock could do at that moment what was tried."""

    @property
    def is_wrong(self) -> bool:
        """Tell whether the fault was not reached, or the run ended as it must not."""
        return not self.was_reached or bool(self.problems)

    @property
    def is_right(self) -> bool:
        """Tell whether the fault acted and the run ended as it should."""
        return self.was_possible and not self.is_wrong


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """Hold every verdict on one definition."""

    definition: str
    baseline: Mapping[str, int]
    """What an undisturbed run leaves."""
    verdicts: tuple[Verdict, ...]

    @property
    def wrong(self) -> tuple[Verdict, ...]:
        """Return the verdicts that are wrong, the shortest transcript first."""
        found = [verdict for verdict in self.verdicts if verdict.is_wrong]
        return tuple(sorted(found, key=lambda verdict: len(verdict.transcript.splitlines())))

    @property
    def not_possible(self) -> tuple[Verdict, ...]:
        """Return the verdicts on what could not be done, so that nothing but its refusal was shown."""
        return tuple(verdict for verdict in self.verdicts if not verdict.was_possible and not verdict.is_wrong)


def explore(scenario: Scenario, *, report: Callable[[Verdict], None] = lambda verdict: None) -> Exploration:
    """Run every trial of a scenario.

    ``report`` is called after each trial, for progress.
    Raises: AssertionError when even the undisturbed run does not complete.
    Tx: must not be inside one; needs a test database, for its rows stay.
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


def enumerate_trials(scenario: Scenario) -> Iterator[Trial]:
    """Yield every trial of a definition, forward in order, then backward."""
    for step in scenario.definition.steps:
        if step.action is not None:
            yield from _forward_trials(scenario, step)
    turning = _turning_step(scenario)
    if turning is None:
        return
    for step in reversed(scenario.definition.steps):
        if step.compensation is not None and step.position < turning.position and step.rank < turning.rank:
            yield from _backward_trials(scenario, step, turning.name)


def _forward_trials(scenario: Scenario, step: Step) -> Iterator[Trial]:
    def trial(fault: str, plant: Plant, *, may_need_person: bool = False) -> Trial:
        return Trial(
            fault=fault, step=step.name, direction=Direction.ACTION, plant=plant, may_need_person=may_need_person
        )

    is_pivot, is_compensatable = step.kind is Kind.PIVOT, step.kind is Kind.COMPENSATABLE
    if step.refuses_on and step.kind is not Kind.RETRIABLE:
        yield trial("refused", lambda f, _: f.refuse(step.name, _refusal(scenario, step)))
    yield trial("retry once", lambda f, _: f.refuse(step.name, RetryLater("explored")))
    if step.kind is not Kind.RETRIABLE:
        yield trial("retries spent", lambda f, _: f.refuse(step.name, RetryLater("explored"), times=ALWAYS))
    yield trial("dies before", lambda f, _: f.crash_before(step.name))
    yield trial("dies after", lambda f, _: f.crash_after(step.name))
    yield from _repeat_trials(scenario, step, trial, Direction.ACTION)
    if step.external:
        yield from _unknown_trials(step, trial, is_pivot)
    if step.external or not runs_in_engine_database(scenario.definition, step):
        yield trial("late answer", lambda f, saga: _overtake(f, saga, step, Direction.ACTION))
        if is_compensatable:
            yield trial("late call", lambda f, saga: _compensate_meanwhile(f, saga, step, before=True))
            yield trial(
                "late call, then dies",
                lambda f, saga: _compensate_meanwhile(f, saga, step, before=True, then_crash=True),
            )
            yield trial("undone meanwhile", lambda f, saga: _compensate_meanwhile(f, saga, step, before=False))
    yield from _person_trials(step, trial, Direction.ACTION)


def _repeat_trials(
    scenario: Scenario, step: Step, trial: Callable[..., Trial], direction: Direction
) -> Iterator[Trial]:
    """Yield how a function can run again after it did its work.

    Twice with both effects kept: an external one alone. A local one commits once, with the engine's record or with a
    barrier row, but may be rolled back before; in a database of its own a worker can also die between its function and
    that commit.
    """
    if step.external:
        yield trial("runs twice", lambda f, _: f.repeat(step.name, direction=direction))
        return
    yield trial("rolled back once", lambda f, _: f.roll_back(step.name, direction=direction))
    if not runs_in_engine_database(scenario.definition, step):
        yield trial("dies before its commit", lambda f, _: f.crash_before_commit(step.name, direction=direction))


def _unknown_trials(step: Step, trial: Callable[..., Trial], is_pivot: bool) -> Iterator[Trial]:
    yield trial("answer lost once", lambda f, _: f.lose_answer(step.name))
    yield trial("no answer, not done, once", lambda f, _: f.refuse(step.name, OutcomeUnknown("explored")))
    if step.kind is not Kind.RETRIABLE:
        yield trial(
            "answer lost for ever", lambda f, _: f.lose_answer(step.name, times=ALWAYS), may_need_person=is_pivot
        )
        yield trial(
            "no answer, not done, for ever",
            lambda f, _: f.refuse(step.name, OutcomeUnknown("explored"), times=ALWAYS),
            may_need_person=is_pivot,
        )


def _person_trials(step: Step, trial: Callable[..., Trial], direction: Direction) -> Iterator[Trial]:
    """Yield what a person or the clock does while a step is under way."""
    acts = (("cancelled", _cancel), ("compensation forced", _force), ("paused and resumed", _pause))
    for name, act in (*acts, ("deadline passes", _pass_deadline)):
        yield trial(name, lambda f, saga, act=act: f.attempt(step.name, lambda: _apart(act, saga), direction=direction))


def _backward_trials(scenario: Scenario, step: Step, turning: str) -> Iterator[Trial]:
    back = Direction.COMPENSATION

    def trial(fault: str, plant: Plant, *, may_need_person: bool = False) -> Trial:
        return Trial(
            fault=fault, step=step.name, direction=back, plant=plant, turns_back_at=turning,
            may_need_person=may_need_person,
        )  # fmt: skip

    if step.compensation_refuses_on:
        refusal = _make_bare(step.compensation_refuses_on[0])
        yield trial("refused", lambda f, _: f.refuse(step.name, refusal, direction=back), may_need_person=True)
    yield trial(
        "keeps failing",
        lambda f, _: f.refuse(step.name, RetryLater("explored"), direction=back, times=ALWAYS),
        may_need_person=True,
    )

    yield trial("retry once", lambda f, _: f.refuse(step.name, RetryLater("explored"), direction=back))
    yield trial("dies before", lambda f, _: f.crash_before(step.name, direction=back))
    yield trial("dies after", lambda f, _: f.crash_after(step.name, direction=back))
    yield from _repeat_trials(scenario, step, trial, back)
    if step.external:
        yield trial("answer lost once", lambda f, _: f.lose_answer(step.name, direction=back))
    if step.external or not runs_in_engine_database(scenario.definition, step):
        yield trial("late answer", lambda f, saga: _overtake(f, saga, step, back))
    if step.external and step.action is not None:
        yield trial("nothing to undo", lambda f, _: _never_done(f, step))
    yield from _person_trials(step, trial, back)


def _turning_step(scenario: Scenario) -> Step | None:
    """Return the last step that can be refused, so that as much as possible has to be compensated."""
    candidates = [step for step in scenario.definition.steps if step.refuses_on and step.kind is not Kind.RETRIABLE]
    return candidates[-1] if candidates else None


def _refusal(scenario: Scenario, step: Step) -> Exception:
    if step.name in scenario.refusals:
        return scenario.refusals[step.name]
    return step.refuses_on[0]("explored")


def _make_bare(kind: type[Exception]) -> Exception:
    """Make an exception of a class without what its constructor asks for: a compensation's refusal is only held."""
    return kind.__new__(kind, "explored")


def _run_baseline(scenario: Scenario) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Run undisturbed.

    Returns: what is left in the end, and the most that there was of each effect at any moment.
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
                planted.refuse(step.name, _refusal(scenario, step))
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
    elif not trial.may_need_person:
        yield "needs a person, although the fault was passing"
    else:
        if not saga.attention and not saga.hold and not any(step.hold for step in _select_steps(saga)):
            yield "stands still and asks nobody"
        for name, count in sorted(effects.items()):
            if count > most.get(name, 0):
                yield f"{name} {count} is left, an undisturbed run has at most {most.get(name, 0)}"


def _select_steps(saga: Saga) -> QuerySet[SagaStep]:
    return SagaStep.objects.using(get_settings().database).filter(saga_id=saga.pk)


def _fails_for_ever(saga: Saga) -> bool:
    """Tell whether a compensation has spent its budget and was tried on, as soon as the project's settings say."""
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


def _overtake(planted: Faults, saga: Saga, step: Step, direction: Direction) -> None:
    """Let a worker freeze with its answer in hand until another one has asked again and got it."""
    pause = _longer_than_lease(step, direction)
    planted.delay(step.name, pause, direction=direction, meanwhile=lambda: look(saga.pk, worker="other"))


def _compensate_meanwhile(planted: Faults, saga: Saga, step: Step, *, before: bool, then_crash: bool = False) -> None:
    """Let a worker freeze around its call until its lease is over, the saga is forced back and everything is undone."""

    def meanwhile() -> None:
        look(saga.pk, worker="other", queues=frozenset())
        _force(saga)
        drain(saga, patience=PATIENCE)

    pause = _longer_than_lease(step, Direction.ACTION)
    planted.delay(step.name, pause, before=before, meanwhile=meanwhile, then_crash=then_crash)


def _apart(act: Act, saga: Saga) -> bool:
    """Act on connections of its own, as a person does: a local step is inside a transaction.

    Returns: whether it was possible.
    """
    done: list[bool | BaseException] = []

    def run() -> None:
        try:
            done.append(act(saga))
        except BaseException as error:  # noqa: BLE001 - told to who waits for the thread
            done.append(error)
        finally:
            connections.close_all()

    thread = Thread(target=run)
    thread.start()
    thread.join()
    [result] = done
    if isinstance(result, BaseException):
        raise AssertionError(f"An act of a person failed: {result}") from result
    return result


def _never_done(planted: Faults, step: Step) -> None:
    """Let every attempt of the action end unknown without having happened, so that the compensation finds nothing."""
    planted.refuse(step.name, OutcomeUnknown("explored"), times=ALWAYS)


def _longer_than_lease(step: Step, direction: Direction) -> timedelta:
    settings = get_settings()
    return settings.attempt_timeout(step, direction) + settings.lease_margin + timedelta(seconds=60)


def _cancel(saga: Saga) -> bool:
    return _try_operation(lambda: operations.cancel(saga.pk, actor=EXPLORER, reason=REASON))


def _force(saga: Saga) -> bool:
    return _try_operation(lambda: operations.force_compensate(saga.pk, actor=EXPLORER, reason=REASON))


def _pause(saga: Saga) -> bool:
    is_paused = _try_operation(lambda: operations.pause(saga.pk, actor=EXPLORER, reason=REASON))
    return is_paused and _try_operation(lambda: operations.resume(saga.pk, actor=EXPLORER, reason=REASON))


def _pass_deadline(saga: Saga) -> bool:
    found = read(saga.pk)
    if found.deadline_at is None:
        return False
    pass_time(found.deadline_at - clock.read_now(get_settings().database) + timedelta(seconds=1))
    return True


def _try_operation(operate: Callable[[], Any]) -> bool:
    """Act as a person would; what is refused at this moment (after the pivot, say) changes nothing.

    Returns: whether it was possible.
    """
    try:
        operate()
    except OperationRefused:
        return False
    return True
