"""Bulk operations: freeze a set of sagas, confirm it, stop it, read its progress.

Freezing writes the sagas and their revisions as rows and does nothing else. The page of the set then shows how many
there are, by which filter, and some of them. Confirming starts exactly this set, once; ``runner`` processes it in the
background. Later matches of the filter, or a request that lost its filter, cannot change the set.

For operators: docs/how-to/operating.md, *Operate on many sagas*.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import Count, QuerySet

from ... import clock
from ...conf import get_settings
from ...core.states import SagaState
from ...engine.notify import wakeup_sending
from ...exceptions import BadRequest, BulkNotFound, OperationRefused, PermissionRefused
from ...models import BulkResult, BulkState, Saga, SagaBulk, SagaBulkItem
from ...models.fields import database_now
from ...transactions import own_transaction
from ..actor import Actor
from ..operations import check_text
from ..preconditions import Operation
from .preconditions import BULK_PERMISSION, CONFIRM_COUNT_ABOVE, EVERYTHING, require_bulk_operation, require_permissions

MAX_SELECTED = 1_000  # by hand; larger sets need a filter
MAX_FROZEN = 10  # unconfirmed sets per user; the oldest are dropped
MAX_WORDS_CHARS = 500
SELECTED = "selected by hand"
NOT_BEGUN = "not_begun"
WIDE_FILTERS = frozenset({"search", "since", "until"})
OPEN_STATES = frozenset(state.value for state in SagaState if state.is_open)
EDGE = 1_000  # number of oldest and of newest sagas that are checked for one that a filter excludes


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress of a bulk."""

    total: int
    """How many sagas it has."""
    counts: Mapping[str, int]
    """Sagas by result, with every result as a key, and those without one as ``not_begun``."""

    @property
    def ended(self) -> int:
        """How many have a result."""
        return self.total - self.counts[NOT_BEGUN]


def freeze_selected(operation: Operation, saga_ids: Collection[UUID], *, actor: Actor) -> SagaBulk:
    """Freeze sagas that were selected one by one; closed ones, too, whose result will be *refused*, with the facts.

    Raises: PermissionRefused; BadRequest for an operation without bulks, no saga, too many, or unknown ones.
    Tx: opens one.
    """
    wanted = set(saga_ids)
    if not wanted:
        raise BadRequest("No saga is selected.")
    if len(wanted) > MAX_SELECTED:
        raise BadRequest(
            f"{len(wanted)} sagas are selected; {MAX_SELECTED} can be. Narrow the list by a filter instead."
        )
    sagas = Saga.objects.using(get_settings().database).filter(pk__in=wanted)
    unknown = wanted - set(sagas.values_list("pk", flat=True))
    if unknown:
        raise BadRequest(
            f"There is no saga {min(unknown)}"
            + (f", nor {len(unknown) - 1} others." if unknown - {min(unknown)} else ".")
        )
    return _freeze(operation, sagas, actor=actor, filter=None, words=SELECTED)


def freeze_matching(
    operation: Operation,
    sagas: QuerySet[Saga],
    *,
    actor: Actor,
    filter: Mapping[str, str],
    words: str,
    everything: bool = False,
) -> SagaBulk:
    """Freeze the open sagas that match a filter now.

    ``filter`` and ``words`` describe how ``sagas`` was filtered. An empty filter is refused unless ``everything`` is
    set; a filter that excludes nothing, or one beside ``everything``, is refused, too.
    Raises: PermissionRefused; BadRequest, also when nothing matches, or more than SAGAS['BULK_MAX'] sagas do.
    Tx: opens one.
    """
    require_scope(filter, everything=everything, sagas=sagas)
    opened = sagas.filter(closed_at__isnull=True)
    return _freeze(operation, opened, actor=actor, filter=dict(filter), words=words)


