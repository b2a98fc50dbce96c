"""Slow step functions, so that a process killed at a random time is likely to be in one."""

import random
import time
from typing import Any

from sagas.core.definition.options import StepFunction
from sagas.engine import execute
from sagas.engine.execute import ClaimedStep

# A longer sleep would exceed the timeout of an attempt.
LONGEST_NAP_SECONDS = 1.0


def install(mean_seconds: float) -> None:
    """Sleep before and after every step function, exponentially distributed."""
    intercept_before = execute.intercept

    def nap() -> None:
        time.sleep(min(random.expovariate(2 / mean_seconds), LONGEST_NAP_SECONDS))

    def intercept(claimed: ClaimedStep, function: StepFunction) -> StepFunction:
        inner = intercept_before(claimed, function)

        def run(context: Any) -> dict[str, Any] | None:
            nap()
            result = inner(context)
            nap()
            return result

        return run

    execute.intercept = intercept
