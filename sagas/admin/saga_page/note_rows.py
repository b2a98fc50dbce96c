"""Newest notes of the page of a saga."""

from dataclasses import dataclass

from ...operators.actor import Actor
from ...operators.notes import MAX_NOTE_CHARS, PERMISSION
from ..ui.addresses import find_saga_url, find_url
from ..ui.formatting import Moment, show_moment
from ..ui.page_selection import Tab
from .reading import NOTES_SHOWN, SagaReading


@dataclass(frozen=True, kw_only=True)
class NoteRow:
    """One note."""

    number: int
    """Number of its history entry."""
    at: Moment
    """When it was written."""
    actor: str
    """Who wrote it."""
    text: str
    """What it says."""


@dataclass(frozen=True, kw_only=True)
class NoteList:
    """Newest notes of a saga, the newest first, and what the form for another one needs."""

    rows: tuple[NoteRow, ...]
    """The notes."""
    history_url: str
    """URL of the history, which has the older ones; empty without older ones."""
    url: str
    """URL that the form is sent to; empty without the permission to write notes."""
    seen: int
    """Number of the newest history entry that the page shows or could show."""
    max_chars: int
    """Length of the longest note."""


def list_notes(reading: SagaReading, actor: Actor, *, site: str) -> NoteList:
    """Return the notes of a saga's page for a user."""
    saga = reading.snapshot.saga
    has_older = len(reading.notes) > NOTES_SHOWN
    return NoteList(
        rows=tuple(
            NoteRow(number=note.number, at=show_moment(note.at, reading.now), actor=note.actor, text=note.text)
            for note in reading.notes[:NOTES_SHOWN]
        ),
        history_url=find_saga_url(site, saga.pk, tab=Tab.HISTORY) if has_older else "",
        url=find_url(site, "sagas_saga_note", saga.pk) if actor.may(PERMISSION) else "",
        seen=saga.history_count,
        max_chars=MAX_NOTE_CHARS,
    )
