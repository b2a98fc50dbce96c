"""Trouble of choreographed sagas in participants' databases: events and external calls that need an operator.

Found anew by each sweep, so that it vanishes from a saga once it is settled. A database that does not answer in time is
named and left out; what was found there before stays.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

from django.db import Error, connections
from django.db.models import Q, QuerySet

from .. import clock
from ..bounded_call import NotAnswered, call_within
from ..conf import get_settings
from ..core.states import Attention, Coordination, SagaState
from ..engine import holds
from ..engine.store.unit_of_work import SagaUnitOfWork
from ..events import catalogue
from ..events.settings import get_event_settings
from ..intents.declaration import intent_databases
from ..models import InboxEvent, InboxState, Intent, OutboxEvent, OutboxState, Saga, SagaKey
from ..transactions import own_transaction
from .tracker import read_uuid

logger = logging.getLogger(__name__)

AnswerT = TypeVar("AnswerT")
ANSWER_WITHIN = timedelta(seconds=1)
MOST = 1_000  # rows of each kind in each database
REASONS = (Attention.EVENT_FAILING, Attention.INTENT_FAILING)


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """One event or intent that needs an operator."""

    reason: Attention
    correlation_id: str
    key: str
    text: str


def refresh() -> tuple[str, ...]:
    """Raise attention on sagas whose events or intents are in trouble, and clear it on those whose are no longer.

    Returns: the databases that did not answer.
    """
    if not _has_open():
        return ()
    found, unreachable = list_trouble()
    wanted: dict[UUID, dict[Attention, str]] = {}
    for saga_id, trouble in _find_sagas(found):
        wanted.setdefault(saga_id, {}).setdefault(trouble.reason, trouble.text)
    for saga in _list_shown():
        wanted.setdefault(saga, {})
    for saga_id, reasons in wanted.items():
        _show(saga_id, reasons, may_clear=not unreachable)
    return unreachable


def list_trouble() -> tuple[list[Trouble], tuple[str, ...]]:
    """Return what is in trouble in all databases, and the aliases that did not answer in time."""
    found: list[Trouble] = []
    unreachable: list[str] = []
    for alias in dict.fromkeys([*catalogue.event_databases(), *intent_databases()]):
        try:
            found += ask(alias, partial(_read, alias))
        except (Error, NotAnswered) as error:
            unreachable.append(alias)
            logger.warning("Database of events did not answer.", extra={"database": alias, "error": str(error)})
    return found, tuple(unreachable)


def ask(alias: str, read: Callable[[], AnswerT]) -> AnswerT:
    """Return what a function reads from a database, within the time limit.

    Raises: NotAnswered; database errors.
    """
    if alias == get_settings().database or connections[alias].in_atomic_block:
        return read()  # without the engine's own database nothing works
    answer: AnswerT = call_within(ANSWER_WITHIN, read)
    return answer


def _read(alias: str) -> list[Trouble]:
    """Return what is in trouble in one database."""
    limit = clock.read_now(alias) - get_event_settings().not_yet_limit
    stuck = Q(state__in=[InboxState.DEAD.value, InboxState.PARKED.value])
    waiting = Q(state=InboxState.NOT_YET.value, received_at__lte=limit)
    received = InboxEvent.objects.using(alias).filter(stuck | waiting).order_by("id")[:MOST]
    sent = OutboxEvent.objects.using(alias).filter(state=OutboxState.PARKED.value).order_by("id")[:MOST]
    needs = Q(hold__isnull=False) | Q(step_hold__isnull=False) | ~Q(attention=[])
    intents = Intent.objects.using(alias).filter(needs, closed_at__isnull=True).order_by("created_at")[:MOST]
    return [
        *(_of_event(row, f"{row.type} at {row.consumer}, {row.state}: {row.error}") for row in received),
        *(_of_event(row, f"{row.type} of {row.participant}, parked unsent: {row.error}") for row in sent),
        *(_of_intent(row) for row in intents),
    ]


def _of_event(row: InboxEvent | OutboxEvent, text: str) -> Trouble:
    return Trouble(reason=Attention.EVENT_FAILING, correlation_id=row.correlation_id, key=row.key, text=text)


def _of_intent(row: Intent) -> Trouble:
    why = row.step_hold or row.hold or ", ".join(row.attention)
    text = f"{row.definition} {row.key} ({why.replace('_', ' ')}): {row.step_last_error}"
    return Trouble(reason=Attention.INTENT_FAILING, correlation_id=row.correlation_id, key=row.key, text=text)


def _find_sagas(found: Iterable[Trouble]) -> Iterator[tuple[UUID, Trouble]]:
    """Yield each trouble with its open saga, by correlation id, else by key; that of other flows is left out."""
    found = list(found)
    ids = {str(pk) for pk in _select_open().filter(pk__in=_list_ids(found)).values_list("pk", flat=True)}
    keys = {one.key for one in found if one.key and one.correlation_id not in ids}
    rows = SagaKey.objects.using(get_settings().database).filter(
        value__in=keys, saga__closed_at=None, saga__coordination=Coordination.CHOREOGRAPHY.value
    )
    by_key = dict(rows.order_by("saga_id").values_list("value", "saga_id"))
    for one in found:
        if one.correlation_id in ids:
            yield UUID(one.correlation_id), one
        elif one.key in by_key:
            yield by_key[one.key], one


def _list_ids(found: Iterable[Trouble]) -> list[UUID]:
    ids = (read_uuid(one.correlation_id) for one in found)
    return [one for one in ids if one is not None]


def _list_shown() -> list[UUID]:
    shown = Q(attention__contains=[REASONS[0].value]) | Q(attention__contains=[REASONS[1].value])
    return list(_select_open().exclude(attention=[]).filter(shown).values_list("pk", flat=True))


def _has_open() -> bool:
    """Return whether there is an open choreographed saga, by the small indexes that each of them is in."""
    rows = _select_open()
    return rows.filter(owed_due_at__isnull=False).exists() or rows.exclude(attention=[]).exists()


def _select_open() -> QuerySet[Saga]:
    rows = Saga.objects.using(get_settings().database).filter(closed_at__isnull=True)
    return rows.filter(coordination=Coordination.CHOREOGRAPHY.value).order_by()


def _show(saga_id: UUID, reasons: Mapping[Attention, str], *, may_clear: bool) -> None:
    """Raise and clear attention on one saga."""
    database = get_settings().database
    shown = set(Saga.objects.using(database).values_list("attention", flat=True).get(pk=saga_id))
    if shown.issuperset(reasons) and (not may_clear or shown.isdisjoint({*REASONS} - {*reasons})):
        return
    with own_transaction(database):
        work = SagaUnitOfWork.lock(saga_id)
        if not SagaState(work.saga.state).is_open:
            return
        for reason in REASONS:
            if reason in reasons:
                holds.raise_attention(work, reason, reason=reasons[reason])
            elif may_clear:
                holds.drop_attention(work, reason, reason="It is settled.")
        if work.is_dirty:
            work.write(is_due_again=False)
