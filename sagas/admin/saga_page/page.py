"""Data of the page of one saga."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils.safestring import SafeString

from ...choreography.definition import find
from ...core.visible import show_invisible
from ...engine.store.snapshot import SagaSnapshot
from ...events.settings import get_event_settings
from ...models import Saga
from ...operators import preconditions, preview, remedies
from ...operators.actor import Actor
from ...operators.preconditions import Operation
from ...operators.presentation import Account, Badge, badge_of_saga, explain
from ...operators.presentation.times import describe_span
from ...operators.presentation.whereabouts import list_whereabouts
from ...operators.recommendation import belongs_beside, recommend_operation
from ...operators.visibility import Visibility
from ..ui.addresses import find_url
from ..ui.formatting import Moment, show_moment
from ..ui.page_selection import LIST_FILTERS, Only, Selection, Tab
from .attempt_rows import AttemptRow, show_attempts_made
from .event_links import EventLink, list_event_links
from .event_rows import EventRow, list_badges, list_event_rows
from .event_timeline import draw_events
from .event_visibility import EventVisibility
from .flow_view import FlowRow, draw_stations, list_flow, list_flow_rows
from .graph_view import draw_saga
from .history_rows import HistoryRow, show_history
from .json_text import JsonText, show_json_text
from .note_rows import NoteList, list_notes
from .payloads import payload_url
from .reading import SagaReading, list_tabs
from .step_rows import StepRow, list_step_rows
from .step_strip import StepStrip, build_strip
from .timeline_view import draw_attempts, list_legend

FILTER_LABELS = {Only.ALL: "all", Only.FAILURES: "failures", Only.OPERATORS: "operators"}
# These end a saga's way forward for good, so their buttons stand out.
GRAVE = frozenset({Operation.COMPENSATE, Operation.CANCEL, Operation.ABANDON, Operation.MARK_REFUSED})


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Operation on offer, or the reason why it is not possible."""

    label: str
    """The operation in words."""
    url: str
    """URL of its page."""
    refusal: str
    """Why it is not possible; empty if it is possible."""
    is_grave: bool
    """Whether it is one of ``GRAVE``."""
    is_main: bool = False
    """Whether it is the recommended one."""
    is_beside: bool = False
    """Whether it stands beside the recommended one; the others are under *More*."""


@dataclass(frozen=True, kw_only=True)
class RemedyLink:
    """Button of a remedy."""

    label: str
    """The remedy and its step."""
    url: str
    """URL of its page, to which a look-up is posted."""
    is_repair: bool
    """Whether its page first asks for a reason."""
    is_main: bool
    """Whether it is recommended: a repair, or a look-up without one."""


@dataclass(frozen=True, kw_only=True)
class TabLink:
    """Link to a view or a filter of it."""

    label: str
    """Text of the link."""
    url: str
    """Its query."""
    is_current: bool
    """Whether it is shown now."""


@dataclass(frozen=True, kw_only=True)
class SagaPage:
    """Data of a saga's page; what the selected view does not show is empty."""

    saga: Saga
    """The saga."""
    selection: Selection
    """View and filters of the URL."""
    tabs: tuple[TabLink, ...]
    """The views."""
    now: Moment
    """When the page was read."""
    badge: Badge
    """Badge of its state."""
    account: Account
    """Its state in sentences."""
    keys: dict[str, str]
    """Its business keys by name, in the order in which they were given."""
    facts: tuple[tuple[str, Any], ...]
    """Label, and a text or a Moment."""
    is_definition_missing: bool
    """Whether the code lacks this version, or has it with other steps."""
    steps: tuple[StepRow, ...]
    """All steps."""
    attempts: tuple[AttemptRow, ...]
    """One page of its attempts."""
    history: tuple[HistoryRow, ...]
    """One page of its history."""
    notes: NoteList
    """Its newest notes, and where to write one."""
    strip: StepStrip
    """Its steps at a glance."""
    main: tuple[Choice, ...]
    """The recommended operation, if there is one."""
    event_links: tuple[EventLink, ...]
    """What to do about the events that it waits for, the recommended first."""
    beside: tuple[Choice, ...]
    """Operations beside it."""
    more: tuple[Choice, ...]
    """Other operations that are possible."""
    refused: tuple[Choice, ...]
    """Operations that are not possible, with the reason."""
    remedies: tuple[RemedyLink, ...]
    """Look-ups and repairs that are offered now."""
    effects_left: tuple[dict[str, Any], ...]
    """Effects that an abandoned saga left behind."""
    input: JsonText | None
    """Its input; None without the permission."""
    visibility: Visibility
    """What is shown besides states."""
    flow: tuple[FlowRow, ...]
    """Events of a choreographed saga, sent and expected."""
    events: tuple[EventRow, ...]
    """Events of a choreographed saga that were sent."""
    sees: EventVisibility
    """What is shown of the data of events."""
    picture: SafeString
    """SVG of the view; empty if it has none."""
    legend: tuple[Badge, ...]
    """Meaning of its symbols."""
    filters: tuple[TabLink, ...]
    """Filters of the history."""
    all_steps_url: str
    """The same view without a selected step; empty if none is selected."""
    older_attempts_url: str
    """The next older page of attempts; empty on the oldest."""
    older_history_url: str
    """The next older page of history; empty on the oldest."""


