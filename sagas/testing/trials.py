"""Trials: every single fault that a definition is run under, with its step, its direction and how it is planted.

For each step, as far as it can happen to it: a refusal; an attempt that fails without an effect; a worker that dies
before or after the function; an answer that is lost once or forever; a request that never arrives; an external
function that runs twice; a local one that is rolled back (it commits once, with its record); an answer after another
worker took over; a call after everything was undone; a deadline; an operator who cancels, forces compensation, or
pauses and resumes. When compensating also: a compensation that is refused, or that keeps failing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from threading import Thread
from typing import Any

from django.db import connections

from .. import clock
from ..conf import get_settings
from ..core.definition.steps import Step
from ..core.states import Direction, Kind
from ..exceptions import OperationRefused, OutcomeUnknown, RetryLater
from ..models import Saga
from ..operators import operations
from ..operators.actor import Actor
from ..participants.routing import runs_in_engine_database
from .drain import drain, look, pass_time, read
from .faults import Faults
from .scenario import Scenario

ALWAYS = 10_000  # more attempts than any budget
PATIENCE = timedelta(hours=6)  # several hourly rounds of a compensation that keeps failing
EXPLORER = Actor(name="explorer", is_trusted=True)
REASON = "The explorer tries this."

Plant = Callable[[Faults, Saga], None]
Act = Callable[[Saga], bool]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run: a fault at a step in a direction."""

    fault: str
    """Description of the fault, as the table shows it."""
    step: str
    direction: Direction
    plant: Plant
    """Function that plants the fault for a newly started saga."""
    turns_back_at: str | None = None
    """Step that is refused so that compensations run at all."""
    may_need_operator: bool = False
    """Whether the saga may end waiting for an operator."""


def enumerate_trials(scenario: Scenario) -> Iterator[Trial]:
    """Yield every trial of a definition, first of actions in order, then of compensations in reverse."""
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
    def trial(fault: str, plant: Plant, *, may_need_operator: bool = False) -> Trial:
        return Trial(
            fault=fault, step=step.name, direction=Direction.ACTION, plant=plant, may_need_operator=may_need_operator
        )

    is_pivot, is_compensatable = step.kind is Kind.PIVOT, step.kind is Kind.COMPENSATABLE
    if step.refuses_on and step.kind is not Kind.RETRIABLE:
        yield trial("refused", lambda f, _: f.refuse(step.name, make_refusal(scenario, step)))
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
    yield from _operator_trials(step, trial, Direction.ACTION)


def _repeat_trials(
    scenario: Scenario, step: Step, trial: Callable[..., Trial], direction: Direction
) -> Iterator[Trial]:
    """Yield the trials in which a function runs again after it did its work.

    Only an external function keeps both effects. A local one commits once, with the engine's record or with a barrier
    row, but may be rolled back before. In its own database, a worker can also die between function and commit.
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
            "answer lost forever", lambda f, _: f.lose_answer(step.name, times=ALWAYS), may_need_operator=is_pivot
        )
        yield trial(
            "no answer, not done, forever",
            lambda f, _: f.refuse(step.name, OutcomeUnknown("explored"), times=ALWAYS),
            may_need_operator=is_pivot,
        )


def _operator_trials(step: Step, trial: Callable[..., Trial], direction: Direction) -> Iterator[Trial]:
    """Yield the trials of operations and of a passing deadline while a step runs."""
    acts = (("cancelled", _cancel), ("compensation forced", _force), ("paused and resumed", _pause))
    for name, act in (*acts, ("deadline passes", _pass_deadline)):
        yield trial(name, lambda f, saga, act=act: f.attempt(step.name, lambda: _apart(act, saga), direction=direction))


def _backward_trials(scenario: Scenario, step: Step, turning: str) -> Iterator[Trial]:
    back = Direction.COMPENSATION

    def trial(fault: str, plant: Plant, *, may_need_operator: bool = False) -> Trial:
        return Trial(
            fault=fault, step=step.name, direction=back, plant=plant, turns_back_at=turning,
            may_need_operator=may_need_operator,
        )  # fmt: skip

    if step.compensation_refuses_on:
        refusal = _make_bare(step.compensation_refuses_on[0])
        yield trial("refused", lambda f, _: f.refuse(step.name, refusal, direction=back), may_need_operator=True)
    yield trial(
        "keeps failing",
        lambda f, _: f.refuse(step.name, RetryLater("explored"), direction=back, times=ALWAYS),
        may_need_operator=True,
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
    yield from _operator_trials(step, trial, back)


def _turning_step(scenario: Scenario) -> Step | None:
    """Return the last step that can be refused, so that as much as possible is compensated."""
    candidates = [step for step in scenario.definition.steps if step.refuses_on and step.kind is not Kind.RETRIABLE]
    return candidates[-1] if candidates else None


def make_refusal(scenario: Scenario, step: Step) -> Exception:
    """Return the exception with which a step refuses: the scenario's, or one of its first class."""
    if step.name in scenario.refusals:
        return scenario.refusals[step.name]
    return step.refuses_on[0]("explored")


def _make_bare(kind: type[Exception]) -> Exception:
    """Return an exception made without its constructor's arguments: a compensation's refusal only causes a hold."""
    return kind.__new__(kind, "explored")


def _overtake(planted: Faults, saga: Saga, step: Step, direction: Direction) -> None:
    """Plant a worker that stalls with its answer until another worker has asked again and got one."""
    pause = _longer_than_lease(step, direction)
    planted.delay(step.name, pause, direction=direction, meanwhile=lambda: look(saga.pk, worker="other"))


def _compensate_meanwhile(planted: Faults, saga: Saga, step: Step, *, before: bool, then_crash: bool = False) -> None:
    """Plant a worker that stalls at its call until its lease ended and the saga was forced back and undone."""

    def meanwhile() -> None:
        look(saga.pk, worker="other", queues=frozenset())
        _force(saga)
        drain(saga, patience=PATIENCE)

    pause = _longer_than_lease(step, Direction.ACTION)
    planted.delay(step.name, pause, before=before, meanwhile=meanwhile, then_crash=then_crash)


def _apart(act: Act, saga: Saga) -> bool:
    """Act on separate connections, as an operator does, because a local step is inside a transaction.

    Returns: whether it was possible.
    """
    done: list[bool | BaseException] = []

    def run() -> None:
        try:
            done.append(act(saga))
        except BaseException as error:  # noqa: BLE001 - raised in the waiting thread
            done.append(error)
        finally:
            connections.close_all()

    thread = Thread(target=run)
    thread.start()
    thread.join()
    [result] = done
    if isinstance(result, BaseException):
        raise AssertionError(f"An operator's operation failed: {result}") from result
    return result


def _never_done(planted: Faults, step: Step) -> None:
    """Make every attempt of the action end unknown without an effect, so that the compensation finds nothing."""
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
    """Perform an operation; one that is refused at this moment, such as after the pivot, changes nothing.

    Returns: whether it was possible.
    """
    try:
        operate()
    except OperationRefused:
        return False
    return True
