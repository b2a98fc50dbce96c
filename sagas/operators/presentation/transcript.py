"""Transcript of a saga, for the command line, the console and mails."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

from ... import clock
from ...conf import get_settings
from ...core.visible import escape, take_first_line
from ...exceptions import SagaNotFound
from ...models import Saga, SagaAttempt, SagaHistory, SagaKey, SagaStep
from ...models.history import NOTE_ADDED
from .badges import badge_of_saga, badge_of_step
from .debts import describe_debt

Row = TypeVar("Row", bound=Model)
MAX_TEXT_CHARS = 500  # of an error or a reason, when ``newest`` is given


def render(saga_id: UUID, *, newest: int | None = None) -> str:
    """Return the transcript of a saga: where it stands, every step, attempt and note, every history row.

    Invisible characters of its texts are escaped, so each entry stays on one line.
    ``newest``: at most so many attempts, notes and history rows, the newest, with shortened texts but whole notes; the
    transcript reports what it leaves out. None: everything.
    Raises: SagaNotFound.
    """
    using = get_settings().database
    saga = Saga.objects.using(using).filter(pk=saga_id).first()
    if saga is None:
        raise SagaNotFound(f"There is no saga {saga_id}.")
    steps = list(SagaStep.objects.using(using).filter(saga_id=saga_id).order_by("position"))
    attempts = _take_newest(SagaAttempt.objects.using(using).filter(saga_id=saga_id), "id", newest)
    history = _take_newest(SagaHistory.objects.using(using).filter(saga_id=saga_id), "number", newest)
    notes = _take_newest(SagaHistory.objects.using(using).filter(saga_id=saga_id, what=NOTE_ADDED), "number", newest)
    most = None if newest is None else MAX_TEXT_CHARS
    found = SagaKey.objects.using(using).filter(saga_id=saga_id).order_by("name")
    keys = ", ".join(f"{key.name} {key.value}" for key in found)
    lines = [f"Saga {saga.pk}", f"  {saga.definition} version {saga.version}" + (f", {keys}" if keys else "")]
    lines += [
        f"  {describe_state(saga, steps, clock.read_now(using))}",
        *(f"  {describe_debt(debt, clock.read_now(using))}" for debt in saga.owed),
        *_describe_cause(saga, most),
        "",
        "Steps",
        *_describe_steps(saga, steps, attempts, most),
        *([f"  (only the newest {newest} attempts are shown)"] if len(attempts) == newest else []),
        *_describe_notes(notes, newest),
        "",
        "History",
    ]
    if history and (earlier := history[0].number - 1) and newest is not None:
        lines.append(f"  ({earlier} earlier entries are not shown)")
    lines += [_describe_entry(row, most) for row in history]
    return "\n".join(escape(line) for line in lines) + "\n"


def describe_state(saga: Saga, steps: Sequence[SagaStep], now: datetime) -> str:
    """Return in one sentence where a saga stands."""
    state, began = badge_of_saga(saga, steps, now).text, f"started {_moment(saga.created_at)}"
    if saga.closed_at is not None:
        seconds = (saga.closed_at - saga.created_at).total_seconds()
        return f"{state}, {began}, closed {_moment(saga.closed_at)} after {seconds:.1f} s"
    facts = [f"held at {step.name}" for step in steps if step.hold]
    if saga.abort_request:
        facts.append(
            f"asked to turn back: {saga.abort_request}" + (f" by {saga.abort_actor}" if saga.abort_actor else "")
        )
    facts += [f"next due {_moment(saga.due_at)}"] if saga.due_at else []
    return ", ".join([state, began, *facts])


def _take_newest(rows: QuerySet[Row], order: str, newest: int | None) -> list[Row]:
    if newest is None:
        return list(rows.order_by(order))
    return list(rows.order_by(f"-{order}")[:newest])[::-1]


def _describe_cause(saga: Saga, most: int | None) -> list[str]:
    if not saga.cause:
        return []
    where = f" at {saga.cause['step']}" if saga.cause.get("step") else ""
    text = str(saga.cause.get("message") or saga.cause.get("reason") or "")[:most]
    return [f"  because: {saga.cause.get('kind', '')}{where}{': ' + text if text else ''}"]


def _describe_steps(saga: Saga, steps: list[SagaStep], attempts: list[SagaAttempt], most: int | None) -> list[str]:
    lines = []
    for step in steps:
        lines.append(f"  {step.position + 1}. {step.name:<24} {step.kind:<14} {badge_of_step(step, saga).text}")
        lines += [
            f"       {line}"
            for attempt in attempts
            if attempt.step_id == step.pk
            for line in _describe_attempt(attempt, most)
        ]
    return lines


def _describe_attempt(attempt: SagaAttempt, most: int | None) -> list[str]:
    outcome = attempt.outcome or "running"
    seconds = f" in {(attempt.ended_at - attempt.started_at).total_seconds():.3f} s" if attempt.ended_at else ""
    by = f" by {attempt.worker}" if attempt.worker else ""
    assumed = ", assumed" if attempt.is_assumed else ""
    lines = [f"{attempt.direction} {attempt.number}: {outcome}{seconds}, {_moment(attempt.started_at)}{by}{assumed}"]
    if attempt.error_class or attempt.message:
        first_line = take_first_line(attempt.message, at_most=most)
        lines.append(f"  {attempt.error_class}: {first_line}" if attempt.error_class else f"  {first_line}")
    return lines


def _describe_notes(notes: list[SagaHistory], newest: int | None) -> list[str]:
    """Return the notes with their whole texts: a note is written to be read."""
    if not notes:
        return []
    lines = ["", "Notes", *([f"  (only the newest {newest} notes are shown)"] if len(notes) == newest else [])]
    for note in notes:
        lines += [f"  {note.number:>3} {_moment(note.at)} by {note.actor}"]
        lines += [f"      {line}" for line in note.reason.split("\n")]
    return lines


def _describe_entry(row: SagaHistory, most: int | None) -> str:
    move = f" {row.from_state or '-'} > {row.to_state or '-'}" if row.from_state or row.to_state else ""
    step = f" {row.step}" if row.step else ""
    by = f" by {row.actor}" if row.actor else ""
    reason = f": {take_first_line(row.reason, at_most=most)}" if row.reason else ""
    return f"  {row.number:>3} {_moment(row.at)} {row.what}{step}{move}{by}{reason}"


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}"[:-3] if moment else "-"