def build_page(
    reading: SagaReading, actor: Actor, *, site: str, visibility: Visibility, sees: EventVisibility
) -> SagaPage:
    """Return the page for a user on an admin site. ``sees``: what of the data of events."""
    snapshot, selection, now = reading.snapshot, reading.selection, reading.now
    saga, steps = snapshot.saga, snapshot.steps
    choices = list(list_choices(snapshot, actor, site, filters=selection.filters))
    badge = badge_of_saga(saga, steps, now)
    has_steps = selection.tab in (Tab.GRAPH, Tab.STEPS)
    events = tuple(_list_events(reading, site, visibility, sees))
    stations = list_flow(reading) if selection.tab is Tab.FLOW else []
    return SagaPage(
        saga=saga,
        selection=selection,
        tabs=tuple(_list_tabs(saga, selection)),
        now=show_moment(now, now),
        badge=badge,
        account=_explain(reading, actor, visibility),
        keys=reading.keys,
        facts=tuple(_list_facts(saga, badge, now)),
        is_definition_missing=_lacks_definition(snapshot),
        steps=tuple(
            list_step_rows(snapshot, selection, reading.results, site=site, with_errors=visibility.has_errors)
            if has_steps
            else ()
        ),
        attempts=tuple(show_attempts_made(reading.attempts, now, visibility=visibility)),
        history=tuple(show_history(reading.history, now, site=site, visibility=visibility)),
        notes=list_notes(reading, actor, site=site),
        strip=build_strip(snapshot, selection),
        main=tuple(choice for choice in choices if not choice.refusal and choice.is_main),
        event_links=tuple(list_event_links(reading, actor, site)),
        beside=tuple(choice for choice in choices if not choice.refusal and choice.is_beside),
        more=tuple(choice for choice in choices if not (choice.refusal or choice.is_main or choice.is_beside)),
        refused=tuple(choice for choice in choices if choice.refusal),
        remedies=tuple(list_remedy_links(snapshot, actor, site)),
        effects_left=tuple(saga.effects_left or ()),
        input=show_json_text(reading.input, payload_url(site, saga.pk, of="input")) if reading.input else None,
        visibility=visibility,
        flow=tuple(list_flow_rows(stations, events, selection)),
        events=events,
        sees=sees,
        picture=draw_stations(stations, reading) if stations else _draw(reading, events),
        legend=tuple(_list_legend(reading, events)),
        filters=tuple(_list_filters(selection)),
        all_steps_url=selection.url(step="", attempts_before=None, history_before=None) if selection.step else "",
        older_attempts_url=selection.url(attempts_before=reading.attempts[0].pk) if reading.has_older_attempts else "",
        older_history_url=selection.url(history_before=reading.history[0].number) if reading.has_older_history else "",
    )


def _explain(reading: SagaReading, actor: Actor, visibility: Visibility) -> Account:
    """Return the state in sentences; for a choreographed saga also where the event is that it waits for."""
    saga, with_errors = reading.snapshot.saga, visibility.has_errors
    account = explain(saga, reading.snapshot.steps, reading.now, reader=actor, with_errors=with_errors)
    if reading.answers is None:
        return account
    where = list_whereabouts(saga, reading.answers, reading.now, with_errors=with_errors)
    return replace(account, why=(*where, *account.why))


def _lacks_definition(snapshot: SagaSnapshot) -> bool:
    saga = snapshot.saga
    return (find(saga.definition, saga.version) if saga.is_choreographed else snapshot.definition) is None


def _list_events(reading: SagaReading, site: str, visibility: Visibility, sees: EventVisibility) -> Iterator[EventRow]:
    if reading.answers is not None:
        shown = sees if reading.has_event_data else EventVisibility(has_links=sees.has_links)
        yield from list_event_rows(reading.answers, reading.now, site=site, visibility=visibility, sees=shown)


def _draw(reading: SagaReading, events: tuple[EventRow, ...]) -> SafeString:
    snapshot, selection = reading.snapshot, reading.selection
    if selection.tab is Tab.GRAPH:
        return draw_saga(snapshot, selection)
    if selection.tab is Tab.TIMELINE:
        is_choreographed = snapshot.saga.is_choreographed
        return draw_events(reading, events) if is_choreographed else draw_attempts(snapshot, selection)
    return SafeString("")


def _list_legend(reading: SagaReading, events: tuple[EventRow, ...]) -> list[Badge]:
    if reading.selection.tab is not Tab.TIMELINE:
        return []
    return list_badges(events) if reading.snapshot.saga.is_choreographed else list_legend(reading.snapshot)


def _list_tabs(saga: Saga, selection: Selection) -> Iterator[TabLink]:
    for tab in list_tabs(saga):
        yield TabLink(label=tab.value.capitalize(), url=selection.url_of_tab(tab), is_current=tab is selection.tab)


