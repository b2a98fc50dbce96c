"""Outcomes of attempts and effects of steps (S1, S3.2)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sagas import Compensatable, Fenced, InProgress, Misconfigured, OutcomeUnknown, RetryLater, nothing_to_undo
from sagas.core.definition.steps import Step
from sagas.core.outcomes import (
    MAX_DELAY_SECONDS,
    AttemptView,
    classify,
    clean_text,
    commit_unknown,
    compute_effect,
    faultless,
    lost_worker,
    succeeded,
    unstorable,
)
from sagas.core.states import Direction, Effect, Outcome


class No(Exception):
    """Refusal of an action."""


class NeverAgain(No):
    """Special refusal of an action."""


class NotUndone(Exception):
    """Refusal of a compensation."""


def act(step: Any) -> None:
    """Do nothing."""


STEP = Compensatable(act, nothing_to_undo, external=True, refuses_on=[No], compensation_refuses_on=[NotUndone])
SETTLING = Compensatable(act, nothing_to_undo, external=True, refuses_on=[No], refusal_settles=True)
ACTION, COMPENSATION = Direction.ACTION, Direction.COMPENSATION
ROLLED_BACK, AT_LARGE = True, False
NONE, MAYBE, YES = Effect.NONE, Effect.MAYBE, Effect.YES

TABLE = [
    (No(), ACTION, ROLLED_BACK, Outcome.REFUSED, NONE),
    (No(), ACTION, AT_LARGE, Outcome.REFUSED, NONE),
    (NeverAgain(), ACTION, AT_LARGE, Outcome.REFUSED, NONE),
    (No(), COMPENSATION, AT_LARGE, Outcome.UNKNOWN, MAYBE),
    (NotUndone(), COMPENSATION, AT_LARGE, Outcome.REFUSED, NONE),
    (NotUndone(), ACTION, ROLLED_BACK, Outcome.RETRY, NONE),
    (RetryLater(), ACTION, ROLLED_BACK, Outcome.RETRY, NONE),
    (RetryLater(), ACTION, AT_LARGE, Outcome.RETRY, NONE),
    (InProgress(), ACTION, ROLLED_BACK, Outcome.IN_PROGRESS, MAYBE),
    (InProgress(), ACTION, AT_LARGE, Outcome.IN_PROGRESS, MAYBE),
    (OutcomeUnknown(), ACTION, ROLLED_BACK, Outcome.UNKNOWN, MAYBE),
    (OutcomeUnknown(), ACTION, AT_LARGE, Outcome.UNKNOWN, MAYBE),
    (ValueError(), ACTION, ROLLED_BACK, Outcome.RETRY, NONE),
    (ValueError(), ACTION, AT_LARGE, Outcome.UNKNOWN, MAYBE),
    (TimeoutError(), ACTION, AT_LARGE, Outcome.UNKNOWN, MAYBE),
    (Misconfigured(), ACTION, ROLLED_BACK, Outcome.MISCONFIGURED, NONE),
    (Misconfigured(), ACTION, AT_LARGE, Outcome.MISCONFIGURED, NONE),
    (Fenced(), ACTION, ROLLED_BACK, Outcome.FENCED, NONE),
    (Fenced(), ACTION, AT_LARGE, Outcome.FENCED, NONE),
]


@pytest.mark.parametrize(("error", "direction", "rolled_back", "outcome", "effect"), TABLE)
def test_s1_errors(error: Exception, direction: Direction, rolled_back: bool, outcome: Outcome, effect: Effect) -> None:
    report = classify(error, refusals=STEP.refusals(direction), is_rolled_back=rolled_back)
    assert (report.outcome, report.effect) == (outcome, effect)
    assert report.is_counted is (outcome is not Outcome.IN_PROGRESS)
    assert report.covers_earlier is False


@pytest.mark.parametrize(("step", "settles"), [(STEP, False), (SETTLING, True)])
@pytest.mark.parametrize("rolled_back", [True, False])
def test_s3_refusal_settles_only_if_the_participant_stores_it(step: Step, settles: bool, rolled_back: bool) -> None:
    report = classify(No(), refusals=step.refuses_on, refusal_settles=step.refusal_settles, is_rolled_back=rolled_back)
    assert report.covers_earlier is settles


@pytest.mark.parametrize(
    ("report", "outcome", "effect", "counted"),
    [
        (succeeded(None), Outcome.SUCCEEDED, YES, True),
        (unstorable(TypeError()), Outcome.MISCONFIGURED, MAYBE, True),
        (faultless(OSError()), Outcome.RETRY, NONE, False),
        (commit_unknown(OSError()), Outcome.UNKNOWN, MAYBE, True),
        (lost_worker(is_rolled_back=True, worker="w:1"), Outcome.RETRY, NONE, True),
        (lost_worker(is_rolled_back=False, worker=""), Outcome.UNKNOWN, MAYBE, True),
    ],
)
def test_s1_other_endings(report: Any, outcome: Outcome, effect: Effect, counted: bool) -> None:
    assert (report.outcome, report.effect, report.is_counted) == (outcome, effect, counted)


@pytest.mark.parametrize("kind", [RetryLater, InProgress])
@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (None, None), (0, 0.0), (1.5, 1.5), (timedelta(minutes=2), 120.0), (-3, 0.0), (float("nan"), None),
        (float("inf"), MAX_DELAY_SECONDS), (1e30, MAX_DELAY_SECONDS),
    ],
)  # fmt: skip
def test_s1_delay_is_limited_to_what_a_timestamp_can_hold(kind: Any, asked: Any, kept: float | None) -> None:
    error = kind(after=asked) if kind is RetryLater else kind(poll_after=asked)
    assert classify(error, refusals=STEP.refusals(ACTION), is_rolled_back=False).after_seconds == kept


def test_error_text_is_storable_and_shortened_in_the_middle() -> None:
    assert clean_text("a\x00b\ud800c", 100) == "a\ufffdb?c"
    assert clean_text("x" * 100, 100) == "x" * 100
    shortened = clean_text("a" * 60 + "z" * 60, 101)
    assert len(shortened) == 101
    assert shortened == "a" * 48 + "\n...\n" + "z" * 48


class Unspeakable(Exception):
    """Error whose text cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_error_with_unreadable_text_has_an_outcome() -> None:
    report = classify(Unspeakable(), refusals=STEP.refusals(ACTION), is_rolled_back=False)
    assert (report.outcome, report.message) == (Outcome.UNKNOWN, "(the error has no readable text)")


