"""Break a saga at a named step: refuse, crash, lose the answer, delay, or run everything twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from .. import clock, perform
from ..context import StepContext
from ..definition import StepFunction
from ..exceptions import OutcomeUnknown, WorkerDied
from ..states import Direction

ACTION, COMPENSATION = Direction.ACTION, Direction.COMPENSATION


class SimulatedCrash(WorkerDied):
    """Stand for a worker that dies; no code under test may survive it, so it is no Exception."""


@dataclass
class _Fault:
    """Hold one planted fault."""

    step: str
    direction: Direction
    times: int
    run: Callable[[StepFunction, StepContext[Any]], dict[str, Any] | None]
    reached: int = 0
    was_possible: bool = True


@dataclass
class Faults:
    """Plant faults; each acts ``times`` times. One that was never reached fails the test at the end."""

    planted: list[_Fault] = field(default_factory=list)
    runs_twice: bool = False

    def refuse(self, step: str, error: Exception, *, direction: Direction = ACTION, times: int = 1) -> None:
        """Raise an error instead of running the function: a refusal, an outage, what the error means to the step."""

        def run(_function: StepFunction, _context: StepContext[Any]) -> None:
            raise error

        self._plant(step, direction, times, run)

    def crash_before(self, step: str, *, direction: Direction = ACTION, times: int = 1) -> None:
        """Die after the claim, before the function."""

        def run(_function: StepFunction, context: StepContext[Any]) -> None:
            raise SimulatedCrash(f"before {context.step}")

        self._plant(step, direction, times, run)

    def crash_after(self, step: str, *, direction: Direction = ACTION, times: int = 1) -> None:
        """Die after the function, before the record."""

        def run(function: StepFunction, context: StepContext[Any]) -> None:
            function(context)
            raise SimulatedCrash(f"after {context.step}")

        self._plant(step, direction, times, run)

    def lose_answer(self, step: str, *, direction: Direction = ACTION, times: int = 1) -> None:
        """Run the function and lose what it returned: the outcome is unknown."""

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
        """Let time pass around the function, and something happen ``meanwhile``: another worker, an operator, a
        deadline.

        ``before``: the worker sleeps before the call instead of after it. A local step holds its transaction open
        meanwhile.
        """

        def pause() -> None:
            clock.move(by)
            if meanwhile is not None:
                meanwhile()

        def run(function: StepFunction, context: StepContext[Any]) -> dict[str, Any] | None:
            if before:
                pause()
            result = function(context)
            if not before:
                pause()
            if then_crash:
                raise SimulatedCrash(f"after {context.step}")
            return result

        self._plant(step, direction, times, run)

    def attempt(self, step: str, act: Callable[[], bool], *, direction: Direction = ACTION) -> None:
        """Let somebody act before the function, who says whether that was possible."""

        def run(function: StepFunction, context: StepContext[Any]) -> dict[str, Any] | None:
            fault.was_possible = act()
            return function(context)

        self._plant(step, direction, 1, run)
        fault = self.planted[-1]

    def run_twice(self) -> None:
        """Run every function twice; an idempotent one does not mind."""
        self.runs_twice = True

    def repeat(self, step: str, *, direction: Direction = ACTION, times: int = 1) -> None:
        """Run the function of one step twice under one claim."""

        def run(function: StepFunction, context: StepContext[Any]) -> dict[str, Any] | None:
            function(context)
            return function(context)

        self._plant(step, direction, times, run)

    def assert_reached(self) -> None:
        """Check that every planted fault acted.

        Raises: AssertionError, with the ones that did not.
        """
        missed = [f"{fault.step} ({fault.direction.value})" for fault in self.planted if not fault.reached]
        if missed:
            raise AssertionError(f"Planted faults that were never reached: {', '.join(missed)}.")

    def wrap(self, claimed: perform.Claimed, function: StepFunction) -> StepFunction:
        """Return the function that runs instead of a claimed step's own."""
        for fault in self.planted:
            is_meant = fault.step == claimed.step.name and fault.direction is claimed.direction
            if is_meant and fault.reached < fault.times:
                fault.reached += 1
                return lambda context: fault.run(function, context)
        if self.runs_twice:
            return lambda context: (function(context), function(context))[1]
        return function

    def _plant(self, step: str, direction: Direction, times: int, run: Any) -> None:
        self.planted.append(_Fault(step=step, direction=direction, times=times, run=run))


@contextmanager
def faults(*, must_be_reached: bool = True) -> Iterator[Faults]:
    """Plant faults for the sagas that this process runs inside the block.

    Raises: AssertionError at the end when a planted fault was never reached, unless ``must_be_reached`` is False.
    """
    planted = Faults()
    before = perform.intercept
    perform.intercept = planted.wrap
    try:
        yield planted
    finally:
        perform.intercept = before
    if must_be_reached:
        planted.assert_reached()
