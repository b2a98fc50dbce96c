"""Read a saga and its steps for looking at: without a lock, since looking must not hold up work."""

from __future__ import annotations

from copy import deepcopy
from uuid import UUID

from . import clock, moves
from .conf import get_settings
from .exceptions import SagaNotFound
from .journal import Journal
from .models import Saga, SagaStep
from .models.fields import database_now


def read_journal(saga_id: UUID) -> Journal | None:
    """Return saga and steps, never to be written, or None when there is no such saga.

    They come from one statement, so that they fit together; only a saga without steps needs another.
    """
    using = get_settings().database
    now = database_now()
    rows = SagaStep.objects.using(using).filter(saga_id=saga_id).select_related("saga")
    steps = list(rows.order_by("position").annotate(db_now=now))
    if steps:
        return Journal(steps[0].saga, list[SagaStep](steps), clock.shifted(steps[0].db_now))
    saga = Saga.objects.using(using).annotate(db_now=now).filter(pk=saga_id).first()
    return Journal(saga, [], clock.shifted(saga.db_now)) if saga is not None else None


def get_journal(saga_id: UUID) -> Journal:
    """Return saga and steps, never to be written.

    Raises: SagaNotFound.
    """
    journal = read_journal(saga_id)
    if journal is None:
        raise SagaNotFound(f"There is no saga {saga_id}.")
    return journal


def look_ahead(journal: Journal) -> Journal:
    """Return the saga as a person's action would find it: attempts whose lease has ended are given up, on a copy."""
    if not any(row.lease_until is not None and row.lease_until <= journal.now for row in journal.steps):
        return journal
    ahead = deepcopy(journal)
    moves.expire_leases(ahead)
    return ahead
