"""Reading of one saga for its page, in few queries and without a lock."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import Case, Q, QuerySet, When
from django.db.models.fields.json import KeyTextTransform

from ...choreography.calls import OpenAnswers
from ...choreography.definition import find
from ...core.history_events import HistoryEvent
from ...core.states import Outcome
from ...core.visible import show_invisible
from ...engine.store.snapshot import SagaSnapshot
from ...models import Saga, SagaAttempt, SagaHistory, SagaKey, SagaStep
from ...models.history import NOTE_ADDED
from ...operators import choreographed
from ...operators.notes import SagaNote
from ..ui.page_selection import CHOREOGRAPHY_TABS, ORCHESTRATION_TABS, Only, Selection, Tab
from ..ui.view_only import engine_database
from .json_text import select_json

ATTEMPTS_SHOWN = 50
NOTES_SHOWN = 5
HISTORY_SHOWN = 200
# Events that show what went wrong.
FAILURES = (
    HistoryEvent.STEP_REFUSED,
    HistoryEvent.STEP_WAITING,
    HistoryEvent.STEP_UNKNOWN,
    HistoryEvent.COMPENSATION_WAITING,
    HistoryEvent.LATE_ANSWER,
    HistoryEvent.HELD,
    HistoryEvent.ATTENTION_RAISED,
    HistoryEvent.SAGA_TURNED_BACK,
    HistoryEvent.SAGA_REOPENED,
    HistoryEvent.SAGA_ABANDONED,
)
# A step also waits after these outcomes without a failure: a participant is at work, or a success is checked again.
NO_FAILURES = (Outcome.IN_PROGRESS, Outcome.SUCCEEDED)


BESIDE_THE_SAGA = """
    SELECT (
        SELECT coalesce(json_object_agg(name, value ORDER BY id), '{{}}') FROM sagas_sagakey WHERE saga_id = %s
    ), (
        SELECT coalesce(json_agg(note), '[]') FROM (
            SELECT number, at, coalesce(actor, '') AS actor, reason AS text
            FROM sagas_sagahistory WHERE saga_id = %s AND what = %s ORDER BY number DESC LIMIT %s
        ) AS note
    ), (
        SELECT coalesce(json_object_agg(place, id), '{{}}') FROM ({neighbours}) AS neighbour (place, id)
    )
"""
NO_NEIGHBOURS = "SELECT 0, NULL::uuid WHERE false"

SelectNeighbours = Callable[[Saga], QuerySet[Saga, Any] | None]


@dataclass(frozen=True, kw_only=True)
class SagaReading:
    """Data read for a saga's page; what the selected view does not show is empty."""

    snapshot: SagaSnapshot
    """Saga and steps as of one moment; read only."""
    selection: Selection
    """The wanted selection, without a step or a view that the saga does not have."""
    keys: dict[str, str]
    """Its business keys by name, in the order in which they were given."""
    attempts: list[SagaAttempt]
    """The newest attempts, or those before a given one, in order."""
    has_older_attempts: bool
    """Whether there are older attempts."""
    history: list[SagaHistory]
    """The newest entries, or those before a given one, in order."""
    has_older_history: bool
    """Whether there are older entries."""
    notes: list[SagaNote]
    """The newest notes, the newest first, and one more if there are older ones."""
    neighbours: dict[int, UUID]
    """The sagas that ``select_neighbours`` found, by place."""
    input: str
    """Its input as JSON text, or the beginning of that."""
    answers: OpenAnswers | None
    """Events and external calls of a choreographed saga; None for others."""
    has_event_data: bool
    """Whether the data of its events were read."""
    results: dict[str, str] | None
    """Results by step name, as JSON text or the beginning of that; None: not read."""

    @property
    def now(self) -> datetime:
        """Time of the reading, by the engine's clock."""
        return self.snapshot.now


def read_saga(
    saga_id: UUID,
    selection: Selection,
    *,
    with_payloads: bool,
    with_event_data: bool = False,
    select_neighbours: SelectNeighbours | None = None,
) -> SagaReading | None:
    """Return a saga with what its selected view shows, or None when it does not exist.

    ``select_neighbours``: returns the query of place and id of the sagas beside it.
    Saga and steps come from one statement, so they are consistent without a lock: reading must not block workers.
    """
    snapshot = SagaSnapshot.find(saga_id)
    if snapshot is None:
        return None
    if selection.step not in {step.name for step in snapshot.steps}:
        selection = replace(selection, step="")
    tabs = list_tabs(snapshot.saga)
    if selection.tab not in tabs:
        selection = replace(selection, tab=tabs[0])
    neighbours = select_neighbours(snapshot.saga) if select_neighbours is not None else None
    keys, notes, found = _read_beside(saga_id, neighbours)
    has_attempts = selection.tab is Tab.TIMELINE and not snapshot.saga.is_choreographed
    attempts = list(_select_attempts(saga_id, selection)) if has_attempts else []
    history = list(_select_some_history(saga_id, selection)) if selection.tab is Tab.HISTORY else []
    needs_payloads = with_payloads and selection.tab is Tab.STEPS
    has_event_data = with_event_data and selection.tab is Tab.EVENTS
    answers = _read_answers(snapshot, with_data=has_event_data) if snapshot.saga.is_choreographed else None
    saga_input, results = _read_payloads(saga_id) if needs_payloads else ("", None)
    return SagaReading(
        snapshot=snapshot,
        selection=selection,
        keys=keys,
        attempts=attempts[:ATTEMPTS_SHOWN][::-1],
        has_older_attempts=len(attempts) > ATTEMPTS_SHOWN,
        history=history[:HISTORY_SHOWN][::-1],
        has_older_history=len(history) > HISTORY_SHOWN,
        notes=notes,
        neighbours=found,
        input=saga_input,
        answers=answers,
        has_event_data=has_event_data,
        results=results,
    )