def _list_filters(selection: Selection) -> Iterator[TabLink]:
    for only in Only:
        narrowed = Selection(tab=Tab.HISTORY, step=selection.step, only=only, filters=selection.filters)
        label = FILTER_LABELS[only]
        yield TabLink(label=label, url=narrowed.url(), is_current=only is selection.only)


def operation_url(site: str, saga_id: UUID, operation: Operation, step: str | None = None, *, filters: str = "") -> str:
    """Return the URL of the page of an operation; ``filters``: the query of the list to return to."""
    code = operation.value.replace("_", "-")
    query = {name: value for name, value in (("step", step), (LIST_FILTERS, filters)) if value}
    return find_url(site, "sagas_saga_operate", saga_id, code, query=query)


def list_remedy_links(snapshot: SagaSnapshot, actor: Actor, site: str) -> Iterator[RemedyLink]:
    """Yield the remedies that an operator may run now, repairs first."""
    found = remedies.list_offered(snapshot) if actor.may(remedies.PERMISSION) else []
    repaired = {offered.step for offered in found if offered.remedy.is_repair}
    for offered in sorted(found, key=lambda one: not one.remedy.is_repair):
        url = find_url(site, "sagas_saga_remedy", snapshot.saga.pk, offered.step, offered.remedy.name)
        is_repair = offered.remedy.is_repair
        is_main = is_repair or offered.step not in repaired
        yield RemedyLink(label=offered.label, url=url, is_repair=is_repair, is_main=is_main)


def list_choices(snapshot: SagaSnapshot, actor: Actor, site: str, *, filters: str = "") -> Iterator[Choice]:
    """Yield every operation, or why it is not possible; step operations once for each step that allows them."""
    recommended = recommend_operation(snapshot.saga, snapshot.steps)
    rows = {row.name: row for row in snapshot.steps}
    for operation, step, refusal in _list_possible(snapshot, actor):
        label, is_main = preview.LABELS[operation], step is None and operation is recommended
        yield Choice(
            label=f"{label}: {step}" if step else label,
            url=operation_url(site, snapshot.saga.pk, operation, step, filters=filters),
            refusal=refusal,
            is_grave=operation in GRAVE,
            is_main=is_main,
            is_beside=not is_main and belongs_beside(operation, snapshot.saga, rows[step] if step else None),
        )


def _list_possible(snapshot: SagaSnapshot, actor: Actor) -> Iterator[tuple[Operation, str | None, str]]:
    """Yield each operation with its step and why it is not possible."""
    for operation in Operation:
        if not actor.may(preconditions.PERMISSIONS[operation]):
            yield operation, None, f"needs the permission sagas.{preconditions.PERMISSIONS[operation]}"
        elif operation in preconditions.STEP_REQUIRED:
            refusals = preview.find_refusals_by_step(snapshot, operation)
            allowed = [name for name, refusal in refusals.items() if not refusal]
            yield from ((operation, name, "") for name in allowed)
            if not allowed:
                yield operation, None, "no step allows it now"
        else:
            yield operation, None, preview.find_obstacle(snapshot, operation)
            # Each single step, if several could be retried.
            names = preview.list_steps_to_retry(snapshot) if operation is Operation.RETRY else []
            yield from ((operation, name, "") for name in names if len(names) > 1)


def _list_facts(saga: Saga, badge: Badge, now: datetime) -> Iterator[tuple[str, Any]]:
    yield "Saga id", str(saga.pk)
    yield "Definition", f"{saga.definition}, version {saga.version}"
    if saga.is_choreographed:
        yield "Coordination", "choreography: participants react to events"
        yield "Transport", get_event_settings().transport or "none: events are off"
        yield "Correlation", str(saga.pk)
    if saga.traceparent:
        yield "Trace", saga.traceparent
    yield "State", badge.text
    yield "Revision", str(saga.revision)
    yield "Started", show_moment(saga.created_at, now)
    if saga.started_by:
        yield "Started by", saga.started_by
    if saga.closed_at:
        yield "Closed", show_moment(saga.closed_at, now)
        yield "Duration", describe_span(saga.closed_at - saga.created_at)
    else:
        yield "Age", describe_span(now - saga.created_at)
    if saga.deadline_at:
        yield "Deadline", show_moment(saga.deadline_at, now)
    if saga.due_at:
        yield "Next due", show_moment(saga.due_at, now)
        yield "Queue", saga.queue
    if saga.pivot_passed_at:
        yield "Pivot passed", show_moment(saga.pivot_passed_at, now)
    if saga.abort_request:
        yield "Asked to turn back", f"{saga.abort_request} {saga.abort_actor}".strip()


def name_saga(saga: Saga, keys: Iterable[str]) -> str:
    """Return a saga's name in titles: its definition with its business keys, or with its id without keys."""
    values = list(keys)
    return show_invisible(" ".join([saga.definition, *values]) if values else f"{saga.definition} {saga.pk}")
