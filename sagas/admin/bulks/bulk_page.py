"""Data of a bulk's page: the set before it is confirmed, the result of each saga afterwards."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, OuterRef, Subquery

from ... import clock
from ...conf import get_settings
from ...engine.store.snapshot import SagaSnapshot
from ...models import BulkResult, BulkState, Saga, SagaBulk, SagaBulkItem
from ...operators import preview
from ...operators.bulk import freezing as bulk
from ...operators.bulk.preconditions import CONFIRM_COUNT_ABOVE
from ...operators.preconditions import Operation
from ...operators.presentation import Badge, DisplayState, annotate_display_state, badge_of_state
from ...operators.presentation.badges import Tone
from ...operators.preview import LABELS
from ..saga_list.rows import attach_rows, row_of, select_for_list, with_keys
from ..ui.addresses import find_saga_url
from ..ui.formatting import Moment, show_moment
from ..ui.view_only import engine_database

SAMPLE_SIZE = 10
ITEMS_SHOWN = 100
MAX_KINDS = 20  # pairs of definition and state, counted in the set
MAX_FOLLOWED = 1_000  # sagas of an ended bulk whose states are counted at every refresh

STATE_BADGES = {
    BulkState.FROZEN: Badge(word="not confirmed", icon="circle", tone=Tone.QUIET),
    BulkState.RUNNING: Badge(word="running", icon="play", tone=Tone.ACTIVE),
    BulkState.FINISHED: Badge(word="finished", icon="check", tone=Tone.GOOD),
    BulkState.STOPPED: Badge(word="stopped", icon="hand", tone=Tone.BACK),
}
RESULT_BADGES = {
    BulkResult.DONE.value: Badge(word="done", icon="check", tone=Tone.GOOD),
    BulkResult.ALREADY.value: Badge(word="already done", icon="check", tone=Tone.QUIET),
    BulkResult.STALE.value: Badge(word="changed, nothing done", icon="clock", tone=Tone.WAITING),
    BulkResult.REFUSED.value: Badge(word="refused", icon="hand", tone=Tone.URGENT),
    BulkResult.GONE.value: Badge(word="saga is deleted", icon="circle", tone=Tone.QUIET),
    BulkResult.FAILED.value: Badge(word="failed", icon="warning", tone=Tone.URGENT),
    bulk.NOT_BEGUN: Badge(word="not processed", icon="circle", tone=Tone.QUIET),
}


@dataclass(frozen=True, kw_only=True)
class SampleRow:
    """Sample saga of a set before it is confirmed."""

    name: str
    """Definition and business keys."""
    url: str
    """URL of its page; empty where the site does not show sagas."""
    badge: Badge
    """Badge of its state."""
    step: str
    """Current step."""
    refusal: str
    """Why the operation would do nothing now; empty when it would be performed."""


@dataclass(frozen=True, kw_only=True)
class ItemRow:
    """Result of one saga."""

    position: int
    """Position in the set, from 1."""
    name: str
    """Definition and business keys, or the id of a deleted saga."""
    url: str
    """URL of its page; empty for a deleted saga and where the site does not show sagas."""
    is_gone: bool
    """Whether the saga is deleted."""
    badge: Badge
    """Badge of the result."""
    message: str
    """The result in a sentence."""
    at: Moment | None
    """When the result was recorded."""


@dataclass(frozen=True, kw_only=True)
class ResultCount:
    """Number of sagas with one result."""

    code: str
    """Code of the result."""
    badge: Badge
    """Badge of the result."""
    count: int
    """Number of sagas."""


@dataclass(frozen=True, kw_only=True)
class BulkPage:
    """Data of a bulk's page."""

    bulk: SagaBulk
    """The bulk."""
    operation: Operation
    """Its operation."""
    label: str
    """The operation in words."""
    badge: Badge
    """Badge of its state."""
    frozen: Moment
    """When its sagas were frozen."""
    started: Moment | None
    """When it was confirmed."""
    ended: Moment | None
    """When it ended."""
    expires: Moment
    """Until when it can be confirmed."""
    is_expired: bool
    """Whether it was not confirmed in time."""
    needs_count: bool
    """Whether the operator must type the count."""
    done: int
    """Number of sagas with a result."""
    counts: tuple[ResultCount, ...] = ()
    """Results that occur, with their counts."""
    kinds: tuple[tuple[str, Badge, int], ...] = ()
    """Definition, current display state and number of the sagas; empty while it runs, and after a large one."""
    sample: tuple[SampleRow, ...] = ()
    """The first sagas of the set."""
    items: tuple[ItemRow, ...] = ()
    """One page of results."""
    chosen: str = ""
    """The result that the page is filtered by."""
    next_after: int | None = None
    """Position after which the next page begins; None on the last page."""


