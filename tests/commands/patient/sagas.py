"""Declare a saga of two steps: one that waits for a file, and one after it."""

import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sagas import Compensatable as Step
from sagas import RetryLater, SagaDefinition, StepContext, nothing_to_undo

LOOK_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class PatientInput:
    """Where test and step meet."""

    directory: str


def wait_for_file(step: StepContext[PatientInput]) -> None:
    """Report that the step runs, and wait until the test lets it go."""
    directory = Path(step.input.directory)
    (directory / "started").touch()
    while not (directory / "go").exists():
        if step.remaining <= 1:
            raise RetryLater("The test never let it go.")
        time.sleep(LOOK_SECONDS)


def say_that_it_ran(step: StepContext[PatientInput]) -> None:
    """Leave a mark."""
    (Path(step.input.directory) / f"ran-{step.step}").touch()


class PatientSaga(SagaDefinition):
    """Wait, then go on."""

    first = Step(wait_for_file, nothing_to_undo, timeout=timedelta(seconds=60))
    second = Step(say_that_it_ran, nothing_to_undo)

    class Meta:
        name = "patient"
        input = PatientInput
