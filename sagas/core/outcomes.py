"""Outcomes: how an attempt ended and what it did to the world. Pure: no Django import."""

import math
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ..exceptions import (
    Fenced,
    InProgress,
    Misconfigured,
    OutcomeUnknown,
    ResultRedacted,
    RetryLater,
    StepSignal,
    TransactionEnded,
    text_of,
)
from .redaction.redactor import DEFAULT
from .states import Effect, Outcome
from .survival import ends_process

MAX_MESSAGE_CHARS = 2_000
MAX_TRACEBACK_CHARS = 16_000
MAX_DELAY_SECONDS = 366 * 86_400.0  # a longer delay is a mistake, and must not overflow a date

Redact = Callable[[str], str]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Report of how one attempt ended."""

    outcome: Outcome
    """The outcome (rule S1)."""
    effect: Effect
    """The effect of this attempt alone: none, maybe or yes."""
    result: dict[str, Any] | None = None
    """The result of the function, when it succeeded."""
    covers_earlier: bool = False
    """Whether a refusal holds for earlier attempts of unknown outcome, too."""
    is_counted: bool = True
    """Whether the attempt counts against the budget."""
    after_seconds: float | None = None
    """The minimum delay that the function asked for."""
    error_class: str = ""
    """The dotted name of the exception."""
    message: str = ""
    """The exception's text, storable."""
    traceback: str = ""
    """The exception's traceback, storable; empty for expected refusals."""
    interrupt: BaseException | None = field(default=None, compare=False, repr=False)
    """The exception that asked this process to end; raised again once the report is recorded."""


@dataclass(frozen=True, kw_only=True)
class AttemptView:
    """Attempt as far as the effect of its step depends on it."""

    outcome: Outcome | None
    """The outcome; None while it runs."""
    effect: Effect
    """The effect of this attempt alone."""
    covers_earlier: bool
    """Whether it answers for earlier attempts, too."""
    ended_at: datetime | None = None
    """When it ended, or when its late answer came; None while it runs."""
    is_last_word: bool = False
    """Whether an operator's statement overrides what was known until then, because nothing can undo the step."""


def compute_effect(attempts: Iterable[AttemptView]) -> Effect:
    """Return what a step has done to the world, from its action attempts in order.

    *None* if all ended without an effect; *maybe* once one is live or unknown, until a success or an answer for all.
    """
    effect = Effect.NONE
    for attempt in _after_last_word(list(attempts)):
        if attempt.outcome is Outcome.SUCCEEDED:
            effect = Effect.YES
        elif attempt.covers_earlier and effect is not Effect.YES:
            effect = Effect.NONE
        elif attempt.effect is Effect.MAYBE and effect is Effect.NONE:
            effect = Effect.MAYBE
    return effect


def _after_last_word(attempts: list[AttemptView]) -> list[AttemptView]:
    """Return the attempts without those that ended before an operator's last statement."""
    words = [attempt.ended_at for attempt in attempts if attempt.is_last_word and attempt.ended_at is not None]
    if not words:
        return attempts
    return [attempt for attempt in attempts if attempt.ended_at is None or attempt.ended_at >= max(words)]


def succeeded(result: dict[str, Any] | None) -> Report:
    """Return the report of a function that returned."""
    return Report(outcome=Outcome.SUCCEEDED, effect=Effect.YES, result=result)


