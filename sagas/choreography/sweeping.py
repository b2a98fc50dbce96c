"""Sweep of choreographed sagas: events that are owed for too long, and deadlines.

Any number of sweepers: a due saga is claimed by moving its time. Nothing is commanded; at the deadline the deciding
participant is asked to cancel, in one transaction with the note of it.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import Error, connections
from django.db.models import Q

from .. import clock
from ..conf import get_settings
from ..core.states import AbortRequest, Attention, SagaState
from ..core.survival import ends_process
from ..databases import is_away, is_beyond_statement, is_conflict
from ..engine import holds, saga_transitions
from ..engine.store.unit_of_work import SagaUnitOfWork
from ..events.catalogue import TRACKER
from ..exceptions import describe_error
from ..models import EventConsumer, InboxEvent, InboxState, Saga
from ..transactions import own_transaction
from . import progress, trouble
from .definition import AskFunction, all_choreographies, find, resolve
from .tracker import list_facts

logger = logging.getLogger(__name__)

SILENT_AFTER = timedelta(seconds=30)  # several heartbeats of a consumer
CLAIM_DUE = """
WITH page AS (
    SELECT id FROM sagas_saga WHERE owed_due_at <= {now}
    ORDER BY owed_due_at LIMIT %(limit)s::bigint FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE sagas_saga AS saga SET owed_due_at = {now} + %(interval)s::interval FROM page WHERE saga.id = page.id
RETURNING saga.id
"""


def sweep(*, should_stop: Callable[[], bool] = lambda: False) -> int:
    """Look after a page of due sagas, and after events and intents in trouble; a failure does not stop the others.

    Returns: the number of due sagas.
    Tx: must not be inside one; opens one for each saga.
    """
    if not all_choreographies():
        return 0
    due = _claim_due()
    for saga_id in due:
        if should_stop():
            break
        try:
            look_after(saga_id)
        except BaseException as error:
            if ends_process(error) or (isinstance(error, Error) and is_beyond_statement(error)):
                raise
            logger.exception("Choreographed saga not looked after.", extra={"saga_id": str(saga_id)})
    trouble.refresh()
    return len(due)


def look_after(saga_id: UUID) -> None:
    """Raise attention for what is owed for too long, and heed the deadline.

    Raises: whatever the function raises that asks to cancel; operators are shown it, and the saga is due again.
    Locks: the saga row, after what that function locks.
    """
    database = get_settings().database
    saga = Saga.objects.using(database).get(pk=saga_id)
    try:
        with own_transaction(database):
            is_asked = _ask_at_deadline(saga)
            _remind_of_undoing(saga)
            work = SagaUnitOfWork.lock(saga_id)
            if SagaState(work.saga.state).is_open:
                _look(work, is_asked=is_asked)
                work.write(is_due_again=False)
    except Exception as error:
        _tell_failure(saga, error)
        raise


def _ask_at_deadline(saga: Saga) -> bool:
    """Ask who decides to cancel if the deadline has passed before a decision; return whether it was asked."""
    now, definition = clock.read_now(get_settings().database), find(saga.definition, saga.version)
    if definition is None or definition.on_deadline is None or not _is_late(saga, now) or saga.pivot_passed_at:
        return False
    if not progress.must_heed_deadline(saga):
        return False
    ask_to_cancel(definition.on_deadline, saga)
    return True


def _remind_of_undoing(saga: Saga) -> None:
    """Inform who decides that a reported effect is not undone within its limit, so that it may cancel once more."""
    now, definition = clock.read_now(get_settings().database), find(saga.definition, saga.version)
    if definition is None or definition.on_overdue is None:
        return
    if any(debt["undoes"] and progress.moment_of(debt["due_at"]) <= now for debt in saga.owed):
        resolve(definition.on_overdue)(str(saga.input["key"]))


def _look(work: SagaUnitOfWork, *, is_asked: bool) -> None:
    saga, definition = work.saga, find(work.saga.definition, work.saga.version)
    if _is_late(saga, work.now) and progress.must_heed_deadline(saga):
        if is_asked and saga.pivot_passed_at is None:
            saga_transitions.request_abort(work, AbortRequest.DEADLINE, reason="The saga's deadline has passed.")
        else:
            holds.raise_attention(work, Attention.OVERDUE)
    _tell_overdue(work)
    if definition is not None:
        progress.apply(work, definition, list_facts(saga))
    saga.owed_due_at = progress.find_due(work)
    if Attention.TRACKER_LAGGING in saga.attention:
        saga.owed_due_at = work.now + SILENT_AFTER


def _is_late(saga: Saga, now: datetime) -> bool:
    return saga.deadline_at is not None and saga.deadline_at <= now


def _tell_failure(saga: Saga, error: Exception) -> None:
    """Raise attention on a saga that is past its deadline without anybody having been asked."""
    database = get_settings().database
    if is_away(error) or is_conflict(error) or not _is_late(saga, clock.read_now(database)):
        return
    with own_transaction(database):
        work = SagaUnitOfWork.lock(saga.pk)
        if SagaState(work.saga.state).is_open:
            holds.raise_attention(work, Attention.OVERDUE, reason=f"Nobody could be asked: {describe_error(error)}")
            work.write(is_due_again=False)


def ask_to_cancel(function: AskFunction | str, saga: Saga) -> None:
    """Call the function by which the deciding participant is asked to cancel, with the saga's key.

    Tx: inside one of the engine's database, before the saga is locked.
    """
    resolve(function)(str(saga.input["key"]))


def _tell_overdue(work: SagaUnitOfWork) -> None:
    """Raise attention for what is owed for too long, unless the tracker is behind: then that is told instead."""
    late = [debt for debt in work.saga.owed if progress.moment_of(debt["due_at"]) <= work.now]
    if not late:
        return
    if why := _find_lag(work.saga):
        holds.raise_attention(work, Attention.TRACKER_LAGGING, reason=why)
        return
    holds.drop_attention(work, Attention.TRACKER_LAGGING, reason="The tracker is up to date.")
    text = "; ".join(f"{debt['by']} owes {' or '.join(debt['types'])} since {debt['since']}" for debt in late)
    holds.raise_attention(work, Attention.EVENT_OVERDUE, reason=text)


def _find_lag(saga: Saga) -> str:
    """Return why the tracker may not have recorded what was sent for a saga; an empty string when it is up to date."""
    database = get_settings().database
    seen = EventConsumer.objects.using(database).filter(
        consumer=TRACKER, seen_at__gt=clock.read_now(database) - SILENT_AFTER
    )
    lags = list(seen.values_list("lag", flat=True))
    if not lags:
        return "No consumer of the tracker runs."
    if waiting := sum(lag or 0 for lag in lags):
        return f"The tracker has {waiting} events to read."
    stuck = [InboxState.RETRYING.value, InboxState.DEAD.value, InboxState.PARKED.value]
    its_own = Q(correlation_id=str(saga.pk)) | Q(key=saga.input["key"])
    if InboxEvent.objects.using(database).filter(its_own, consumer=TRACKER, state__in=stuck).exists():
        return "The tracker could not record an event of this saga."
    return ""


def _claim_due() -> list[UUID]:
    settings = get_settings()
    values: dict[str, Any] = {
        "shift": clock.shift_seconds(), "interval": settings.wakeup_interval, "limit": settings.sweep_page,
    }  # fmt: skip
    sql = CLAIM_DUE.format(now="(clock_timestamp() + %(shift)s::float8 * interval '1 second')")
    with own_transaction(settings.database), connections[settings.database].cursor() as cursor:
        cursor.execute(sql, values)
        return [row[0] for row in cursor.fetchall()]
