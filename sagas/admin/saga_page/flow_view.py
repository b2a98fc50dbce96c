"""Flow of a choreographed saga: the picture, and the same as a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.templatetags.static import static
from django.utils.safestring import SafeString

from ...choreography.definition import find
from ...operators.presentation import Badge
from ...operators.presentation.drawing.flow import FlowNode, draw_flow, list_lanes
from ...operators.presentation.flow import Station, list_stations
from ..ui.page_selection import Selection, Tab
from .event_rows import EventRow, Receipt
from .graph_view import ICONS
from .reading import SagaReading


@dataclass(frozen=True, kw_only=True)
class FlowRow:
    """Row of one event of the flow, sent or expected."""

    type: str
    sender: str
    step: str
    badge: Badge
    detail: str
    """When it was written, or for how long it has been owed."""
    causes: str
    receipts: tuple[Receipt, ...]
    url: str
    """The event in the table of events; empty for one that was not sent."""
    is_chosen: bool


def list_flow(reading: SagaReading) -> list[Station]:
    """Return the stations of a saga; none if the code does not have its definition."""
    saga, answers = reading.snapshot.saga, reading.answers
    definition = find(saga.definition, saga.version)
    if definition is None or answers is None:
        return []
    return list_stations(saga, definition, answers, reading.now)


def draw_stations(stations: Sequence[Station], reading: SagaReading) -> SafeString:
    """Return the flow as SVG; empty without stations."""
    saga, selection = reading.snapshot.saga, reading.selection
    if not stations:
        return SafeString("")
    nodes = [
        FlowNode(
            name=one.type,
            lane=one.sender,
            column=one.column,
            word=one.badge.word,
            detail=one.detail,
            tone=one.badge.tone.value,
            icon_url=f"{static(ICONS)}#{one.badge.icon}",
            url=_find_url(one, selection) or f"{selection.url_of_tab(Tab.FLOW, one.step)}#flow",
            is_expected=one.is_expected,
            is_chosen=bool(selection.step) and one.step == selection.step,
            causes=one.causes,
        )
        for one in stations
    ]
    title = f"Flow of {saga.definition}, version {saga.version}"
    return SafeString(draw_flow(list(list_lanes(nodes)), nodes, title=title))


def list_flow_rows(stations: Sequence[Station], events: Sequence[EventRow], selection: Selection) -> list[FlowRow]:
    """Return the same as rows, in the order of the picture's columns."""
    by_id = {row.id: row for row in events}
    return [
        FlowRow(
            type=one.type,
            sender=one.sender,
            step=one.step,
            badge=one.badge,
            detail=one.detail,
            causes=", ".join(one.causes),
            receipts=by_id[one.event.id].receipts if one.event is not None else (),
            url=_find_url(one, selection),
            is_chosen=bool(selection.step) and one.step == selection.step,
        )
        for one in sorted(stations, key=lambda one: one.column)
    ]


def _find_url(station: Station, selection: Selection) -> str:
    if station.event is None:
        return ""
    return f"{selection.url_of_tab(Tab.EVENTS, station.step)}#event-{station.event.id}"
