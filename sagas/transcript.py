"""Tell a saga's whole story as text, for the command line, the console and a mail to a colleague."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from .conf import get_settings
from .exceptions import SagaNotFound
from .models import Saga, SagaAttempt, SagaHistory, SagaKey, SagaStep
from .states import StepState


def render(saga_id: UUID) -> str:
    """Return the transcript of a saga: where it stands, every step, every attempt, every history row.

    Raises: SagaNotFound.
    """
    using = get_settings().database
    saga = Saga.objects.using(using).filter(pk=saga_id).first()
    if saga is None:
        raise SagaNotFound(f"There is no saga {saga_id}.")
    steps = list(SagaStep.objects.using(using).filter(saga_id=saga_id).order_by("position"))
    attempts = list(SagaAttempt.objects.using(using).filter(saga_id=saga_id).order_by("id"))
    history = SagaHistory.objects.using(using).filter(saga_id=saga_id).order_by("number")
    found = SagaKey.objects.using(using).filter(saga_id=saga_id).order_by("name")
    keys = ", ".join(f"{key.name} {key.value}" for key in found)
    lines = [f"Saga {saga.pk}", f"  {saga.definition} version {saga.version}" + (f", {keys}" if keys else "")]
    lines += [
        f"  {describe_state(saga, steps)}",
        *_describe_cause(saga),
        "",
        "Steps",
        *_describe_steps(steps, attempts),
    ]
    lines += ["", "History", *(_describe_entry(row) for row in history)]
    return "\n".join(lines) + "\n"


def describe_state(saga: Saga, steps: Iterable[SagaStep]) -> str:
    """Return in one sentence where a saga stands."""
    began = f"started {_moment(saga.created_at)}"
    if saga.closed_at is not None:
        seconds = (saga.closed_at - saga.created_at).total_seconds()
        return f"{saga.state}, {began}, closed {_moment(saga.closed_at)} after {seconds:.1f} s"
    reasons = [f"held: {saga.hold}"] if saga.hold else []
    if saga.abort_request:
        reasons.append(
            f"asked to turn back: {saga.abort_request}" + (f" by {saga.abort_actor}" if saga.abort_actor else "")
        )
    reasons += [f"held at {step.name}: {step.hold}" for step in steps if step.hold]
    reasons += [f"needs a person: {reason}" for reason in saga.attention]
    reasons += [f"next look {_moment(saga.due_at)}"] if saga.due_at else []
    return ", ".join([saga.state, began, *reasons])


def _describe_cause(saga: Saga) -> list[str]:
    if not saga.cause:
        return []
    where = f" at {saga.cause['step']}" if saga.cause.get("step") else ""
    text = saga.cause.get("message") or saga.cause.get("reason") or ""
    return [f"  because: {saga.cause.get('kind', '')}{where}{': ' + text if text else ''}"]


def _describe_steps(steps: list[SagaStep], attempts: list[SagaAttempt]) -> list[str]:
    lines = []
    for step in steps:
        state = step.state + (f" ({step.hold})" if step.hold else "")
        if step.state == StepState.WAITING and step.waiting_for:
            state += f" for {step.waiting_for}"
        lines.append(f"  {step.position + 1}. {step.name:<24} {step.kind:<14} {state}")
        lines += [
            f"       {line}"
            for attempt in attempts
            if attempt.step_id == step.pk
            for line in _describe_attempt(attempt)
        ]
    return lines


def _describe_attempt(attempt: SagaAttempt) -> list[str]:
    outcome = attempt.outcome or "running"
    seconds = f" in {(attempt.ended_at - attempt.started_at).total_seconds():.3f} s" if attempt.ended_at else ""
    by = f" by {attempt.worker}" if attempt.worker else ""
    assumed = ", assumed" if attempt.is_assumed else ""
    lines = [f"{attempt.direction} {attempt.number}: {outcome}{seconds}, {_moment(attempt.started_at)}{by}{assumed}"]
    if attempt.error_class or attempt.message:
        first_line = attempt.message.splitlines()[0] if attempt.message else ""
        lines.append(f"  {attempt.error_class}: {first_line}" if attempt.error_class else f"  {first_line}")
    return lines


def _describe_entry(row: SagaHistory) -> str:
    move = f" {row.from_state or '-'} > {row.to_state or '-'}" if row.from_state or row.to_state else ""
    step = f" {row.step}" if row.step else ""
    by = f" by {row.actor}" if row.actor else ""
    reason = f": {row.reason.splitlines()[0]}" if row.reason else ""
    return f"  {row.number:>3} {_moment(row.at)} {row.what}{step}{move}{by}{reason}"


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}"[:-3] if moment else "-"