def build_bulk_page(found: SagaBulk, *, site: str, chosen: str, after: int) -> BulkPage:
    """Return the page of a bulk on an admin site; once started, with the results after a position.

    ``found``: read by ``find_bulk``.
    """
    now = clock.shifted(found.db_now)  # type: ignore[attr-defined]
    expires_at = found.frozen_at + get_settings().bulk_confirm_within
    operation = Operation(found.operation)
    is_frozen = found.state == BulkState.FROZEN
    progress = bulk.read_progress(found)
    counted = tuple(
        ResultCount(code=code, badge=badge, count=progress.counts[code])
        for code, badge in RESULT_BADGES.items()
        if progress.counts[code]
    )
    items = () if is_frozen else _read_items(found, site, chosen, after, now)
    return BulkPage(
        bulk=found,
        operation=operation,
        label=LABELS[operation],
        badge=STATE_BADGES[BulkState(found.state)],
        frozen=show_moment(found.frozen_at, now),
        started=show_moment(found.started_at, now) if found.started_at else None,
        ended=show_moment(found.ended_at, now) if found.ended_at else None,
        expires=show_moment(expires_at, now),
        is_expired=is_frozen and now > expires_at,
        needs_count=found.total > CONFIRM_COUNT_ABOVE,
        done=progress.ended,
        counts=counted,
        kinds=_count_kinds(found) if is_frozen or (found.ended_at and found.total <= MAX_FOLLOWED) else (),
        sample=_read_sample(found, operation, site) if is_frozen else (),
        items=items[:ITEMS_SHOWN],
        chosen=chosen,
        next_after=items[ITEMS_SHOWN - 1].position if len(items) > ITEMS_SHOWN else None,
    )


def _count_kinds(found: SagaBulk) -> tuple[tuple[str, Badge, int], ...]:
    """Count the sagas of a set by definition and display state, most first.

    Before, it exposes a filter that is too wide; afterwards, what came of the operation.
    """
    ids = bulk.select_items(found.pk).order_by().values("saga_id")
    sagas = annotate_display_state(Saga.objects.using(engine_database()).filter(pk__in=ids).order_by())
    kinds = sagas.values_list("definition", "display_state").annotate(count=Count("pk"))  # type: ignore[misc]
    rows = kinds.order_by("-count", "definition", "display_state")[:MAX_KINDS]  # type: ignore[misc]
    return tuple((definition, badge_of_state(DisplayState(state)), count) for definition, state, count in rows)


def _read_sample(found: SagaBulk, operation: Operation, site: str) -> tuple[SampleRow, ...]:
    first = bulk.select_items(found.pk).order_by("position").values("saga_id")[:SAMPLE_SIZE]
    place = bulk.select_items(found.pk).filter(saga_id=OuterRef("pk")).values("position")
    sagas = select_for_list(Saga.objects.using(engine_database()).filter(pk__in=first), with_results=True)
    ordered = sagas.annotate(place=Subquery(place)).order_by("place")
    return tuple(_show_sample(saga, operation, site) for saga in attach_rows(ordered, with_errors=False))


def _show_sample(saga: Any, operation: Operation, site: str) -> SampleRow:
    snapshot = SagaSnapshot(saga, saga.listed_steps, clock.shifted(saga.db_now))
    row = row_of(saga)
    return SampleRow(
        name=_name(saga),
        url=find_saga_url(site, saga.pk),
        badge=row.badge,
        step=row.step,
        refusal=preview.find_obstacle(snapshot, operation),
    )


def _read_items(found: SagaBulk, site: str, chosen: str, after: int, now: datetime) -> tuple[ItemRow, ...]:
    """Return one item more than is shown, to know whether there is a next page."""
    items = bulk.select_items(found.pk).filter(position__gt=after).order_by("position")
    if chosen:
        items = items.filter(result__isnull=True) if chosen == bulk.NOT_BEGUN else items.filter(result=chosen)
    page = list(items[: ITEMS_SHOWN + 1])
    sagas = _read_sagas(item.saga_id for item in page)
    return tuple(_show_item(item, sagas.get(item.saga_id), site, now) for item in page)


def _show_item(item: SagaBulkItem, saga: Saga | None, site: str, now: datetime) -> ItemRow:
    return ItemRow(
        position=item.position,
        name=_name(saga) if saga is not None else str(item.saga_id),
        url=find_saga_url(site, item.saga_id) if saga is not None else "",
        is_gone=saga is None,
        badge=RESULT_BADGES[item.result or bulk.NOT_BEGUN],
        message=item.message,
        at=show_moment(item.ended_at, now) if item.ended_at else None,
    )


def _read_sagas(ids: Iterable[UUID]) -> dict[UUID, Saga]:
    sagas = Saga.objects.using(engine_database()).filter(pk__in=list(ids)).only("definition")
    return {saga.pk: saga for saga in with_keys(sagas)}


def _name(saga: Any) -> str:
    return " ".join([saga.definition, *(key.value for key in saga.listed_keys)])
