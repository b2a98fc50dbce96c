"""Declare a saga whose parallel steps meet, with one step in a queue of its own."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sagas import (
    Compensatable,
    Parallel,
    Pivot,
    Retriable,
    RetryLater,
    RetryPolicy,
    SagaDefinition,
    StepContext,
    nothing_to_undo,
)

HEAVY_QUEUE = "heavy"
OTHERS = {"left": "right", "right": "left"}

# Under a busy machine the other worker may take seconds to look.
MEETING_TIMEOUT = timedelta(seconds=20)
MARGIN_SECONDS = 5.0
LOOK_SECONDS = 0.02


class TooHeavy(Exception):
    """Refuse the pivot."""


@dataclass(frozen=True, kw_only=True)
class RendezvousInput:
    """Say where the steps mark that they began, and how the pivot ends."""

    directory: str
    """Path of an existing directory."""
    is_refused: bool = False
    """Whether the pivot refuses, so that the parallel steps are compensated, side by side too."""


Step = StepContext[RendezvousInput]


def tell(step: Step) -> dict[str, int]:
    """Shape: ``{"pid": process id}``, as every action here."""
    return {"pid": os.getpid()}


def meet(step: Step) -> dict[str, int]:
    """Wait until the other step of the group has begun, in whatever process.

    Raises: RetryLater when it did not, as if this one had not begun either.
    """
    own = mark(step, step.step)
    own.write_text(str(os.getpid()))
    give_up_at = time.monotonic() + step.remaining - MARGIN_SECONDS
    while not mark(step, OTHERS[step.step]).exists():
        if time.monotonic() > give_up_at:
            own.unlink()
            raise RetryLater(f"{OTHERS[step.step]} did not begin while {step.step} ran.")
        time.sleep(LOOK_SECONDS)
    return {"pid": os.getpid()}


def meet_again(step: Step) -> None:
    """Undo a meeting by a meeting."""
    meet(step)


def weigh(step: Step) -> dict[str, int]:
    """Refuse where the input says so."""
    if step.input.is_refused:
        raise TooHeavy("The input says so.")
    return {"pid": os.getpid()}


def mark(step: Step, name: str) -> Path:
    """Name the file by which a step tells that it has begun."""
    return Path(step.input.directory) / f"{name}.{step.direction.value}"


class RendezvousSaga(SagaDefinition):
    """Meet, decide in a queue of its own, finish."""

    begin = Compensatable(tell, nothing_to_undo)
    meeting = Parallel(
        left=Compensatable(meet, meet_again, timeout=MEETING_TIMEOUT),
        right=Compensatable(meet, meet_again, external=True, timeout=MEETING_TIMEOUT),
    )
    decide = Pivot(weigh, queue=HEAVY_QUEUE, external=True, refuses_on=[TooHeavy], retry=RetryPolicy(attempts=3))
    finish = Retriable(tell)

    class Meta:
        name = "rendezvous"
        version = 1
        input = RendezvousInput