def require_scope(filter: Mapping[str, str], *, everything: bool, sagas: QuerySet[Saga] | None = None) -> None:
    """Check that a filter excludes some sagas, or that everything is requested explicitly.

    ``sagas``: what the filter matches, open and closed; None: skip the check that the filter excludes anything.
    Raises: BadRequest.
    """
    if not filter and not everything:
        raise BadRequest("No filter is given. Filter the list first, or request every open saga explicitly.")
    if filter and everything:
        raise BadRequest("A filter and every open saga cannot be combined; request one of them.")
    if filter and sagas is not None and not _narrows(filter, sagas):
        names = " and ".join(sorted(filter))
        raise BadRequest(f"The filter on {names} excludes no saga. Filter more, or request every open saga explicitly.")


def _narrows(filter: Mapping[str, str], sagas: QuerySet[Saga]) -> bool:
    """Return whether a filter excludes any saga, judged by the newest and the oldest ones.

    A state, a step or a definition always counts, whatever sagas there are now. A time range of starts, or the start
    of an id or a key, can be so wide that it excludes nothing. If there is only one saga, a search counts.
    """
    telling = {name for name, value in filter.items() if not _is_idle(name, value)}
    if telling - WIDE_FILTERS:
        return True
    if not telling:
        return False
    rows = Saga.objects.using(get_settings().database)
    edges = {*rows.order_by("created_at", "pk").values_list("pk", flat=True)[:EDGE]}
    edges |= {*rows.order_by("-created_at", "-pk").values_list("pk", flat=True)[:EDGE]}
    if len(edges) == 1 and telling == {"search"}:
        return True
    return sagas.filter(pk__in=edges).order_by().count() < len(edges)


def _is_idle(name: str, value: str) -> bool:
    """Return whether a criterion only says what holds for every bulk: all open sagas."""
    return (name, value) == ("closed", "no") or (name == "state" and set(value.split(",")) >= OPEN_STATES)


def count_matching(sagas: QuerySet[Saga]) -> int:
    """Count the open sagas of a filter, up to one more than SAGAS['BULK_MAX']."""
    return count_limited(sagas.filter(closed_at__isnull=True))


def start_bulk(
    bulk_id: UUID, *, actor: Actor, reason: str, count: int | None = None, words: str = ""
) -> tuple[SagaBulk, bool]:
    """Confirm a frozen set: from now on workers process it.

    ``count`` must be the number of its sagas if that exceeds CONFIRM_COUNT_ABOVE; ``words`` must be EVERYTHING if it
    has no filter. A wrong count is always refused.
    Returns: the bulk, and whether it was started now; False when it had been started already.
    Raises: BulkNotFound; PermissionRefused; BadRequest; OperationRefused when it was frozen too long ago.
    Locks: the bulk row. Tx: opens one.
    """
    settings = get_settings()
    with own_transaction(settings.database, joins=True):
        bulk = _lock(bulk_id)
        require_permissions(actor, Operation(bulk.operation))
        if (bulk.account, bulk.actor) != (account_of(actor), actor.name):
            raise PermissionRefused(f"{bulk.actor} froze this selection; freeze your own to confirm it.")
        if bulk.state != BulkState.FROZEN:
            return bulk, False
        now = clock.read_now(settings.database)
        if now > bulk.frozen_at + settings.bulk_confirm_within:
            raise OperationRefused("This selection is too old to be confirmed. Select the sagas again.")
        checked = check_text(reason, "The reason")
        check_confirmation(bulk, count, words)
        bulk.state, bulk.reason = BulkState.RUNNING.value, checked
        bulk.started_at = bulk.due_at = now
        bulk.save(using=settings.database, update_fields=["state", "reason", "started_at", "due_at"])
        wakeup_sending.send_after_commit(bulk_id)
        return bulk, True


