"""Steps of an engraving: they call a simulated workshop, stencil cutter or courier."""

import time
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import QuerySet

from sagas import InProgress, Misconfigured, OutcomeUnknown, RetryLater, StepContext

from .models import Job, JobStatus
from .troubles import Trouble

LATER = timedelta(hours=1)
POLL_AFTER = timedelta(minutes=10)
LONGEST_SILENCE_SECONDS = 40.0
PAUSE_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class EngravingInput:
    """Input of an engraving: the job, from which everything else is read."""

    job: str
    """Number of the job."""


Step = StepContext[EngravingInput]


class MugSpoilt(Exception):
    """The mug broke; nothing was engraved."""


class BenchNotFreed(Exception):
    """The workshop does not release the bench."""


class AddressGone(Exception):
    """The courier reports that the recipient no longer lives at the address."""


def strike_job(step: Step) -> None:
    """Strike the job off."""
    _find_job(step).update(status=JobStatus.STRUCK)


def book_bench(step: Step) -> None:
    """Book a bench in the workshop."""
    trouble = _read_trouble(step)
    if trouble == Trouble.CLOSED:
        raise RetryLater(f"The workshop is closed; nothing was booked for {step.key}.", after=LATER)
    if trouble == Trouble.BUSY:
        raise InProgress(f"The workshop is looking for a bench for {step.key}.", poll_after=POLL_AFTER)
    if trouble == Trouble.SLOW and step.attempt == 1:
        _wait_until_struck(step)


def free_bench(step: Step) -> None:
    """Release the bench; having none counts as success."""
    if _read_trouble(step) == Trouble.SPOILT:
        raise BenchNotFreed(f"The workshop keeps the bench of {step.key} until the mug is paid for.")


def cut_stencil(step: Step) -> None:
    """Have the stencil cut."""
    if _read_trouble(step) == Trouble.SILENT:
        raise OutcomeUnknown(f"The stencil cutter did not answer {step.key}; it may have cut the stencil.")


def pick_mug(step: Step) -> None:
    """Pick a mug from the shelf."""
    _find_job(step).get()


def engrave(step: Step) -> None:
    """Engrave the mug, which cannot be undone."""
    trouble = _read_trouble(step)
    if trouble == Trouble.NO_ACCOUNT:
        raise Misconfigured("The shop has no account at the workshop; nothing was engraved. Open one, then retry.")
    if trouble == Trouble.SPOILT:
        raise MugSpoilt("The mug broke; nothing was engraved.")


def send_mug(step: Step) -> None:
    """Hand the mug to the courier."""
    trouble = _read_trouble(step)
    if trouble == Trouble.NO_COURIER:
        raise RetryLater("No courier is available; the mug is ready.")
    if trouble == Trouble.COURIER_TOMORROW:
        raise RetryLater("The courier comes tomorrow; the mug is ready.", after=LATER)
    if trouble == Trouble.SENT_BACK:
        raise AddressGone("The courier returned the mug: the recipient has moved.")


def note_sent(step: Step) -> None:
    """Mark the job as sent."""
    _find_job(step).update(status=JobStatus.SENT)


def _find_job(step: Step) -> QuerySet[Job]:
    return Job.objects.filter(number=step.input.job)


def _read_trouble(step: Step) -> str:
    return _find_job(step).get().trouble


def _wait_until_struck(step: Step) -> None:
    """Delay the answer to a booking until the shop has struck the job off: the lease is lost by then."""
    give_up_at = time.monotonic() + LONGEST_SILENCE_SECONDS
    while time.monotonic() < give_up_at:
        if _find_job(step).get().status == JobStatus.STRUCK:
            return
        time.sleep(PAUSE_SECONDS)
