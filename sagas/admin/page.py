"""Turn what was read about a saga into what its page shows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.urls import reverse
from django.utils.http import urlencode

from .. import plans, rules
from ..actors import Actor
from ..display import Account, Badge, badge_of_saga, badge_of_step, tell
from ..display.badges import in_words
from ..display.sentences import count_attempts, show_error
from ..display.times import describe_distance, describe_moment, describe_span
from ..journal import Journal, What
from ..models import Saga, SagaAttempt, SagaHistory, SagaStep
from ..rules import Operation
from ..states import Direction
from .folding import Folded, fold, fold_error
from .reading import SagaReading

MAX_JSON_CHARS = 10_000
PAYLOAD_PERMISSION = "sagas.view_payload"
# These turn a saga for good; their buttons look the part.
GRAVE = frozenset({Operation.COMPENSATE, Operation.CANCEL, Operation.ABANDON})


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Show a point in time."""

    iso: str
    """For machines."""
    text: str
    """To the second."""
    distance: str
    """From now."""


@dataclass(frozen=True, kw_only=True)
class JsonText:
    """Show a JSON value."""

    text: str
    """The value, indented; at most MAX_JSON_CHARS of it."""
    is_cut: bool
    """Whether something is left out."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Offer an action, or say why it is not offered."""

    label: str
    """The action in words."""
    url: str
    """Its page."""
    refusal: str
    """Why it is not possible; empty when it is."""
    is_grave: bool
    """Whether it turns the saga for good."""


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """Show a step."""

    number: int
    """Place in the definition, from 1."""
    name: str
    """Its name."""
    kind: str
    """Compensatable, pivot or retriable."""
    badge: Badge
    """Where it stands."""
    effect: str
    """What it has done to the world."""
    attempts: str
    """How many of how many."""
    due: Moment | None
    """When it is tried or asked again."""
    duration: str
    """From its first attempt to its end."""
    worker: str
    """Who ran its latest attempt."""
    error: Folded
    """The last error; its class alone for those who may not see more."""
    result: JsonText | None
    """What it returned; None without it, or without the permission."""


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


@dataclass(frozen=True, kw_only=True)
class HistoryRow:
    """Show a history entry."""

    number: int
    """From 1, without gaps."""
    at: Moment
    """When."""
    what: str
    """What happened."""
    step: str
    """To which step; empty for the saga."""
    move: str
    """From where to where."""
    actor: str
    """Who did it."""
    reason: Folded
    """Why."""
    data: JsonText | None
    """Further facts; None without them, or without the permission."""


@dataclass(frozen=True, kw_only=True)
class SagaPage:
    """Show a saga."""

    saga: Saga
    """The saga."""
    badge: Badge
    """Where it stands."""
    account: Account
    """The same in sentences."""
    keys: dict[str, str]
    """Its business keys by name."""
    facts: tuple[tuple[str, Any], ...]
    """Label and text, or a Moment."""
    steps: tuple[StepRow, ...]
    """Every step."""
    attempts: tuple[AttemptRow, ...]
    """A page of its attempts."""
    history: tuple[HistoryRow, ...]
    """A page of its history."""
    choices: tuple[Choice, ...]
    """The actions that are possible."""
    refused: tuple[Choice, ...]
    """The actions that are not, with why."""
    effects_left: tuple[dict[str, Any], ...]
    """What an abandoned saga left behind."""
    input: JsonText | None
    """Its input; None without the permission."""
    may_see_payloads: bool
    """Whether inputs, results and error texts are shown."""
    older_attempts_url: str
    """The page of attempts before these; empty at the first."""
    older_history_url: str
    """The page of history before this; empty at the first."""