def stop_bulk(bulk_id: UUID, *, actor: Actor, reason: str = "") -> tuple[SagaBulk, bool]:
    """Stop a bulk: the saga in progress is finished, the remaining ones stay untouched.

    Every operator with the permission for bulks may stop one, and without a reason, because it is urgent.
    Returns: the bulk, and whether it was stopped now; False when it was over already.
    Raises: BulkNotFound; PermissionRefused; BadRequest; OperationRefused when it was not started.
    Locks: the bulk row. Tx: opens one.
    """
    actor.require(BULK_PERMISSION)
    checked = check_text(reason, "The reason", least=0)
    with own_transaction(get_settings().database, joins=True):
        bulk = _lock(bulk_id)
        if bulk.is_over:
            return bulk, False
        if bulk.state == BulkState.FROZEN:
            raise OperationRefused("The bulk was not started; nothing is done unless its operator confirms it.")
        end_bulk(bulk, BulkState.STOPPED, stopped_by=actor.name, stop_reason=checked)
        return bulk, True


def end_bulk(bulk: SagaBulk, state: BulkState, *, stopped_by: str = "", stop_reason: str = "") -> None:
    """Write the end of a bulk, with its counts.

    Tx: must be inside one that has locked the row.
    """
    using = get_settings().database
    bulk.state, bulk.stopped_by, bulk.stop_reason = state.value, stopped_by, stop_reason
    bulk.counts, bulk.ended_at = dict(count_results(bulk.pk, bulk.total)), clock.read_now(using)
    bulk.due_at = bulk.woken_at = bulk.lease_token = bulk.lease_until = None
    bulk.save(using=using)


def find_bulk(bulk_id: UUID) -> SagaBulk:
    """Return a bulk, with the database's time as ``db_now``.

    Raises: BulkNotFound.
    """
    bulks = SagaBulk.objects.using(get_settings().database).annotate(db_now=database_now())
    bulk = bulks.filter(pk=bulk_id).first()
    if bulk is None:
        raise BulkNotFound(f"There is no bulk {bulk_id}.")
    return bulk


def select_items(bulk_id: UUID) -> QuerySet[SagaBulkItem]:
    """Return the sagas of a bulk."""
    return SagaBulkItem.objects.using(get_settings().database).filter(bulk_id=bulk_id)


def read_progress(bulk: SagaBulk) -> Progress:
    """Return a bulk's progress; of a bulk that is over, as written at its end, and none before it is confirmed."""
    if bulk.state == BulkState.FROZEN:
        return Progress(total=bulk.total, counts=_list_counts({}, bulk.total))
    return Progress(total=bulk.total, counts=bulk.counts or count_results(bulk.pk, bulk.total))


def count_results(bulk_id: UUID, total: int) -> dict[str, int]:
    """Count the sagas of a bulk by result.

    Shape: every result of BulkResult, and ``not_begun``.
    """
    items = select_items(bulk_id).filter(result__isnull=False)
    return _list_counts(dict(items.order_by().values_list("result").annotate(Count("pk"))), total)


def _list_counts(found: Mapping[str, int], total: int) -> dict[str, int]:
    counts = {result.value: found.get(result.value, 0) for result in BulkResult}
    return {**counts, NOT_BEGUN: total - sum(counts.values())}


def account_of(actor: Actor) -> str:
    """Return the key of an actor's account, by value; empty for the machine's own account."""
    return str(actor.user.pk) if actor.user is not None else ""


def _freeze(
    operation: Operation, sagas: QuerySet[Saga], *, actor: Actor, filter: dict[str, str] | None, words: str
) -> SagaBulk:
    require_bulk_operation(operation)
    require_permissions(actor, operation)
    settings = get_settings()
    with own_transaction(settings.database, joins=True):
        _drop_oldest_frozen(actor)
        bulk = SagaBulk(
            operation=operation.value, actor=actor.name, account=account_of(actor), is_trusted=actor.is_trusted,
            filter=settings.redactor.redact_data(filter), words=settings.redactor.redact_text(words)[:MAX_WORDS_CHARS],
            total=0, frozen_at=clock.read_now(settings.database),
        )  # fmt: skip
        bulk.save(using=settings.database, force_insert=True)
        if count_limited(sagas) <= settings.bulk_max:
            bulk.total = _write_items(bulk, sagas)
        else:
            bulk.total = settings.bulk_max + 1
        if not bulk.total:
            raise BadRequest(f"No open saga matches: {words}.")
        if bulk.total > settings.bulk_max:
            raise BadRequest(
                f"More than {settings.bulk_max} sagas match, the limit of one bulk (SAGAS['BULK_MAX'])."
                " Narrow the filter."
            )
        bulk.save(using=settings.database, update_fields=["total"])
        return bulk


