"""Log of operations and notes, newest first, read by page on indexes that contain nothing else."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.models import Prefetch, Q, QuerySet, Value

from ... import clock
from ...conf import get_settings
from ...models import BulkState, SagaBulk, SagaHistory, SagaKey
from ...models.history import BY_OPERATORS, NOTE_ADDED, SHELL_MARK, person_of
from ..queries.keyset import is_below

PAGE = 50
REMEDY = "remedy"  # in place of the operation in the entries of remedies
PLACE = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")  # microseconds since 1970, id


@dataclass(frozen=True, kw_only=True)
class LogQuery:
    """Which operations to read; an empty field does not filter."""

    actor: str = ""
    """Exact name of the operator; includes operations in a shell, where the machine's account follows the name."""
    operation: str = ""
    """Which operation, or ``REMEDY``."""
    is_note: bool = False
    """Whether to read notes alone."""
    since: datetime | None = None
    """The earliest time."""
    before: str = ""
    """The place to continue from, as given by ``LogPage.next_place``."""


@dataclass(frozen=True, kw_only=True)
class LoggedOperation:
    """One operation or note of an operator."""

    entry: SagaHistory
    """The history entry: who, when, to which step, why."""
    operation: str
    """Which operation, or ``REMEDY``; empty for a note."""
    remedy: str
    """Label of the remedy; empty for operations and notes."""
    before: str
    """Where the saga stood before."""
    after: str
    """Where the saga stood afterwards."""
    result: str
    """What it did, in a sentence; empty for entries without it."""
    evidence: str
    """The operator's evidence, if the operation needs any."""
    revision: int | None
    """The revision that the decision was based on."""
    keys: tuple[str, ...]
    """Values of the saga's business keys."""


@dataclass(frozen=True, kw_only=True)
class LoggedBulk:
    """Confirmation or stop of a bulk by an operator."""

    bulk: SagaBulk
    """Which bulk."""
    at: datetime
    """When."""
    actor: str
    """Who."""
    is_stop: bool
    """Whether it was stopped, not confirmed."""
    reason: str
    """Why; empty where it was stopped without a reason."""


@dataclass(frozen=True, kw_only=True)
class LogPage:
    """Page of operations on sagas and on bulks, both of the same time range."""

    operations: tuple[LoggedOperation, ...]
    bulks: tuple[LoggedBulk, ...]
    next_place: str
    """Where the next page begins; empty at the end."""
    now: datetime
    """When it was read."""


def read_log(wanted: LogQuery, *, with_bulks: bool = False) -> LogPage:
    """Return a page of operations, newest first; an invalid place begins at the newest."""
    using = get_settings().database
    keys = SagaKey.objects.using(using).order_by("pk")
    with_keys = _select(wanted).prefetch_related(Prefetch("saga__keys", keys, to_attr="listed_keys"))
    rows = with_keys.select_related("saga").defer("saga__input", "saga__effects_left").order_by("-at", "-pk")
    found: list[SagaHistory | LoggedBulk] = [
        *rows[: PAGE + 1],
        *(_read_bulks(wanted) if with_bulks and not wanted.is_note else ()),
    ]
    # At the same time entries come before bulks, which have no number to continue from.
    found.sort(key=lambda one: (one.at, isinstance(one, SagaHistory)), reverse=True)
    shown = found[: _count_page(found)]
    return LogPage(
        operations=tuple(_describe_operation(one) for one in shown if isinstance(one, SagaHistory)),
        bulks=tuple(one for one in shown if isinstance(one, LoggedBulk)),
        next_place=_describe_place(shown[-1]) if len(found) > len(shown) else "",
        now=clock.read_now(using),
    )


def _count_page(found: Sequence[SagaHistory | LoggedBulk]) -> int:
    """Return how many are shown: bulks of the same time stay together, as the next page begins below that time."""
    count = PAGE
    while (
        0 < count < len(found) and isinstance(found[count - 1], LoggedBulk) and found[count].at == found[count - 1].at
    ):
        count += 1
    return count