def classify(
    error: BaseException,
    *,
    refusals: tuple[type[Exception], ...],
    refusal_settles: bool = False,
    is_rolled_back: bool,
    redact: Redact = DEFAULT.redact_text,
) -> Report:
    """Return the report for an exception of a step function (the table of rule S1).

    ``refusals`` are the exceptions by which the participant declines; ``refusal_settles``: for earlier attempts, too.
    ``is_rolled_back``: the function ran in a transaction that certainly did not commit. ``redact`` masks secrets in the
    error's text.
    """
    if isinstance(error, TransactionEnded):
        # Its writes may be committed or lost, and a retry may repeat them.
        return _report(error, redact, Outcome.MISCONFIGURED, Effect.MAYBE)
    if isinstance(error, refusals):
        # A refusal that was rolled back is not stored, so an earlier attempt could still pass the barrier.
        refused = _report(error, redact, Outcome.REFUSED, Effect.NONE)
        return replace(refused, covers_earlier=refusal_settles, traceback="")
    if isinstance(error, RetryLater):
        return replace(_report(error, redact, Outcome.RETRY, Effect.NONE), after_seconds=_delay_of(error))
    if isinstance(error, InProgress):
        # Also when a local step rolled back: a participant that is "in progress" has accepted the work elsewhere.
        polled = _report(error, redact, Outcome.IN_PROGRESS, Effect.MAYBE)
        return replace(polled, is_counted=False, after_seconds=_delay_of(error))
    if isinstance(error, Misconfigured):
        return _report(error, redact, Outcome.MISCONFIGURED, Effect.NONE)
    if isinstance(error, ResultRedacted):
        # It is unknown what the step did before it read the masked value.
        return _report(error, redact, Outcome.MISCONFIGURED, Effect.NONE if is_rolled_back else Effect.MAYBE)
    if isinstance(error, Fenced):
        return _report(error, redact, Outcome.FENCED, Effect.NONE)
    if is_rolled_back and not isinstance(error, OutcomeUnknown):
        return _report(error, redact, Outcome.RETRY, Effect.NONE)
    return _report(error, redact, Outcome.UNKNOWN, Effect.MAYBE)


def unstorable(error: Exception, *, redact: Redact = DEFAULT.redact_text) -> Report:
    """Return the report of an external step whose result cannot be stored: it happened, but the code needs a fix."""
    return _report(error, redact, Outcome.MISCONFIGURED, Effect.MAYBE)


def faultless(error: BaseException, *, redact: Redact = DEFAULT.redact_text) -> Report:
    """Return the report of an attempt that failed through no fault of its step; it costs no budget.

    Its participant's database could not be reached, or the engine's own statements met a conflict.
    """
    return replace(_report(error, redact, Outcome.RETRY, Effect.NONE), is_counted=False)


def commit_unknown(error: BaseException, *, redact: Redact = DEFAULT.redact_text) -> Report:
    """Return the report of a COMMIT without an answer."""
    return _report(error, redact, Outcome.UNKNOWN, Effect.MAYBE)


def lost_worker(*, is_rolled_back: bool, worker: str) -> Report:
    """Return the report of an attempt whose lease ended without a record."""
    return Report(
        outcome=Outcome.RETRY if is_rolled_back else Outcome.UNKNOWN,
        effect=Effect.NONE if is_rolled_back else Effect.MAYBE,
        error_class="sagas.LostWorker",
        message=f"Worker {worker or 'unknown'} recorded nothing before its lease ended.",
    )


def clean_text(text: str, limit: int) -> str:
    """Return text that PostgreSQL can store, shortened in the middle to at most ``limit`` characters."""
    storable = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    if len(storable) <= limit:
        return storable
    half = (limit - 5) // 2
    return f"{storable[:half]}\n...\n{storable[-half:]}"


def _delay_of(error: RetryLater | InProgress) -> float | None:
    """Return the requested delay, limited to ``MAX_DELAY_SECONDS``; None if there is none or it is not a number."""
    asked = error.after_seconds
    if asked is None or math.isnan(asked):
        return None
    return min(max(asked, 0.0), MAX_DELAY_SECONDS)


def _report(error: BaseException, redact: Redact, outcome: Outcome, effect: Effect) -> Report:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    shown = "" if isinstance(error, StepSignal) and error.__cause__ is None else _format(error)
    return Report(
        outcome=outcome,
        effect=effect,
        error_class=clean_text(name, 200),
        # Redacted before it is shortened, because half a secret would not be recognised.
        message=clean_text(redact(text_of(error)), MAX_MESSAGE_CHARS),
        traceback=clean_text(redact(shown), MAX_TRACEBACK_CHARS),
        interrupt=error if ends_process(error) else None,
    )


def _format(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - a broken __str__ must not lose the attempt
        return "(the traceback could not be formatted)"