START = datetime(2030, 1, 1, tzinfo=UTC)
LIVE = (None, MAYBE)
OK = (Outcome.SUCCEEDED, YES)
REFUSED = (Outcome.REFUSED, NONE)
RETRY = (Outcome.RETRY, NONE)
UNKNOWN = (Outcome.UNKNOWN, MAYBE)
POLL = (Outcome.IN_PROGRESS, MAYBE)
SETTLED = (Outcome.REFUSED, NONE, True)

EFFECTS = [
    ([], NONE), ([LIVE], MAYBE), ([OK], YES), ([REFUSED], NONE), ([RETRY, RETRY, REFUSED], NONE),
    ([RETRY, LIVE], MAYBE), ([UNKNOWN], MAYBE), ([POLL], MAYBE), ([UNKNOWN, RETRY, RETRY], MAYBE),
    ([UNKNOWN, REFUSED], MAYBE), ([UNKNOWN, SETTLED], NONE), ([UNKNOWN, SETTLED, UNKNOWN], MAYBE),
    ([SETTLED, UNKNOWN], MAYBE), ([UNKNOWN, OK], YES), ([OK, RETRY], YES), ([OK, REFUSED], YES), ([OK, SETTLED], YES),
    ([RETRY, OK, UNKNOWN], YES),
]  # fmt: skip


@pytest.mark.parametrize(("attempts", "expected"), EFFECTS)
def test_s0_effect_of_a_step(attempts: list[tuple[Any, ...]], expected: Effect) -> None:
    views = [
        AttemptView(
            outcome=attempt[0],
            effect=attempt[1],
            covers_earlier=len(attempt) > 2,
            ended_at=None if attempt[0] is None else START + timedelta(seconds=number),
        )
        for number, attempt in enumerate(attempts)
    ]
    assert compute_effect(views) is expected


@pytest.mark.parametrize(("late", "expected"), [(-1, NONE), (1, YES)])
def test_s4_operators_statement_stands_until_later_evidence(late: int, expected: Effect) -> None:
    attempts = [
        AttemptView(outcome=Outcome.SUCCEEDED, effect=YES, covers_earlier=False, ended_at=START + timedelta(0, late)),
        AttemptView(outcome=Outcome.REFUSED, effect=NONE, covers_earlier=True, ended_at=START, is_last_word=True),
    ]
    assert compute_effect(attempts) is expected