def _read_bulks(wanted: LogQuery) -> list[LoggedBulk]:
    """Return confirmations and stops of bulks, the newest that match, of each one more than fits on a page."""
    rows = SagaBulk.objects.using(get_settings().database).filter(started_at__isnull=False)
    if wanted.operation:
        rows = rows.filter(operation=wanted.operation)
    started = _narrow_bulks(rows, wanted, at="started_at", actor="actor")
    stopped = _narrow_bulks(rows.filter(state=BulkState.STOPPED.value), wanted, at="ended_at", actor="stopped_by")
    starts = started.annotate(is_stop=Value(value=False))[: PAGE + 1]
    stops = stopped.annotate(is_stop=Value(value=True))[: PAGE + 1]
    return [_describe_bulk(found, is_stop=found.is_stop) for found in starts.union(stops, all=True)]


def _narrow_bulks(rows: QuerySet[SagaBulk], wanted: LogQuery, *, at: str, actor: str) -> QuerySet[SagaBulk]:
    rows = rows.filter(**{f"{at}__isnull": False}).order_by(f"-{at}", "-pk")
    if wanted.actor:
        rows = rows.filter(_is_by(wanted.actor, actor))
    if wanted.since is not None:
        rows = rows.filter(**{f"{at}__gte": wanted.since})
    if place := _parse_place(wanted.before):
        moment, number = place
        rows = rows.filter(**{f"{at}__lte" if number else f"{at}__lt": moment})
    return rows


def _describe_bulk(bulk: SagaBulk, *, is_stop: bool) -> LoggedBulk:
    at = bulk.ended_at if is_stop else bulk.started_at
    actor, reason = (bulk.stopped_by, bulk.stop_reason) if is_stop else (bulk.actor, bulk.reason)
    return LoggedBulk(bulk=bulk, at=at or bulk.frozen_at, actor=actor, is_stop=is_stop, reason=reason)


def _is_by(person: str, field: str = "actor") -> Q:
    """Return the condition that an operator acted, on a page or in a shell."""
    return Q(**{field: person}) | Q(**{f"{field}__startswith": f"{person}{SHELL_MARK}"})


def _select(wanted: LogQuery) -> Any:
    rows = SagaHistory.objects.using(get_settings().database).filter(what__in=BY_OPERATORS)
    if wanted.actor:
        # The condition on ``person`` is redundant; it makes the index usable.
        rows = rows.alias(person=person_of("actor")).filter(
            _is_by(wanted.actor), person=wanted.actor.partition(SHELL_MARK)[0]
        )
    if wanted.operation:
        rows = rows.filter(to_state=wanted.operation)
    if wanted.is_note:
        # The condition on ``to_state``, which no note has, is redundant; it makes the index usable.
        rows = rows.filter(what=NOTE_ADDED, to_state="")
    if wanted.since is not None:
        rows = rows.filter(at__gte=wanted.since)
    if place := _parse_place(wanted.before):
        rows = rows.filter(is_below("at", *place))
    return rows


def _describe_operation(entry: SagaHistory) -> LoggedOperation:
    data = entry.data if isinstance(entry.data, dict) else {}
    revision = data.get("revision")
    return LoggedOperation(
        entry=entry,
        operation=entry.to_state,
        remedy=str(data.get("label", "")) if entry.to_state == REMEDY else "",
        before=str(data.get("before", "")),
        after=str(data.get("after", "")),
        result=str(data.get("result", "")),
        evidence=str(data.get("evidence", "")),
        revision=revision if isinstance(revision, int) else None,
        keys=tuple(key.value for key in entry.saga.listed_keys),  # type: ignore[attr-defined]
    )


def _describe_place(last: SagaHistory | LoggedBulk) -> str:
    """Return the place after an entry or, with the number 0, after everything of the same time."""
    since = last.at - datetime(1970, 1, 1, tzinfo=UTC)
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return f"{microseconds}-{last.pk if isinstance(last, SagaHistory) else 0}"


def is_place(text: str) -> bool:
    """Return whether a page of the log can begin at a place."""
    return _parse_place(text) is not None


def _parse_place(text: str) -> tuple[datetime, int] | None:
    found = PLACE.fullmatch(text)
    if not found:
        return None
    try:
        seconds, microseconds = divmod(int(found[1]), 1_000_000)
        return datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=microseconds), int(found[2])
    except (OverflowError, OSError, ValueError):
        return None
