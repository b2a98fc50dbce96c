"""Rows of the table of history."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from ...core.history_events import HistoryEvent
from ...models import SagaHistory
from ...operators.presentation.badges import in_words
from ...operators.visibility import Visibility, show_error
from ..ui.addresses import find_url
from ..ui.excerpt import Folded, fold, fold_error
from ..ui.formatting import Moment, show_moment
from .json_text import JsonText, show_json_text
from .moves import Moves
from .payloads import payload_url


@dataclass(frozen=True, kw_only=True)
class HistoryRow:
    """Row of one history entry."""

    number: int
    """Number of the entry, from 1 without gaps."""
    at: Moment
    """When it was written."""
    what: str
    """The event in words."""
    step: str
    """Step of the event; empty for the saga."""
    move: str
    """Former and new state, in the words of the badges."""
    actor: str
    """User who acted, or ``engine``."""
    reason: Folded
    """Reason, or the error of a step."""
    data: JsonText | None
    """Further facts; None without them, or without the permission."""
    bulk_url: str
    """URL of the bulk that performed the operation; empty without one."""


def show_history(
    entries: Iterable[SagaHistory], now: datetime, *, site: str, visibility: Visibility
) -> Iterator[HistoryRow]:
    """Yield the rows; a repeated error of a step is shown once, then by reference.

    ``entries``: read by ``reading.select_history``. ``site``: the admin site that the links lead to.
    """
    seen: dict[tuple[str, str], int] = {}
    moves = Moves()
    for entry in entries:
        first = seen.setdefault((entry.step, entry.reason), entry.number) if _is_error(entry) else entry.number
        repeats = f"no. {first}" if first != entry.number else ""
        yield _show_entry(entry, now, site, visibility, move=moves.describe(entry), repeats=repeats)


def is_open_to_all(what: str) -> bool:
    """Return whether an entry's data was written by an operator, which every viewer may see."""
    return what == HistoryEvent.OPERATOR_ACTED


def _is_error(entry: SagaHistory) -> bool:
    """Return whether the reason is a step's error, which needs the same permission as the error."""
    return entry.actor is None and bool(entry.step)


def _show_entry(
    entry: SagaHistory, now: datetime, site: str, visibility: Visibility, *, move: str, repeats: str
) -> HistoryRow:
    reason = show_error(entry.reason, with_errors=visibility.has_errors) if _is_error(entry) else entry.reason
    return HistoryRow(
        number=entry.number,
        at=show_moment(entry.at, now),
        what=in_words(entry.what),
        step=entry.step,
        move=move,
        actor=entry.actor if entry.actor is not None else "engine",
        reason=fold_error(reason, repeats=repeats) if _is_error(entry) else fold(reason),
        data=_show_data(entry, site, with_payloads=visibility.has_payloads),
        bulk_url=_find_bulk(entry, site),
    )


def _find_bulk(entry: SagaHistory, site: str) -> str:
    bulk_id = entry.bulk_id if entry.what == HistoryEvent.OPERATOR_ACTED else None  # type: ignore[attr-defined]
    return find_url(site, "sagas_sagabulk_change", bulk_id) if bulk_id else ""


def _show_data(entry: SagaHistory, site: str, *, with_payloads: bool) -> JsonText | None:
    text = str(entry.data_text)  # type: ignore[attr-defined]
    if text == "{}" or not (with_payloads or is_open_to_all(entry.what)):
        return None
    return show_json_text(text, payload_url(site, entry.saga_id, of="data", number=entry.number))