def count_limited(sagas: QuerySet[Saga]) -> int:
    """Count sagas, up to one more than SAGAS['BULK_MAX']."""
    return sagas.order_by()[: get_settings().bulk_max + 1].count()


def _write_items(bulk: SagaBulk, sagas: QuerySet[Saga]) -> int:
    """Write the rows of a set in one statement, the oldest saga first.

    Returns: how many; at most one more than the limit.
    """
    settings = get_settings()
    chosen = sagas.order_by("created_at", "pk").values_list("pk", "revision")[: settings.bulk_max + 1]
    try:
        select, values = chosen.query.get_compiler(settings.database).as_sql()
    except EmptyResultSet:
        return 0
    table = SagaBulkItem._meta.db_table
    sql = (
        f"INSERT INTO {table} (bulk_id, position, saga_id, revision, message, failures)"
        f" SELECT %s, row_number() OVER (), found.id, found.revision, '', 0 FROM ({select}) AS found (id, revision)"
    )
    with connections[settings.database].cursor() as cursor:
        cursor.execute(sql, [bulk.pk, *values])
        return int(cursor.rowcount)


def _drop_oldest_frozen(actor: Actor) -> None:
    """Delete all but the newest unconfirmed sets of an actor, to make room for one more."""
    using = get_settings().database
    mine = SagaBulk.objects.using(using).filter(
        state=BulkState.FROZEN.value, account=account_of(actor), actor=actor.name
    )
    old = list(mine.order_by("-frozen_at", "-pk").values_list("pk", flat=True)[MAX_FROZEN - 1 :])
    if not old:
        return
    free = list(mine.filter(pk__in=old).select_for_update(skip_locked=True).values_list("pk", flat=True))
    SagaBulk.objects.using(using).filter(pk__in=free).delete()


def check_confirmation(bulk: SagaBulk, count: int | None, words: str, *, is_whole: bool = True) -> None:
    """Check what an operator typed to confirm a set.

    ``is_whole``: whether missing input is refused, too, and not only wrong input.
    Raises: BadRequest.
    """
    if bulk.is_unfiltered and words.strip() != EVERYTHING and (is_whole or words):
        raise BadRequest(f"This selection has no filter. To act on all {bulk.total} open sagas, type: {EVERYTHING}")
    if is_whole and count is None and bulk.total > CONFIRM_COUNT_ABOVE:
        raise BadRequest(f"This selection has more than {CONFIRM_COUNT_ABOVE} sagas: type their number.")
    if count is not None and count != bulk.total:
        raise BadRequest(f"You typed {count}, but this selection has {bulk.total} sagas.")


def wait_in_line(bulk_id: UUID) -> None:
    """Wait for the turn with a bulk, first come, first served; the turn lasts until the end of the transaction.

    Row locks are not granted in order: a worker that locks the row again for the next saga would repeatedly overtake
    an operator who waits to stop the bulk.
    """
    with connections[get_settings().database].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"sagas.bulk:{bulk_id}"])


def _lock(bulk_id: UUID) -> SagaBulk:
    wait_in_line(bulk_id)
    bulks = SagaBulk.objects.using(get_settings().database).select_for_update(no_key=True)
    bulk = bulks.filter(pk=bulk_id).first()
    if bulk is None:
        raise BulkNotFound(f"There is no bulk {bulk_id}.")
    return bulk
