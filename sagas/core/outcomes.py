"""Judge how an attempt ended and what it did to the world. Pure: no Django import."""

from __future__ import annotations

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
MAX_DELAY_SECONDS = 366 * 86_400.0  # what a step asks for beyond this is a mistake, and a date must come out of it

Redact = Callable[[str], str]


@dataclass(frozen=True, kw_only=True)
class Report:
    """How one attempt ended."""

    outcome: Outcome
    """The outcome (rule S1)."""
    effect: Effect
    """What this attempt alone has done: none, maybe or yes."""
    result: dict[str, Any] | None = None
    """What the function returned, when it succeeded."""
    settles: bool = False
    """Whether a refusal answers for earlier unsettled attempts too."""
    is_counted: bool = True
    """Whether it counts against the attempts of the budget."""
    after_seconds: float | None = None
    """The least delay that the function asked for."""
    error_class: str = ""
    """The dotted name of the exception."""
    message: str = ""
    """Its text, storable."""
    traceback: str = ""
    """Its traceback, storable; empty for expected refusals."""
    interrupt: BaseException | None = field(default=None, compare=False, repr=False)
    """What asked this process to end; raised again once the report is recorded."""


@dataclass(frozen=True, kw_only=True)
class AttemptView:
    """What the effect of a step is computed from."""

    outcome: Outcome | None
    """None while it runs."""
    effect: Effect
    """What this attempt alone has done."""
    settles: bool
    """Whether it answers for earlier ones."""
    ended_at: datetime | None = None
    """When it ended, or when its late answer came; None while it runs."""
    is_last_word: bool = False
    """Whether a person has the last word on what was known until then: nothing could undo the step."""


def compute_effect(attempts: Iterable[AttemptView]) -> Effect:
    """Return what a step has done to the world, from its action attempts in order.

    None if all ended without an effect; maybe as soon as one is live or unknown, until a success or a settling answer.
    """
    effect = Effect.NONE
    for attempt in _after_last_word(list(attempts)):
        if attempt.outcome is Outcome.SUCCEEDED:
            effect = Effect.YES
        elif attempt.settles and effect is not Effect.YES:
            effect = Effect.NONE
        elif attempt.effect is Effect.MAYBE and effect is Effect.NONE:
            effect = Effect.MAYBE
    return effect


def _after_last_word(attempts: list[AttemptView]) -> list[AttemptView]:
    """Leave out what was known before a person's last word."""
    words = [attempt.ended_at for attempt in attempts if attempt.is_last_word and attempt.ended_at is not None]
    if not words:
        return attempts
    return [attempt for attempt in attempts if attempt.ended_at is None or attempt.ended_at >= max(words)]


def succeeded(result: dict[str, Any] | None) -> Report:
    """Return the report of a function that came back."""
    return Report(outcome=Outcome.SUCCEEDED, effect=Effect.YES, result=result)


def classify(
    error: BaseException,
    *,
    refusals: tuple[type[Exception], ...],
    refusal_settles: bool = False,
    is_rolled_back: bool,
    redact: Redact = DEFAULT.redact_text,
) -> Report:
    """Return what an exception of a step function means (the table of rule S1).

    ``refusals`` are the exceptions by which the participant says no; ``refusal_settles``: for earlier attempts, too.
    ``is_rolled_back`` says that the function ran in a transaction which certainly did not commit. ``redact`` takes
    secrets out of the error's text.
    """
    if isinstance(error, TransactionEnded):
        # What it wrote before may be committed, may be lost, and asking again may do it twice.
        return _report(error, redact, Outcome.MISCONFIGURED, Effect.MAYBE)
    if isinstance(error, refusals):
        # A rolled-back refusal is stored nowhere, so an earlier attempt could still pass the barrier.
        refused = _report(error, redact, Outcome.REFUSED, Effect.NONE)
        return replace(refused, settles=refusal_settles, traceback="")
    if isinstance(error, RetryLater):
        return replace(_report(error, redact, Outcome.RETRY, Effect.NONE), after_seconds=_delay_of(error))
    if isinstance(error, InProgress):
        # Also when a local step rolled back: whoever answers "in progress" has accepted the work elsewhere.
        polled = _report(error, redact, Outcome.IN_PROGRESS, Effect.MAYBE)
        return replace(polled, is_counted=False, after_seconds=_delay_of(error))
    if isinstance(error, Misconfigured):
        return _report(error, redact, Outcome.MISCONFIGURED, Effect.NONE)
    if isinstance(error, ResultRedacted):
        # Nobody knows what it did before it looked for what is not there.
        return _report(error, redact, Outcome.MISCONFIGURED, Effect.NONE if is_rolled_back else Effect.MAYBE)
    if isinstance(error, Fenced):
        return _report(error, redact, Outcome.FENCED, Effect.NONE)
    if is_rolled_back and not isinstance(error, OutcomeUnknown):
        return _report(error, redact, Outcome.RETRY, Effect.NONE)
    return _report(error, redact, Outcome.UNKNOWN, Effect.MAYBE)


def unstorable(error: Exception, *, redact: Redact = DEFAULT.redact_text) -> Report:
    """Return the report of an external step whose result cannot be stored: it happened, and the code needs mending."""
    return _report(error, redact, Outcome.MISCONFIGURED, Effect.MAYBE)


def faultless(error: BaseException, *, redact: Redact = DEFAULT.redact_text) -> Report:
    """Return the report of an attempt that failed through no fault of its step; it burns no budget.

    Its participant's database could not be reached, or the engine's own statements met a conflict.
    """
    return replace(_report(error, redact, Outcome.RETRY, Effect.NONE), is_counted=False)


def commit_unknown(error: BaseException, *, redact: Redact = DEFAULT.redact_text) -> Report:
    """Return the report of a COMMIT that was not answered."""
    return _report(error, redact, Outcome.UNKNOWN, Effect.MAYBE)


def lost_worker(*, is_rolled_back: bool, worker: str) -> Report:
    """Return the report of an attempt whose lease ended without a record."""
    return Report(
        outcome=Outcome.RETRY if is_rolled_back else Outcome.UNKNOWN,
        effect=Effect.NONE if is_rolled_back else Effect.MAYBE,
        error_class="sagas.LostWorker",
        message=f"No record from worker {worker or 'unknown'} before its lease ended.",
    )


def clean_text(text: str, limit: int) -> str:
    """Return text that PostgreSQL can store, shortened in the middle to ``limit`` characters."""
    storable = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    if len(storable) <= limit:
        return storable
    half = (limit - 5) // 2
    return f"{storable[:half]}\n...\n{storable[-half:]}"


def _delay_of(error: RetryLater | InProgress) -> float | None:
    """Return the delay that was asked for, as far as a calendar holds it; None for no number."""
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
        # Redacted first: half a secret would not be known as one.
        message=clean_text(redact(text_of(error)), MAX_MESSAGE_CHARS),
        traceback=clean_text(redact(shown), MAX_TRACEBACK_CHARS),
        interrupt=error if ends_process(error) else None,
    )


def _format(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - a broken __str__ must not lose the attempt
        return "(the traceback could not be formatted)"
