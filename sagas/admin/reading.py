"""Read one saga for a page: few queries, no lock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import DateTimeField, Func

from .. import clock
from ..journal import Journal
from ..models import SagaAttempt, SagaHistory, SagaKey, SagaStep
from .view_only import engine_database

ATTEMPTS_SHOWN = 50
HISTORY_SHOWN = 200


@dataclass(frozen=True, kw_only=True)
class SagaReading:
    """Hold what a saga's page is made of."""

    journal: Journal
    """Saga and steps as of one moment; for looking at, never to be written."""
    keys: dict[str, str]
    """Its business keys by name."""
    attempts: list[SagaAttempt]
    """The newest ones, or those before a given one, in order."""
    has_older_attempts: bool
    """Whether there are attempts before these."""
    history: list[SagaHistory]
    """The newest entries, or those before a given one, in order."""
    has_older_history: bool
    """Whether there are entries before these."""

    @property
    def now(self) -> datetime:
        """When it was read, by the engine's clock."""
        return self.journal.now


def read_saga(saga_id: UUID, *, attempts_before: int | None, history_before: int | None) -> SagaReading | None:
    """Return a saga with a page of its attempts and of its history, or None when there is none.

    Saga and steps come from one statement, so that they fit together without a lock: looking must not hold up work.
    """
    journal = read_journal(saga_id)
    if journal is None:
        return None
    using = engine_database()
    attempts = SagaAttempt.objects.using(using).filter(saga_id=saga_id).select_related("step").order_by("-pk")
    if attempts_before is not None:
        attempts = attempts.filter(pk__lt=attempts_before)
    history = SagaHistory.objects.using(using).filter(saga_id=saga_id).order_by("-number")
    if history_before is not None:
        history = history.filter(number__lt=history_before)
    some_attempts = list(attempts[: ATTEMPTS_SHOWN + 1])
    some_history = list(history[: HISTORY_SHOWN + 1])
    keys = SagaKey.objects.using(using).filter(saga_id=saga_id).order_by("name")
    return SagaReading(
        journal=journal,
        keys=dict(keys.values_list("name", "value")),
        attempts=some_attempts[:ATTEMPTS_SHOWN][::-1],
        has_older_attempts=len(some_attempts) > ATTEMPTS_SHOWN,
        history=some_history[:HISTORY_SHOWN][::-1],
        has_older_history=len(some_history) > HISTORY_SHOWN,
    )


def read_journal(saga_id: UUID) -> Journal | None:
    """Return saga and steps for looking at, or None when there is no such saga."""
    steps: Sequence[SagaStep] = list(
        SagaStep.objects.using(engine_database())
        .filter(saga_id=saga_id)
        .select_related("saga")
        .order_by("position")
        .annotate(db_now=Func(function="clock_timestamp", output_field=DateTimeField()))
    )
    if not steps:
        return None
    now = clock.shifted(steps[0].db_now)  # type: ignore[attr-defined]
    return Journal(steps[0].saga, list(steps), now)


def read_history_since(saga_id: UUID, number: int) -> list[SagaHistory]:
    """Return what was written about a saga after a history row, the newest HISTORY_SHOWN of it, in order."""
    entries = SagaHistory.objects.using(engine_database()).filter(saga_id=saga_id, number__gt=number)
    return list(entries.order_by("-number")[:HISTORY_SHOWN])[::-1]


def read_name(saga_id: UUID) -> str:
    """Return how a saga is called in titles: its definition and its business keys, else its id."""
    keys = SagaKey.objects.using(engine_database()).filter(saga_id=saga_id).order_by("name")
    found = list(keys.values_list("saga__definition", "value"))
    return " ".join([found[0][0], *(value for _, value in found)]) if found else str(saga_id)