def build_page(reading: SagaReading, user: AbstractBaseUser | AnonymousUser) -> SagaPage:
    """Return the page for a person."""
    journal, now = reading.journal, reading.now
    saga, steps = journal.saga, journal.steps
    may_see = may_see_payloads(user)
    choices = list(list_choices(journal, Actor.of_user(user)))
    older_attempts = {"attempts_before": reading.attempts[0].pk} if reading.has_older_attempts else {}
    older_history = {"history_before": reading.history[0].number} if reading.has_older_history else {}
    return SagaPage(
        saga=saga,
        badge=badge_of_saga(saga, steps, now),
        account=tell(saga, steps, now, with_errors=may_see),
        keys=reading.keys,
        facts=tuple(_list_facts(saga, now)),
        steps=tuple(_list_steps(journal, may_see)),
        attempts=tuple(_show_attempts_made(reading.attempts, now, may_see)),
        history=tuple(show_history(reading.history, now, may_see)),
        choices=tuple(choice for choice in choices if not choice.refusal),
        refused=tuple(choice for choice in choices if choice.refusal),
        effects_left=tuple(saga.effects_left or ()),
        input=show_json(saga.input) if may_see else None,
        may_see_payloads=may_see,
        older_attempts_url=f"?{urlencode(older_attempts)}#attempts" if older_attempts else "",
        older_history_url=f"?{urlencode(older_history)}#history" if older_history else "",
    )


def may_see_payloads(user: Any) -> bool:
    """Tell whether a person may see inputs, results and error texts."""
    return bool(user.has_perm(PAYLOAD_PERMISSION))


def operation_url(saga: Saga, operation: Operation, step: str | None = None) -> str:
    """Return the page of an action."""
    url = reverse("admin:sagas_saga_operate", args=[saga.pk, operation.value.replace("_", "-")])
    return f"{url}?{urlencode({'step': step})}" if step else url


def list_choices(journal: Journal, actor: Actor) -> Iterator[Choice]:
    """Return every action, with why it is not possible where it is not; those on steps once for each that allows it."""
    for operation in Operation:
        if not actor.may(rules.PERMISSIONS[operation]):
            yield _choose(journal, operation, f"needs the permission sagas.{rules.PERMISSIONS[operation]}")
        elif operation in rules.STEP_OPERATIONS:
            yield from _choose_steps(journal, operation)
        else:
            refusal = rules.find_repeat(journal, operation, None) or rules.find_refusal(journal, operation, None)
            yield _choose(journal, operation, refusal)
            yield from _choose_one_retry(journal, operation)


def _choose_one_retry(journal: Journal, operation: Operation) -> Iterator[Choice]:
    """Offer to retry one step alone where several could be."""
    names = rules.retriable_steps(journal, None) if operation is Operation.RETRY else []
    if len(names) > 1:
        yield from (_choose(journal, operation, "", name) for name in names)


def _choose_steps(journal: Journal, operation: Operation) -> Iterator[Choice]:
    refusals = plans.list_allowed_steps(journal, operation)
    allowed = [name for name, refusal in refusals.items() if not refusal]
    if not allowed:
        yield _choose(journal, operation, "no step allows it now")
    for name in allowed:
        yield _choose(journal, operation, "", name)


def _choose(journal: Journal, operation: Operation, refusal: str, step: str | None = None) -> Choice:
    label = plans.LABELS[operation]
    return Choice(
        label=f"{label}: {step}" if step else label,
        url=operation_url(journal.saga, operation, step),
        refusal=refusal,
        is_grave=operation in GRAVE,
    )


def _list_facts(saga: Saga, now: datetime) -> Iterator[tuple[str, Any]]:
    yield "Saga id", str(saga.pk)
    yield "Definition", f"{saga.definition}, version {saga.version}"
    yield "State", in_words(saga.state)
    yield "Revision", str(saga.revision)
    yield "Started", show_moment(saga.created_at, now)
    if saga.started_by:
        yield "Started by", saga.started_by
    if saga.closed_at:
        yield "Closed", show_moment(saga.closed_at, now)
        yield "Took", describe_span(saga.closed_at - saga.created_at)
    else:
        yield "Age", describe_span(now - saga.created_at)
    if saga.deadline_at:
        yield "Deadline", show_moment(saga.deadline_at, now)
    if saga.due_at:
        yield "Next look", show_moment(saga.due_at, now)
        yield "Queue", saga.queue
    if saga.pivot_passed_at:
        yield "Pivot passed", show_moment(saga.pivot_passed_at, now)
    if saga.abort_request:
        yield "Asked to turn back", f"{saga.abort_request} {saga.abort_actor}".strip()


