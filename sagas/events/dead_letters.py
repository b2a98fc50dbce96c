"""Dead letters: events that wait for an operator, grouped by consumer, type, state and error.

Reads a bounded number of the newest ones of each database, by an index without handled rows.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F
from django.db.models.functions import Left

from ..core.error_groups import MAX_PATTERN_CHARS, describe_pattern
from ..models import InboxEvent, InboxState
from . import catalogue
from .asking import ask_each

STATES = (InboxState.DEAD, InboxState.PARKED)
MAX_READ = 5_000  # of each database and state
MAX_GROUPS = 100
KEY_CHARS = 16


@dataclass(frozen=True, kw_only=True)
class DeadEvent:
    """Event that is dead or parked with one consumer."""

    row_id: int
    id: str
    source: str
    consumer: str
    type: str
    key: str
    state: InboxState
    error_class: str
    error: str
    received_at: datetime

    @property
    def group_key(self) -> str:
        """The key of its group."""
        parts = (self.consumer, self.type, self.state.value, self.error_class, describe_pattern(self.error))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:KEY_CHARS]


@dataclass(frozen=True, kw_only=True)
class DeadGroup:
    """Events with the same cause."""

    key: str
    events: list[DeadEvent]
    """Newest first."""

    @property
    def newest(self) -> DeadEvent:
        """The event that came last."""
        return self.events[0]

    @property
    def pattern(self) -> str:
        """The message that all of them share; an error text."""
        return describe_pattern(self.newest.error)

    @property
    def keys(self) -> int:
        """How many keys are affected."""
        return len({event.key for event in self.events})


@dataclass(frozen=True, kw_only=True)
class DeadLetters:
    """Groups of all databases."""

    groups: list[DeadGroup]
    """The largest first."""
    is_capped: bool
    """Whether there are more events or groups than were read."""
    unreachable: dict[str, str]
    """Reason by the alias of a database that did not answer."""

    def find(self, key: str) -> DeadGroup | None:
        """Return a group by its key."""
        return next((group for group in self.groups if group.key == key), None)


def read_dead_letters() -> DeadLetters:
    """Return the groups of all databases that answer."""
    answers = ask_each(catalogue.event_databases(), _read)
    by_key: dict[str, list[DeadEvent]] = defaultdict(list)
    for event in sorted(
        (event for events in answers.found.values() for event in events), key=lambda one: one.received_at, reverse=True
    ):
        by_key[event.group_key].append(event)
    groups = sorted(
        (DeadGroup(key=key, events=events) for key, events in by_key.items()),
        key=lambda group: (-len(group.events), group.key),
    )
    is_capped = len(groups) > MAX_GROUPS or any(_is_full(events) for events in answers.found.values())
    return DeadLetters(groups=groups[:MAX_GROUPS], is_capped=is_capped, unreachable=answers.unreachable)


def _is_full(events: Sequence[DeadEvent]) -> bool:
    return any(sum(event.state is state for event in events) >= MAX_READ for state in STATES)


def _read(alias: str) -> list[DeadEvent]:
    names = (
        "id", "event_id", "source", "consumer", "type", "key", "state", "error_class", "message", "received_at",
    )  # fmt: skip
    # Cut to what the pattern of a message depends on.
    rows = InboxEvent.objects.using(alias).annotate(message=Left(F("error"), 4 * MAX_PATTERN_CHARS))
    dead, parked = (rows.filter(state=state.value).order_by("-id").values_list(*names)[:MAX_READ] for state in STATES)
    return [
        DeadEvent(
            row_id=row[0], id=row[1], source=row[2], consumer=row[3], type=row[4], key=row[5],
            state=InboxState(row[6]), error_class=row[7], error=row[8], received_at=row[9],
        )
        for row in dead.union(parked, all=True)
    ]  # fmt: skip
