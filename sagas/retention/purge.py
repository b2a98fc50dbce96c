"""Deletion of closed sagas with all their rows, and of barrier rows past their retention.

Transactions are small, oldest rows first. Rows locked by another transaction are passed over; a row that cannot be
deleted does not stop the rows after it. Open sagas, and barrier rows that one may still need, are never deleted.

Source: oban-bg/oban ``lib/oban/plugins/pruner.ex``; saleor/saleor ``saleor/core/tasks.py`` (batches).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import DatabaseError, Error, connections
from django.db.models import Exists, OuterRef, Q

from .. import clock
from ..conf import get_settings
from ..core.states import CLOSED_STATES, SagaState
from ..databases import is_beyond_statement
from ..models import Saga, SagaBarrier
from ..operators.audit.access_log import count_expired_accesses, delete_expired_accesses
from ..operators.presentation.documents import write_documents
from ..participants.routing import barrier_databases
from ..transactions import own_transaction
from .archive import Archive
from .bulks import delete_expired_bulks, select_expired_bulks
from .views import count_ownerless_views, delete_ownerless_views

logger = logging.getLogger(__name__)

# Measured on two cores with 7 steps and 20 history rows a saga: 500 take 0.12 s, and 0.36 s under load; 1,000 took
# nearly a second under load. PostgreSQL's foreign key checks take two thirds of it.
BATCH_SIZE = 500
MAX_BATCH_SIZE = 1_000
# A batch that takes longer is rolled back and retried in halves.
STATEMENT_TIMEOUT, LOCK_TIMEOUT = "10s", "1s"
# Children first; a row of another table that references a saga keeps it, as its foreign key says.
DELETE_ORDER = (
    "DELETE FROM sagas_sagahistory WHERE saga_id = ANY(%s)",
    "DELETE FROM sagas_sagaattempt WHERE saga_id = ANY(%s)",
    "DELETE FROM sagas_sagakey WHERE saga_id = ANY(%s)",
    "DELETE FROM sagas_trackedevent WHERE saga_id = ANY(%s)",
    "DELETE FROM sagas_sagastep WHERE saga_id = ANY(%s)",
    "DELETE FROM sagas_saga WHERE id = ANY(%s)",
)

Cursor = tuple[datetime, Any]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Which sagas may be deleted."""

    closed_before: datetime
    """Only sagas closed before this time, by the database's clock."""
    states: frozenset[SagaState] = frozenset({SagaState.COMPLETED, SagaState.COMPENSATED})
    """Closed states only; abandoned sagas are deleted only if their state is named."""

    def __post_init__(self) -> None:
        """Check the states.

        Raises: ValueError for an open state, or none.
        """
        if not self.states or not self.states <= CLOSED_STATES:
            raise ValueError("Only closed sagas can be deleted: completed, compensated, abandoned.")


@dataclass(kw_only=True)
class Report:
    """What was deleted, or would be."""

    sagas: int = 0
    """Sagas, each with its steps, attempts, history and keys."""
    barriers: int = 0
    """Barrier rows, over all databases."""
    accesses: int = 0
    """Expired rows of the access log."""
    bulks: int = 0
    """Finished or stopped bulks, and frozen sets that were never confirmed, each with its items."""
    views: int = 0
    """Own saved views of deleted accounts."""
    failed: list[UUID] = field(default_factory=list)
    """Sagas that could not be deleted."""
    unreachable: list[str] = field(default_factory=list)
    """Databases whose barrier rows could not be read or deleted."""
    is_stopped: bool = False
    """Whether it was asked to stop."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing failed."""
        return not self.failed and not self.unreachable


def clean_up(
    scope: Scope,
    *,
    batch_size: int = BATCH_SIZE,
    archive: Archive | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[Report], None] = lambda _report: None,
) -> Report:
    """Delete the sagas of a scope, expired access records, bulks and views, then old barrier rows of all databases.

    With an ``archive`` each batch is on disk before its rows are deleted; a crash in between leaves a saga in both.
    Raises: OSError of the archive; database errors if the database is unavailable. What was deleted stays deleted.
    Tx: must not be inside one; opens one for each batch.
    Locks: the saga rows of a batch, skipping locked ones.
    """
    report = Report()
    _delete_sagas(scope, report, _check_size(batch_size), archive, should_stop, progress)
    report.accesses = delete_expired_accesses(should_stop=should_stop)
    report.bulks = delete_expired_bulks(scope.closed_before, should_stop=should_stop)
    report.views = 0 if should_stop() else delete_ownerless_views()
    for alias in barrier_databases():
        _delete_barriers(alias, report, batch_size, should_stop, progress)
    report.is_stopped = should_stop()
    return report


def count_expired(scope: Scope) -> Report:
    """Return what ``clean_up`` would delete now; the number of barrier rows includes those of open sagas."""
    report = Report(
        sagas=_select_expired(scope).count(),
        accesses=count_expired_accesses(),
        bulks=select_expired_bulks(scope.closed_before).order_by().count(),
        views=count_ownerless_views(),
    )
    for alias in barrier_databases():
        try:
            report.barriers += _select_old_barriers(alias).count()
        except Error as error:
            _note_unreachable(report, alias, error)
    return report


def _check_size(batch_size: int) -> int:
    if not 1 <= batch_size <= MAX_BATCH_SIZE:
        raise ValueError(f"A batch has 1 to {MAX_BATCH_SIZE} sagas, not {batch_size}.")
    return batch_size


