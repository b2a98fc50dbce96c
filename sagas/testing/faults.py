"""Faults at a named step of a saga: refusal, crash, lost answer, delay, repetition."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import transaction

from .. import clock
from ..core.definition.context import StepContext
from ..core.definition.options import StepFunction
from ..core.outcomes import Report
from ..core.states import Direction
from ..engine import execute
from ..engine.execute import ClaimedStep
from ..exceptions import OutcomeUnknown, RetryLater, WorkerDied

ACTION, COMPENSATION = Direction.ACTION, Direction.COMPENSATION


class SimulatedCrash(WorkerDied):
    """Simulated death of a worker; no code under test may catch it, so it is no Exception."""


@dataclass
class _Fault:
    """One planted fault."""

    step: str
    direction: Direction
    times: int
    run: Callable[[StepFunction, StepContext[Any]], dict[str, Any] | None]
    """Replacement of the function, inside the transaction of a local step."""
    around: Callable[[Callable[[], Report]], Report] | None = None
    """Wrapper outside the transaction of a local step in its own database; None: the fault acts at the function."""
    reached: int = 0
    was_possible: bool = True


@dataclass
class Faults:
    """Planted faults; each acts ``times`` times. A fault that was never reached fails the test at the end."""

    planted: list[_Fault] = field(default_factory=list)
    runs_twice: bool = False

    def refuse(self, step: str, error: Exception, *, direction: Direction = ACTION, times: int = 1) -> None:
        """Raise an error instead of running the function: a refusal or an outage, as the step defines it."""

        def run(_function: StepFunction, _context: StepContext[Any]) -> None:
            raise error

        self._plant(step, direction, times, run)

    def crash_before(self, step: str, *, direction: Direction = ACTION, times: int = 1) -> None:
        """Simulate a crash after the claim, before the function."""

        def run(_function: StepFunction, context: StepContext[Any]) -> None:
            raise SimulatedCrash(f"before {context.step}")

        self._plant(step, direction, times, run)

    def roll_back(self, step: str, *, direction: Direction = ACTION, times: int = 1) -> None:
        """Run a local function and roll its transaction back, as after a deadlock or a serialization failure."""

        def run(function: StepFunction, context: StepContext[Any]) -> None:
            function(context)
            raise RetryLater(f"The transaction of {context.step} was rolled back.")

        self._plant(step, direction, times, run)

    def crash_before_commit(self, step: str, *, direction: Direction = ACTION, times: int = 1) -> None:
        """Simulate a crash after the function, before the writes of a local one are committed."""

        def run(function: StepFunction, context: StepContext[Any]) -> None:
            function(context)
            raise SimulatedCrash(f"after {context.step}, before its commit")

        self._plant(step, direction, times, run)

    def crash_after(self, step: str, *, direction: Direction = ACTION, times: int = 1) -> None:
        """Simulate a crash between function and record; a local step in its own database has committed by then."""

        def run(function: StepFunction, context: StepContext[Any]) -> None:
            function(context)
            raise SimulatedCrash(f"after {context.step}")

        def around(go: Callable[[], Report]) -> Report:
            go()
            raise SimulatedCrash(f"after {step}")

        self._plant(step, direction, times, run, around)

    def lose_answer(self, step: str, *, direction: Direction = ACTION, times: int = 1) -> None:
        """Run the function and lose its answer: the outcome is unknown."""

        def run(function: StepFunction, context: StepContext[Any]) -> None:
            function(context)
            raise OutcomeUnknown(f"The answer of {context.step} was lost.")

        self._plant(step, direction, times, run)

    def delay(
        self,
        step: str,
        by: timedelta,
        *,
        direction: Direction = ACTION,
        times: int = 1,
        meanwhile: Callable[[], object] | None = None,
        before: bool = False,
        then_crash: bool = False,
    ) -> None:
        """Advance the clock around the function, and run ``meanwhile``: another worker, an operator, a deadline.

        ``before``: the worker sleeps before the call instead of after it. A local step in the engine's database holds
        its transaction open meanwhile; one in its own database has not begun it, or has committed it.
        """

        def pause() -> None:
            clock.move(by)
            if meanwhile is not None:
                meanwhile()

        def run(function: StepFunction, context: StepContext[Any]) -> dict[str, Any] | None:
            result: dict[str, Any] | None = around(lambda: function(context))
            return result

        def around(go: Callable[[], Any]) -> Any:
            if before:
                pause()
            result = go()
            if not before:
                pause()
            if then_crash:
                raise SimulatedCrash(f"after {step}")
            return result

        self._plant(step, direction, times, run, around)

    def attempt(self, step: str, act: Callable[[], bool], *, direction: Direction = ACTION) -> None:
        """Call ``act`` before the function; it returns whether its operation was possible."""

        def run(function: StepFunction, context: StepContext[Any]) -> dict[str, Any] | None:
            fault.was_possible = act()
            return function(context)

        self._plant(step, direction, 1, run)
        fault = self.planted[-1]

    def run_twice(self) -> None:
        """Run every function twice, as can happen in production; an idempotent one has the same effect.

        The writes of a local function's first run are rolled back: it commits once, with its record. Its effects
        elsewhere stay.
        """
        self.runs_twice = True

    def repeat(self, step: str, *, direction: Direction = ACTION, times: int = 1) -> None:
        """Run the function of one external step twice under one claim."""

        def run(function: StepFunction, context: StepContext[Any]) -> dict[str, Any] | None:
            function(context)
            return function(context)

        self._plant(step, direction, times, run)

    def assert_reached(self) -> None:
        """Check that every planted fault acted.

        Raises: AssertionError that lists those that did not.
        """
        missed = [f"{fault.step} ({fault.direction.value})" for fault in self.planted if not fault.reached]
        if missed:
            raise AssertionError(f"Planted faults that were never reached: {', '.join(missed)}.")

    def wrap(self, claimed: ClaimedStep, function: StepFunction) -> StepFunction:
        """Return the function that runs instead of a claimed step's function."""
        fault = self._find(claimed, is_around=False)
        if fault is not None:
            return lambda context: fault.run(function, context)
        return _repeat(claimed, function) if self.runs_twice else function

    def perform(self, claimed: ClaimedStep, go: Callable[[ClaimedStep], Report]) -> Report:
        """Execute a claimed step, with a fault around it if it is local to another database than the engine's."""
        fault = self._find(claimed, is_around=True)
        return fault.around(lambda: go(claimed)) if fault is not None and fault.around is not None else go(claimed)

    def _find(self, claimed: ClaimedStep, *, is_around: bool) -> _Fault | None:
        """Return the planted fault that acts now, and count it."""
        is_apart = not claimed.step.external and not claimed.joins_engine
        for fault in self.planted:
            is_meant = fault.step == claimed.step.name and fault.direction is claimed.direction
            acts_around = is_apart and fault.around is not None
            if is_meant and fault.reached < fault.times and acts_around is is_around:
                fault.reached += 1
                return fault
        return None

    def _plant(self, step: str, direction: Direction, times: int, run: Any, around: Any = None) -> None:
        self.planted.append(_Fault(step=step, direction=direction, times=times, run=run, around=around))


def _repeat(claimed: ClaimedStep, function: StepFunction) -> StepFunction:
    """Return a function that runs twice; the first run of a local one is rolled back, as after a crash."""

    def run(context: StepContext[Any]) -> dict[str, Any] | None:
        if claimed.step.external:
            function(context)
        else:
            with transaction.atomic(using=claimed.database):
                function(context)
                transaction.set_rollback(True, using=claimed.database)
        return function(context)

    return run


@contextmanager
def faults(*, must_be_reached: bool = True) -> Iterator[Faults]:
    """Plant faults for the sagas that this process executes inside the block.

    Raises: AssertionError at the end if a planted fault was never reached, unless ``must_be_reached`` is False.
    """
    planted = Faults()
    intercept, go = execute.intercept, execute.execute_step
    execute.intercept = planted.wrap
    execute.execute_step = lambda claimed: planted.perform(claimed, go)
    try:
        yield planted
    finally:
        execute.intercept, execute.execute_step = intercept, go
    if must_be_reached:
        planted.assert_reached()