def _list_steps(journal: Journal, may_see: bool) -> Iterator[StepRow]:
    effects = journal.effects()
    for step in journal.steps:
        attempts = [a for direction in Direction for a in journal.attempts_of(step, direction)]
        latest = max(attempts, key=lambda attempt: attempt.pk, default=None)
        yield StepRow(
            number=step.position + 1,
            name=step.name,
            kind=step.kind,
            badge=badge_of_step(step, journal.saga),
            effect=effects[step.name].value,
            attempts=_show_attempts(step, journal.saga),
            due=show_moment(step.due_at, journal.now) if step.due_at else None,
            duration=_show_duration(step.started_at, step.finished_at, journal.now),
            worker=latest.worker if latest is not None else "",
            error=fold_error(show_error(step.last_error, with_errors=may_see)),
            result=show_json(step.result) if may_see and step.result is not None else None,
        )


def _show_attempts(step: SagaStep, saga: Saga) -> str:
    counted = count_attempts(step, saga)
    if not step.compensation_attempts:
        return counted
    return f"{counted} back, {step.action_attempts} forward"


def _show_duration(started_at: datetime | None, ended_at: datetime | None, now: datetime) -> str:
    if started_at is None:
        return ""
    return describe_span(ended_at - started_at) if ended_at else f"{describe_span(now - started_at)} so far"


def _show_attempts_made(attempts: Iterable[SagaAttempt], now: datetime, may_see: bool) -> Iterator[AttemptRow]:
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
        duration=_show_duration(attempt.started_at, attempt.ended_at, now),
        worker=attempt.worker,
        error=fold_error(text, repeats=repeats) if attempt.error_class else fold(text, repeats=repeats),
        traceback=attempt.traceback if may_see else "",
    )


def show_history(entries: Iterable[SagaHistory], now: datetime, may_see: bool) -> Iterator[HistoryRow]:
    """Return history for a person; an error that a step repeats is told once."""
    seen: dict[tuple[str, str], int] = {}
    for entry in entries:
        first = seen.setdefault((entry.step, entry.reason), entry.number) if _is_error(entry) else entry.number
        yield _show_entry(entry, now, may_see, f"no. {first}" if first != entry.number else "")


def _is_error(entry: SagaHistory) -> bool:
    """Tell whether the engine wrote about a step's error, which is shown as the error is."""
    return entry.actor is None and bool(entry.step)


def _show_entry(entry: SagaHistory, now: datetime, may_see: bool, repeats: str) -> HistoryRow:
    told = show_error(entry.reason, with_errors=may_see) if _is_error(entry) else entry.reason
    is_open_to_all = entry.what == What.OPERATOR_ACTED
    return HistoryRow(
        number=entry.number,
        at=show_moment(entry.at, now),
        what=in_words(entry.what),
        step=entry.step,
        move=" → ".join(dict.fromkeys(in_words(state) for state in (entry.from_state, entry.to_state) if state)),
        actor=entry.actor if entry.actor is not None else "engine",
        reason=fold_error(told, repeats=repeats) if _is_error(entry) else fold(told),
        data=show_json(entry.data) if entry.data and (may_see or is_open_to_all) else None,
    )


def show_moment(moment: datetime, now: datetime) -> Moment:
    """Return a point in time for a person."""
    return Moment(iso=moment.isoformat(), text=describe_moment(moment), distance=describe_distance(moment, now))


def show_json(value: Any) -> JsonText:
    """Return a JSON value for a person, with exact numbers and readable letters."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return JsonText(text=text[:MAX_JSON_CHARS], is_cut=len(text) > MAX_JSON_CHARS)


def name_saga(saga: Saga, keys: Iterable[str]) -> str:
    """Return how a saga is called in titles: its definition and its business keys, else its id."""
    values = list(keys)
    return " ".join([saga.definition, *values]) if values else f"{saga.definition} {saga.pk}"
