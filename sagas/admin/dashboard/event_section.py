"""Section of the dashboard about events, while they are on: what is late, dead or unsent, at which participant."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from ...core.states import Attention
from ...events.settings import get_event_settings
from ...operators.actor import Actor
from ...operators.event_operations import VIEW
from ...operators.presentation.badges import Tone
from ...operators.presentation.times import describe_span
from ...operators.queries.event_debts import EventDebts, ParticipantDebts, read_event_debts
from ..saga_page.event_rows import name_consumer
from ..ui.addresses import find_url
from ..ui.saved_views import list_url
from .tiles import Tile


@dataclass(frozen=True, kw_only=True)
class ParticipantRow:
    """Row of one participant."""

    participant: str
    owes: str
    late: str
    dead: str
    unsent: str
    """Number, and the age of the oldest."""
    lag: str
    tone: Tone


@dataclass(frozen=True, kw_only=True)
class EventSection:
    """What the dashboard shows of events."""

    tiles: tuple[Tile, ...] = ()
    rows: tuple[ParticipantRow, ...] = ()
    unreachable: str = ""
    """Databases that did not answer."""
    is_left_out: bool = False
    """Whether nothing was read, because the page had to count sagas itself."""


def build_event_section(now: datetime, site: str, reader: Actor, *, has_time: bool) -> EventSection | None:
    """Return the section, or None while events are off. ``has_time``: whether the page may still ask the database."""
    if not get_event_settings().are_on:
        return None
    if not has_time:
        return EventSection(is_left_out=True)
    debts = read_event_debts(now)
    return EventSection(
        tiles=tuple(_list_tiles(debts, now, site, reader)),
        rows=tuple(sorted((_show(row, now) for row in debts.rows), key=lambda row: row.participant)),
        unreachable=", ".join(debts.unreachable),
    )


def _list_tiles(debts: EventDebts, now: datetime, site: str, reader: Actor) -> Iterator[Tile]:
    late, dead = sum(row.late for row in debts.rows), sum(row.dead for row in debts.rows)
    oldest = min((row.oldest_unsent_at for row in debts.rows if row.oldest_unsent_at), default=None)
    may_view = reader.may(VIEW)
    yield Tile(
        label="Owed late", count=f"{late:,}", url=list_url(site, needs=Attention.EVENT_OVERDUE.value),
        icon="clock" if late else "check", tone=Tone.URGENT if late else Tone.GOOD,
        detail=_name(row.participant for row in debts.rows if row.late),
    )  # fmt: skip
    yield Tile(
        label="Dead letters", count=f"{dead:,}", url=find_url(site, "sagas_saga_dead_letters") if may_view else "",
        icon="warning" if dead else "check", tone=Tone.URGENT if dead else Tone.GOOD,
        detail=_name(row.participant for row in debts.rows if row.dead),
    )  # fmt: skip
    yield Tile(
        label="Oldest unsent event", count=describe_span(now - oldest) if oldest else "none",
        url=find_url(site, "sagas_saga_delivery") if may_view else "", icon="hourglass" if oldest else "check",
        tone=Tone.WAITING if oldest else Tone.GOOD,
        detail=_name(row.participant for row in debts.rows if row.unsent),
    )  # fmt: skip


def _name(participants: Iterator[str]) -> str:
    return ", ".join(map(name_consumer, participants))


def _show(row: ParticipantDebts, now: datetime) -> ParticipantRow:
    age = f", oldest {describe_span(now - row.oldest_unsent_at)}" if row.oldest_unsent_at else ""
    return ParticipantRow(
        participant=name_consumer(row.participant),
        owes=f"{row.owes + row.late:,}",
        late=f"{row.late:,}",
        dead=f"{row.dead:,}",
        unsent=f"{row.unsent:,}{age}",
        lag="unknown" if row.lag is None else f"{row.lag:,}",
        tone=Tone.URGENT if row.late or row.dead else Tone.QUIET,
    )
