"""Notes of operators on a saga: signed entries of its history that change neither its state nor its revision.

A note decides nothing: every form and API client that read the saga before is still current, and no worker is woken.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from ..conf import get_settings
from ..core.history_events import HistoryEvent
from ..exceptions import SagaNotFound
from ..models import Saga, SagaHistory
from ..models.history import NOTE_ADDED
from ..transactions import own_transaction
from .actor import Actor
from .operations import check_text, lock_saga

PERMISSION = "note_saga"
MAX_NOTE_CHARS = 2_000


@dataclass(frozen=True, kw_only=True)
class SagaNote:
    """Note on a saga."""

    saga_id: UUID
    number: int
    """Number of its history entry."""
    at: datetime
    """When it was written."""
    actor: str
    """Who wrote it."""
    text: str
    """What it says."""
    is_repeat: bool = False
    """Whether it had been written before, so that nothing was added."""

    @classmethod
    def of_entry(cls, entry: SagaHistory, *, is_repeat: bool = False) -> SagaNote:
        """Return the note of a history entry."""
        return cls(
            saga_id=entry.saga_id, number=entry.number, at=entry.at, actor=entry.actor or "", text=entry.reason,
            is_repeat=is_repeat,
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name as JSON-able data."""
        return {**asdict(self), "saga_id": str(self.saga_id), "at": self.at.isoformat()}


def add_note(saga_id: UUID, *, actor: Actor, text: str, seen: int | None = None) -> SagaNote:
    """Write a note on a saga, open or closed; secrets in it are masked.

    ``seen``: number of the newest history entry that the author knew. A later note of the same author with the same
    text is then the first half of a double click, and is returned instead.
    Raises: PermissionRefused; BadRequest for a text without visible characters or beyond MAX_NOTE_CHARS; SagaNotFound;
    TransactionConflict.
    Tx: opens its own. Locks: the saga row.
    """
    actor.require(PERMISSION)
    # A browser sends two characters for a line end.
    plain = text.replace("\r\n", "\n") if isinstance(text, str) else text
    checked = check_text(plain, "The note", least=1, most=MAX_NOTE_CHARS)
    with own_transaction(get_settings().database, joins=True):
        work = lock_saga(saga_id)
        if seen is not None and (written := _find_repeat(saga_id, actor, checked, seen)):
            return SagaNote.of_entry(written, is_repeat=True)
        work.add_history(HistoryEvent.NOTE_ADDED, actor=actor.name, reason=checked)
        work.write(is_due_again=False)
        number = work.saga.history_count
        return SagaNote(saga_id=saga_id, number=number, at=work.now, actor=actor.name, text=checked)


def read_notes(saga_id: UUID, *, newest: int, before: int | None = None) -> list[SagaNote]:
    """Return the newest notes on a saga, the newest first; ``before``: only those with a lower number."""
    entries = select_notes(saga_id).order_by("-number")
    if before is not None:
        entries = entries.filter(number__lt=before)
    return [SagaNote.of_entry(entry) for entry in entries[:newest]]


def select_notes(saga_id: UUID) -> QuerySet[SagaHistory]:
    """Return the history entries of a saga's notes."""
    return SagaHistory.objects.using(get_settings().database).filter(saga_id=saga_id, what=NOTE_ADDED)


def require_saga(saga_id: UUID) -> None:
    """Check that a saga exists.

    Raises: SagaNotFound.
    """
    if not Saga.objects.using(get_settings().database).filter(pk=saga_id).exists():
        raise SagaNotFound(f"There is no saga {saga_id}.")


def _find_repeat(saga_id: UUID, actor: Actor, text: str, seen: int) -> SagaHistory | None:
    return select_notes(saga_id).filter(number__gt=seen, actor=actor.name, reason=text).first()