def _delete_sagas(
    scope: Scope,
    report: Report,
    batch_size: int,
    archive: Archive | None,
    should_stop: Callable[[], bool],
    progress: Callable[[Report], None],
) -> None:
    after: Cursor | None = None
    while not should_stop():
        # Keyset pagination: rows that stay (locked, failing) are not read twice.
        page = _page(_select_expired(scope), "closed_at", after, batch_size)
        if not page:
            return
        after = page[-1]
        _delete_or_halve([pk for _, pk in page], scope, report, archive)
        progress(report)


def _delete_or_halve(ids: Sequence[UUID], scope: Scope, report: Report, archive: Archive | None) -> None:
    """Delete a batch; if one row fails, find it by halving and delete the rest."""
    try:
        report.sagas += _delete_batch(ids, scope, archive)
    except DatabaseError as error:
        if is_beyond_statement(error):
            raise
        if len(ids) == 1:
            report.failed.append(ids[0])
            logger.warning("Saga could not be deleted.", extra={"saga_id": str(ids[0])}, exc_info=error)
            return
        middle = len(ids) // 2
        _delete_or_halve(ids[:middle], scope, report, archive)
        _delete_or_halve(ids[middle:], scope, report, archive)


def _delete_batch(ids: Sequence[UUID], scope: Scope, archive: Archive | None) -> int:
    """Delete those of these sagas that are still in scope and not locked by another transaction.

    Returns: how many sagas.
    """
    using = get_settings().database
    with own_transaction(using), connections[using].cursor() as cursor:
        _limit(cursor, retention="on")
        rows = _select_expired(scope).filter(pk__in=ids).order_by("pk").select_for_update(skip_locked=True)
        locked = list(rows.values_list("pk", flat=True))
        if not locked:
            return 0
        documents = write_documents(locked) if archive else []
        for statement in DELETE_ORDER:
            cursor.execute(statement, [locked])
        # Check foreign keys of other tables now, not at commit: the archive must not contain sagas that stay.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        if archive:
            archive.append(documents)
        _limit(cursor, retention="off")
    return len(locked)


def _limit(cursor: Any, *, retention: str) -> None:
    """Allow or forbid deleting history in this transaction, and set its time-outs."""
    cursor.execute(
        "SELECT set_config('sagas.retention', %s, true), set_config('statement_timeout', %s, true),"
        " set_config('lock_timeout', %s, true)",
        [retention, STATEMENT_TIMEOUT, LOCK_TIMEOUT],
    )


def _select_expired(scope: Scope) -> Any:
    states = sorted(state.value for state in scope.states)
    rows = Saga.objects.using(get_settings().database).filter(hook_due_at__isnull=True)  # on_closed was called
    return rows.filter(closed_at__lt=scope.closed_before, state__in=states)


def _page(rows: Any, moment: str, after: Cursor | None, size: int) -> list[Cursor]:
    """Return the next (time, key) pairs in order, after a place."""
    if after is not None:
        at, pk = after
        rows = rows.filter(Q(**{f"{moment}__gt": at}) | Q(**{moment: at, "pk__gt": pk}), **{f"{moment}__gte": at})
    return [(getattr(row, moment), row.pk) for row in rows.order_by(moment, "pk").only(moment)[:size]]


def _delete_barriers(
    alias: str,
    report: Report,
    batch_size: int,
    should_stop: Callable[[], bool],
    progress: Callable[[Report], None],
) -> None:
    after: Cursor | None = None
    try:
        rows = _select_old_barriers(alias)
        while not should_stop():
            page = _page(rows, "created_at", after, batch_size)
            if not page:
                return
            after = page[-1]
            report.barriers += _delete_barrier_rows(alias, [pk for _, pk in page])
            progress(report)
    except Error as error:
        _note_unreachable(report, alias, error)


def _select_old_barriers(alias: str) -> Any:
    """Select the rows of keys whose newest row is old: all rows of a key together show what happened."""
    until = clock.read_now(alias) - get_settings().barrier_retention
    rows = SagaBarrier.objects.using(alias)
    return rows.filter(~Exists(rows.filter(key=OuterRef("key"), created_at__gte=until)), created_at__lt=until)


def _delete_barrier_rows(alias: str, ids: Sequence[int]) -> int:
    """Delete all rows of these rows' keys, except of keys that a saga may still need or whose rows are locked."""
    rows = SagaBarrier.objects.using(alias)
    sagas = {key: _saga_of(key) for key in rows.filter(pk__in=ids).values_list("key", flat=True)}
    needed = _find_needed({saga for saga in sagas.values() if saga is not None})
    wanted = rows.filter(key__in=[key for key, saga in sagas.items() if saga not in needed])
    with own_transaction(alias):
        free = set(wanted.select_for_update(skip_locked=True).values_list("pk", flat=True))
        held = [key for pk, key in wanted.values_list("pk", "key") if pk not in free]
        count, _ = rows.filter(pk__in=free).exclude(key__in=held).delete()
    return count


def _saga_of(key: str) -> UUID | None:
    try:
        return UUID(key.partition(":")[0])
    except ValueError:
        return None


def _find_needed(sagas: set[UUID]) -> set[UUID]:
    """Return the sagas that are open, or closed so recently that one of their messages could still arrive."""
    using = get_settings().database
    until = clock.read_now(using) - get_settings().barrier_retention
    rows = Saga.objects.using(using).filter(pk__in=sagas).exclude(closed_at__lt=until)
    return set(rows.values_list("pk", flat=True))


def _note_unreachable(report: Report, alias: str, error: Error) -> None:
    report.unreachable.append(alias)
    logger.warning("Barrier rows could not be cleaned up.", extra={"database": alias}, exc_info=error)
