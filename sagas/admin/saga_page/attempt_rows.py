"""Turn the attempts of one saga into the rows of their table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from ...models import SagaAttempt
from ...operators.presentation.badges import in_words
from ..ui.excerpt import Folded, fold, fold_error
from ..ui.formatting import Moment, show_duration, show_moment


@dataclass(frozen=True, kw_only=True)
class AttemptRow:
    """Show an attempt."""

    pk: int
    """Its id."""
    step: str
    """The step."""
    direction: str
    """Action or compensation."""
    number: int
    """From 1, per step and direction."""
    outcome: str
    """How it ended, or that it is live."""
    started: Moment
    """When it was claimed."""
    duration: str
    """How long it took."""
    worker: str
    """Who ran it."""
    error: Folded
    """Dotted name of the exception and its text; the name alone without the permission."""
    traceback: str
    """Where it came from; empty without the permission."""


def show_attempts_made(attempts: Iterable[SagaAttempt], now: datetime, *, may_see: bool) -> Iterator[AttemptRow]:
    """Return the rows; an error that a step repeats is told once."""
    seen: dict[tuple[str, ...], int] = {}
    for attempt in attempts:
        said = (attempt.step.name, attempt.direction, attempt.error_class, attempt.message)
        first = seen.setdefault(said, attempt.number)
        yield _show_attempt(attempt, now, may_see, f"attempt {first}" if first != attempt.number else "")


def _show_attempt(attempt: SagaAttempt, now: datetime, may_see: bool, repeats: str) -> AttemptRow:
    message = attempt.message if may_see or attempt.is_assumed else ""
    text = ": ".join(filter(None, (attempt.error_class, message)))
    return AttemptRow(
        pk=attempt.pk,
        step=attempt.step.name,
        direction=attempt.direction,
        number=attempt.number,
        outcome=in_words(attempt.outcome or "live") + (" (a person's word)" if attempt.is_assumed else ""),
        started=show_moment(attempt.started_at, now),
        duration=show_duration(attempt.started_at, attempt.ended_at, now),
        worker=attempt.worker,
        error=fold_error(text, repeats=repeats) if attempt.error_class else fold(text, repeats=repeats),
        traceback=attempt.traceback if may_see else "",
    )
