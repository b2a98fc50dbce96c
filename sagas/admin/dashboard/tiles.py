"""Tiles of the dashboard: the few numbers to read first, each a link to what it counts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...monitoring.liveness import MAX_DUE, Liveness
from ...operators.presentation import DisplayState, badge_of_state
from ...operators.presentation.badges import Tone
from ...operators.presentation.times import describe_distance, describe_span
from ...operators.queries.failing_groups import FailingGroup
from ..ui.addresses import find_saga_url, find_url
from ..ui.list_order import SEVEREST
from ..ui.menu import NEEDS
from ..ui.saved_views import list_url
from .windows import show_share

CLOSED_STATES = (DisplayState.COMPLETED, DisplayState.COMPENSATED, DisplayState.ABANDONED)
STATES_NAMED = 2  # of the open sagas; all of them stand in a table


@dataclass(frozen=True, kw_only=True)
class Tile:
    """Number with a link."""

    label: str
    count: str
    url: str
    """Page of what it counts; empty where the site does not have it."""
    icon: str
    tone: Tone
    detail: str
    """What the number consists of."""


def list_tiles(
    data: Mapping[str, Any], groups: Sequence[FailingGroup], liveness: Liveness, site: str
) -> Iterator[Tile]:
    """Yield the tiles. ``data``: statistics of open sagas. ``groups``: those that need attention."""
    yield _show_attention(data, groups, site)
    yield _show_open(data, site)
    yield _show_closed(data, liveness, site)
    yield _show_due(liveness, site)
    swept = describe_distance(liveness.last_sweep_at, liveness.now) if liveness.last_sweep_at else "never"
    yield Tile(
        label="Workers", count=f"{len(liveness.workers):,}", url=find_url(site, "sagas_sagaworker_changelist"),
        icon="play" if liveness.workers else "warning", tone=Tone.GOOD if liveness.workers else Tone.URGENT,
        detail=f"last sweep {swept}",
    )  # fmt: skip


def _show_attention(data: Mapping[str, Any], groups: Sequence[FailingGroup], site: str) -> Tile:
    needs, most = int(data.get("needs", 0)), max((group.sagas for group in groups), default=0)
    return Tile(
        label="Needs attention", count=show_count(needs, data), url=list_url(site, **NEEDS),
        icon="hand" if needs else "check", tone=Tone.URGENT if needs else Tone.GOOD,
        detail=f"{most:,} of them one failure" if most else "",
    )  # fmt: skip


def _show_open(data: Mapping[str, Any], site: str) -> Tile:
    states = {state: int(data.get("states", {}).get(state.value, 0)) for state in DisplayState}
    most = sorted((state for state in states if states[state]), key=lambda state: -states[state])
    named = [f"{states[state]:,} {badge_of_state(state).word}" for state in most[:STATES_NAMED]]
    return Tile(
        label="Open", count=show_count(sum(states.values()), data), url=list_url(site, by=SEVEREST), icon="circle",
        tone=Tone.QUIET, detail=", ".join(named),
    )  # fmt: skip


def _show_closed(data: Mapping[str, Any], liveness: Liveness, site: str) -> Tile:
    today = {state: int(data.get("today", {}).get(state.value, 0)) for state in CLOSED_STATES}
    total = sum(today.values())
    details = [f"{show_share(today[DisplayState.COMPLETED], total)} completed"] if total else []
    if liveness.owed_hooks:
        details.append(f"on_closed pending for {_count_up_to(liveness.owed_hooks)}")
    return Tile(
        label="Closed today", count=show_count(total, data), url=list_url(site, closed="today"), icon="check",
        tone=Tone.QUIET, detail=", ".join(details),
    )  # fmt: skip


def _show_due(liveness: Liveness, site: str) -> Tile:
    if liveness.oldest_due_at is None:
        return Tile(
            label="Oldest due step", count="none", url=list_url(site, by=SEVEREST), icon="clock", tone=Tone.GOOD,
            detail="no work is due",
        )  # fmt: skip
    where = f"{liveness.oldest_definition}: {liveness.oldest_step or 'the next step'}"
    return Tile(
        label="Oldest due step", count=describe_span(liveness.oldest_due_age),
        url=find_saga_url(site, liveness.oldest_id), icon="clock",
        tone=Tone.URGENT if liveness.is_late else Tone.GOOD, detail=f"{where}, {_count_up_to(liveness.due)} due now",
    )  # fmt: skip


def show_count(count: int, data: Mapping[str, Any]) -> str:
    """Return a count as text, or a dash when nothing has been counted."""
    return f"{count:,}" if data else "-"


def _count_up_to(count: int) -> str:
    return f"more than {MAX_DUE:,}" if count > MAX_DUE else f"{count:,}"
