"""Sagas: one whose parallel steps meet, and one with a step in its own queue."""

import os
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sagas import Compensatable, Parallel, Pivot, Retriable, RetryLater, SagaDefinition, StepContext, nothing_to_undo

HEAVY_QUEUE = "heavy"
OTHERS = {"left": "right", "right": "left"}

# On a busy machine the other worker may take seconds to claim its step.
MEETING_TIMEOUT = timedelta(seconds=20)
MARGIN_SECONDS = 5.0
LOOK_SECONDS = 0.02


class NotThisTime(Exception):
    """Refusal of the pivot."""


@dataclass(frozen=True, kw_only=True)
class RendezvousInput:
    """Directory for the steps' marks, and how the pivot ends."""

    directory: str
    """Path of an existing directory."""
    is_refused: bool = False
    """Whether the pivot refuses, so that the parallel steps are compensated, side by side too."""


Step = StepContext[RendezvousInput]


def meet(step: Step) -> None:
    """Wait until the other step of the group has begun, in any process.

    Raises: RetryLater if it did not, as if this one had not begun either.
    """
    own, other = (
        Path(step.input.directory) / f"{name}.{step.direction.value}" for name in (step.step, OTHERS[step.step])
    )
    own.write_text(str(os.getpid()))
    give_up_at = time.monotonic() + step.remaining - MARGIN_SECONDS
    while not other.exists():
        if time.monotonic() > give_up_at:
            own.unlink()
            raise RetryLater(f"{OTHERS[step.step]} did not begin while {step.step} ran.")
        time.sleep(LOOK_SECONDS)


def decide(step: Step) -> None:
    """Refuse if the input says so."""
    if step.input.is_refused:
        raise NotThisTime("The input says so.")


def pass_by(_step: Step) -> None:
    """Do nothing, successfully."""


class RendezvousSaga(SagaDefinition):
    """Saga whose steps meet, decide and finish."""

    meeting = Parallel(
        left=Compensatable(meet, meet, timeout=MEETING_TIMEOUT),
        right=Compensatable(meet, meet, external=True, timeout=MEETING_TIMEOUT),
    )
    decision = Pivot(decide, refuses_on=[NotThisTime])
    finish = Retriable(pass_by)

    class Meta:
        name = "rendezvous"
        version = 1
        input = RendezvousInput


class HeavySaga(SagaDefinition):
    """Saga of a light, a heavy and another light step."""

    begin = Compensatable(pass_by, nothing_to_undo)
    lift = Pivot(pass_by, queue=HEAVY_QUEUE, external=True)
    finish = Retriable(pass_by)

    class Meta:
        name = "heavy"
        version = 1
