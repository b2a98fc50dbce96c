"""Rows of the table of attempts of one saga."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from ...models import SagaAttempt
from ...operators.presentation.badges import in_words
from ...operators.visibility import Visibility
from ..ui.excerpt import Folded, fold, fold_error
from ..ui.formatting import Moment, show_duration, show_moment


@dataclass(frozen=True, kw_only=True)
class AttemptRow:
    """Row of one attempt."""

    pk: int
    """Its id."""
    step: str
    """Name of the step."""
    direction: str
    """Action or compensation."""
    number: int
    """Number of the attempt, from 1 per step and direction."""
    outcome: str
    """Outcome in words, or ``live``."""
    started: Moment
    """When it was claimed."""
    duration: str
    """How long it took."""
    worker: str
    """Worker that executed it."""
    error: Folded
    """Class and message of the exception; the class alone without the permission."""
    traceback: str
    """Traceback of the error; empty without the permission to see payloads."""


def show_attempts_made(
    attempts: Iterable[SagaAttempt], now: datetime, *, visibility: Visibility
) -> Iterator[AttemptRow]:
    """Yield the rows; a repeated error of a step is shown once, then by reference."""
    seen: dict[tuple[str, ...], int] = {}
    for attempt in attempts:
        said = (attempt.step.name, attempt.direction, attempt.error_class, attempt.message)
        first = seen.setdefault(said, attempt.number)
        yield _show_attempt(attempt, now, visibility, f"attempt {first}" if first != attempt.number else "")


def _show_attempt(attempt: SagaAttempt, now: datetime, visibility: Visibility, repeats: str) -> AttemptRow:
    message = attempt.message if visibility.has_errors or attempt.is_assumed else ""
    text = ": ".join(filter(None, (attempt.error_class, message)))
    return AttemptRow(
        pk=attempt.pk,
        step=attempt.step.name,
        direction=attempt.direction,
        number=attempt.number,
        outcome=in_words(attempt.outcome or "live") + (" (decided by an operator)" if attempt.is_assumed else ""),
        started=show_moment(attempt.started_at, now),
        duration=show_duration(attempt.started_at, attempt.ended_at, now),
        worker=attempt.worker,
        error=fold_error(text, repeats=repeats) if attempt.error_class else fold(text, repeats=repeats),
        traceback=attempt.traceback if visibility.has_payloads else "",
    )
