"""Timeline of a choreographed saga: from written over relayed to handled, a lane for each event."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.templatetags.static import static
from django.utils.safestring import SafeString

from ...choreography.calls import OpenAnswers
from ...choreography.definition import find
from ...choreography.deliveries import SagaEvent
from ...core.states import CLOSED_STATES
from ...operators.presentation.badges import Tone, in_words
from ...operators.presentation.drawing.timeline import Bar, Lane, Tick, Timeline, Wait, draw_timeline
from ...operators.presentation.event_badges import NOT_HANDLED
from ...operators.presentation.times import describe_moment, describe_span, describe_time
from ..ui.page_selection import Tab
from .event_rows import EventRow, name_consumer
from .graph_view import ICONS
from .reading import SagaReading

SECONDS = timedelta(seconds=1)


def draw_events(reading: SagaReading, rows: Sequence[EventRow]) -> SafeString:
    """Return the timeline as SVG; empty without events. ``rows``: the same events."""
    answers, saga, now = reading.answers, reading.snapshot.saga, reading.now
    if answers is None or not answers.events:
        return SafeString("")
    lanes = tuple(_list_lanes(reading, answers, rows))
    begin = min(saga.created_at, *(event.first_at for event in answers.events))
    end = max(saga.closed_at or now, *(_end_of(event, now) for event in answers.events))
    marks = [(_seconds(saga.deadline_at, reading), "deadline")] if saga.deadline_at and saga.deadline_at < end else []
    marks.append((_seconds(end, reading), in_words(saga.state) if saga.state in CLOSED_STATES else "now"))
    timeline = Timeline(
        lanes=lanes,
        begin=_seconds(begin, reading),
        end=_seconds(end, reading),
        marks=tuple(marks),
        title=f"Timeline of {saga.definition}, from {describe_moment(begin)} to {describe_moment(end)}",
        description=" ".join(lane.spoken for lane in lanes),
        format_time=lambda seconds: describe_time(saga.created_at + timedelta(seconds=seconds)),
        format_span=lambda seconds: describe_span(timedelta(seconds=seconds)),
    )
    return SafeString(draw_timeline(timeline))


def _list_lanes(reading: SagaReading, answers: OpenAnswers, rows: Sequence[EventRow]) -> Iterator[Lane]:
    """Yield the events on the way forward with what is owed, then those that turn back and undo."""
    saga = reading.snapshot.saga
    definition = find(saga.definition, saga.version)
    undoing = {name for step in definition.steps for name in step.rule.undone} if definition is not None else set()
    back = {*undoing, definition.cancelled_by} if definition is not None else set()
    by_id = {row.id: row for row in rows}
    lanes = [_lane(event, by_id[event.id], answers, reading, is_back=event.type in back) for event in answers.events]
    lanes += [_owed_lane(debt, reading, is_back=set(debt["types"]) <= back) for debt in saga.owed]
    yield from (lane for lane in lanes if not lane.is_back)
    yield from (lane for lane in lanes if lane.is_back)


def _lane(event: SagaEvent, row: EventRow, answers: OpenAnswers, reading: SagaReading, *, is_back: bool) -> Lane:
    begin, end = event.first_at, _end_of(event, reading.now)
    waits = row.badge.tone is Tone.GOOD and any(one.badge is NOT_HANDLED for one in row.receipts)
    badge = NOT_HANDLED if waits else row.badge
    handled = "; ".join(f"{one.consumer} {one.badge.word} {one.after}".strip() for one in row.receipts)
    spoken = (
        f"{event.type} of {event.sender}, written {describe_time(begin)}, {row.relayed or 'not relayed'}; {handled}."
    )
    return Lane(
        name=event.type,
        is_back=is_back,
        bars=(
            Bar(
                start=_seconds(begin, reading),
                end=_seconds(end, reading),
                word=badge.word,
                tone=badge.tone.value,
                icon_url=f"{static(ICONS)}#{badge.icon}",
                label=spoken,
            ),
        ),
        waits=tuple(_list_waits(event, answers, reading)),
        ticks=tuple(_list_ticks(event, reading)),
        url=f"{reading.selection.url_of_tab(Tab.EVENTS)}#event-{event.id}",
        spoken=spoken,
    )


def _owed_lane(debt: dict[str, Any], reading: SagaReading, *, is_back: bool) -> Lane:
    since = datetime.fromisoformat(debt["since"])
    names = " or ".join(debt["types"])
    label = f"{debt['by']} owes {names} for {describe_span(reading.now - since)}"
    wait = Wait(start=_seconds(since, reading), end=_seconds(reading.now, reading), label=label)
    return Lane(
        name=f"{debt['types'][0]}?", is_back=is_back, bars=(), waits=(wait,),
        url=f"{reading.selection.url_of_tab(Tab.FLOW, debt['step'])}#flow", spoken=f"{label}.",
    )  # fmt: skip


def _list_waits(event: SagaEvent, answers: OpenAnswers, reading: SagaReading) -> Iterator[Wait]:
    """Yield the gap between the handling of the cause and this event, in which the participant was at work."""
    cause = next((one for one in answers.events if one.id == event.causation_id), None)
    receipt = cause.find_receipt(event.sender) if cause is not None else None
    if cause is None or receipt is None or receipt.handled_at is None or receipt.handled_at >= event.first_at:
        return
    span = describe_span(event.first_at - receipt.handled_at)
    label = f"{event.sender} took {span} from {cause.type} to {event.type}"
    yield Wait(start=_seconds(receipt.handled_at, reading), end=_seconds(event.first_at, reading), label=label)


def _list_ticks(event: SagaEvent, reading: SagaReading) -> Iterator[Tick]:
    if event.relayed_at is not None:
        yield Tick(at=_seconds(event.relayed_at, reading), label=f"relayed {describe_time(event.relayed_at)}")
    for entry in event.received:
        if entry.handled_at is not None:
            again = f", arrived {entry.repeats} more time{'' if entry.repeats == 1 else 's'}" if entry.repeats else ""
            label = f"{name_consumer(entry.participant)} handled it {describe_time(entry.handled_at)}{again}"
            yield Tick(at=_seconds(entry.handled_at, reading), label=label, repeats=entry.repeats)


def _end_of(event: SagaEvent, now: datetime) -> datetime:
    """Return when the last consumer handled an event; now while one that has received it has not."""
    if event.sent is not None and event.relayed_at is None:
        return now
    known = [event.relayed_at, *(entry.handled_at or entry.at for entry in event.received)]
    return max([event.first_at, *(moment for moment in known if moment)])


def _seconds(moment: datetime, reading: SagaReading) -> float:
    return (moment - reading.snapshot.saga.created_at) / SECONDS