def list_tabs(saga: Saga) -> tuple[Tab, ...]:
    """Return the views of a saga."""
    return CHOREOGRAPHY_TABS if saga.is_choreographed else ORCHESTRATION_TABS


def _read_answers(snapshot: SagaSnapshot, *, with_data: bool) -> OpenAnswers:
    saga = snapshot.saga
    return choreographed.read(snapshot, find(saga.definition, saga.version), with_data=with_data)


def _read_beside(
    saga_id: UUID, neighbours: QuerySet[Saga, Any] | None
) -> tuple[dict[str, str], list[SagaNote], dict[int, UUID]]:
    """Return business keys, newest notes and the sagas beside one, in one statement."""
    sql, values = neighbours.query.sql_with_params() if neighbours is not None else (NO_NEIGHBOURS, ())
    with connections[engine_database()].cursor() as cursor:
        cursor.execute(BESIDE_THE_SAGA.format(neighbours=sql), [saga_id, saga_id, NOTE_ADDED, NOTES_SHOWN + 1, *values])
        keys, notes, found = (json.loads(one) if isinstance(one, str) else one for one in cursor.fetchone())
    moments = [datetime.fromisoformat(note.pop("at")).astimezone(UTC) for note in notes]
    listed = [SagaNote(saga_id=saga_id, at=at, **note) for at, note in zip(moments, notes, strict=True)]
    return keys, listed, {int(place): UUID(pk) for place, pk in found.items()}


def read_history_since(saga_id: UUID, number: int) -> list[SagaHistory]:
    """Return the history of a saga after an entry's number, in order; at most the newest HISTORY_SHOWN entries."""
    return list(select_history(saga_id).filter(number__gt=number)[:HISTORY_SHOWN])[::-1]


def read_name(saga_id: UUID) -> str:
    """Return a saga's name in titles: its definition with its business keys, or its id without keys."""
    keys = SagaKey.objects.using(engine_database()).filter(saga_id=saga_id).order_by("pk")
    found = list(keys.values_list("saga__definition", "value"))
    return show_invisible(" ".join([found[0][0], *(value for _, value in found)])) if found else str(saga_id)


def select_history(saga_id: UUID) -> QuerySet[SagaHistory]:
    """Return the history of a saga, newest first.

    Data is JSON text only (``data_text``); the bulk and the outcome that an entry names are texts (``bulk_id``,
    ``outcome``).
    """
    entries = SagaHistory.objects.using(engine_database()).filter(saga_id=saga_id)
    facts = {
        "data_text": select_json("data"),
        "bulk_id": KeyTextTransform("bulk", "data"),
        "outcome": KeyTextTransform("outcome", "data"),
    }
    return entries.defer("data").annotate(**facts).order_by("-number")


def _select_attempts(saga_id: UUID, selection: Selection) -> QuerySet[SagaAttempt]:
    attempts = SagaAttempt.objects.using(engine_database()).filter(saga_id=saga_id).select_related("step")
    if selection.step:
        attempts = attempts.filter(step__name=selection.step)
    if selection.attempts_before is not None:
        attempts = attempts.filter(pk__lt=selection.attempts_before)
    return attempts.order_by("-pk")[: ATTEMPTS_SHOWN + 1]


def _select_some_history(saga_id: UUID, selection: Selection) -> QuerySet[SagaHistory]:
    history = select_history(saga_id)
    if selection.step:
        history = history.filter(step=selection.step)
    if selection.only is Only.FAILURES:
        # For an entry without an outcome the second condition is NULL, not true.
        went_wrong = Q(data__outcome__isnull=True) | ~Q(data__outcome__in=[outcome.value for outcome in NO_FAILURES])
        history = history.filter(went_wrong, what__in=[what.value for what in FAILURES])
    if selection.only is Only.OPERATORS:
        history = history.filter(actor__isnull=False)
    if selection.history_before is not None:
        history = history.filter(number__lt=selection.history_before)
    return history[: HISTORY_SHOWN + 1]


def _read_payloads(saga_id: UUID) -> tuple[str, dict[str, str]]:
    """Return input and results in one statement; the input comes with the first step, or alone without steps."""
    saga_input = Case(When(position=0, then=select_json("saga__input")))
    steps = SagaStep.objects.using(engine_database()).filter(saga_id=saga_id).order_by("position")
    rows = list(steps.values_list("name", select_json("result"), saga_input))
    if rows:
        return str(rows[0][2] or ""), {name: result for name, result, _ in rows if result is not None}
    sagas = Saga.objects.using(engine_database()).filter(pk=saga_id)
    return str(sagas.values_list(select_json("input"), flat=True).get()), {}
