"""Saga of two steps, the first of which waits for a file."""

import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sagas import Compensatable as Step
from sagas import RetryLater, SagaDefinition, StepContext, nothing_to_undo

LOOK_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class PatientInput:
    """Directory in which test and step exchange files."""

    directory: str


def wait_for_file(step: StepContext[PatientInput]) -> None:
    """Report that the step is running, and wait until the test releases it."""
    directory = Path(step.input.directory)
    (directory / "started").touch()
    while not (directory / "go").exists():
        if step.remaining <= 1:
            raise RetryLater("The test never let it go.")
        time.sleep(LOOK_SECONDS)


def mark_as_run(step: StepContext[PatientInput]) -> None:
    """Leave a marker file."""
    (Path(step.input.directory) / f"ran-{step.step}").touch()


class PatientSaga(SagaDefinition):
    """Saga whose first step waits."""

    first = Step(wait_for_file, nothing_to_undo, timeout=timedelta(seconds=60))
    second = Step(mark_as_run, nothing_to_undo)

    class Meta:
        name = "patient"
        input = PatientInput
